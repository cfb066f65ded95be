package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestNewInstancesComeBeforeTheRollOut: a manifest with both starts the new instances first, and nothing is withdrawn until
// they are ready.
func TestNewInstancesComeBeforeTheRollOut(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 3, "2", true))
	w.plan()
	began := w.transcript()
	require.Contains(t, began, "putUnit web@3.service ScaledUp launched")
	require.NotContains(t, began, "WithdrawForUpdate")
	for _, change := range []func() bool{
		func() bool { return w.systemd("web@3.service") },
		func() bool { return w.systemd("web-discovery@3.service") },
		func() bool { return w.announcer(3) },
		func() bool { return w.router("m1") },
	} {
		w.plan()
		require.Empty(t, w.transcript())
		require.True(t, change())
	}
	require.True(t, w.router("m2"))
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForUpdate loaded\nputUnit web@1.service WithdrawForUpdate launched", w.transcript())
	w.settleAll()
	require.Equal(t, []string{"Normal RolloutComplete", "putRevision web RevisionComplete"}, w.log[len(w.log)-2:])
	require.Equal(t, 3, w.serving())
}

// TestRollOutIsNotCompleteWithoutTheOneThatMoves: an instance that has to leave its machine keeps the old files until its
// turn comes.
func TestRollOutIsNotCompleteWithoutTheOneThatMoves(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	for _, change := range []func() bool{
		func() bool { return w.systemd("web-discovery@1.service") },
		func() bool { return w.announcer(1) },
		func() bool { return w.router("m1") },
		func() bool { return w.router("m2") },
		func() bool { return w.systemd("web@1.service") },
		func() bool { return w.systemd("web-discovery@1.service") },
		func() bool { return w.announcer(1) },
		func() bool { return w.router("m1") },
		func() bool { return w.router("m2") },
	} {
		w.plan()
		require.True(t, change())
	}
	w.leaving = map[string]string{"web@2.service": "m1"}
	w.log = nil
	w.plan()
	finished := w.transcript()
	require.Contains(t, finished, "putUnit web@1.service RolloutComplete launched")
	require.NotContains(t, finished, "Normal RolloutComplete")
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@2.service"].Spec.Hash)
}

// TestOnlyRoutersAreWaitedFor: once the endpoint is gone, the leader plans again when a router answers.
func TestOnlyRoutersAreWaitedFor(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	require.False(t, w.plan().Waiting)
	require.True(t, w.systemd("web-discovery@1.service"))
	require.False(t, w.plan().Waiting, "its endpoint is still there")
	require.True(t, w.announcer(1))
	require.True(t, w.plan().Waiting)
	require.True(t, w.router("m1"))
	require.True(t, w.plan().Waiting, "one router still serves it")
	require.True(t, w.router("m2"))
	served := w.routers["m2"]
	busy := served
	busy.Draining = []v1.Draining{{Endpoint: "/services/web/web/web@1", Requests: 1}}
	w.routers["m2"] = busy
	require.True(t, w.plan().Waiting, "requests are under way to it")
	busy.Draining = []v1.Draining{{Endpoint: "/services/web/my-web/web@1"}, {Endpoint: "/services/web/web/web@2"}}
	w.routers["m2"] = busy
	require.False(t, w.plan().Waiting)
}
