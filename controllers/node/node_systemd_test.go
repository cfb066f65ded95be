package node_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const sleeper = "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\nRestartSec=100ms\n"

func TestUnitLifecycle(t *testing.T) {
	l := newLab(t)
	l.begin()
	text := "Description=before any section\n" + sleeper
	hash := l.file(text)
	l.place("a.service", hash, v1.Launched)
	first := l.awaitActive("a.service")
	require.Equal(t, hash, first.Hash)
	require.Equal(t, v1.Launched, first.DesiredState)
	require.Contains(t, l.systemctl("cat", "a.service"), "[Unit]\n"+text)

	t.Run("a killed process is systemd's affair, and reported", func(t *testing.T) {
		l.systemctl("kill", "--signal=KILL", "a.service")
		again := l.await("a.service", "another invocation", func(s *v1.UnitState) bool {
			return s.ActiveState == "active" && s.InvocationID != first.InvocationID
		})
		first = again
	})
	t.Run("at rest nothing is asked of etcd, also after a restart", func(t *testing.T) {
		l.end()
		l.options.Resync = 50 * time.Millisecond
		calls := l.store.calls.Load()
		l.begin()
		l.file("[Service]\nExecStart=/bin/true\n") // another change meanwhile
		require.Never(t, func() bool { return l.store.calls.Load()-calls > 3 }, time.Second, 100*time.Millisecond, "three listings at the start")
		require.Equal(t, first.InvocationID, l.awaitActive("a.service").InvocationID)
		l.options.Resync = 0
	})
	t.Run("a changed file restarts once", func(t *testing.T) {
		hash := l.file(sleeper + "Environment=V=2\n")
		l.place("a.service", hash, v1.Launched)
		now := l.await("a.service", "the new hash", func(s *v1.UnitState) bool { return s.Hash == hash && s.ActiveState == "active" })
		require.NotEqual(t, first.InvocationID, now.InvocationID)
		require.Contains(t, l.systemctl("show", "-p", "Environment", "a.service"), "V=2")
		require.Contains(t, l.systemctl("show", "-p", "NeedDaemonReload", "a.service"), "=no")
		l.end()
		l.begin()
		l.place("b.service", hash, v1.Launched)
		l.awaitActive("b.service")
		require.Equal(t, now.InvocationID, l.awaitActive("a.service").InvocationID)
	})
	t.Run("loaded: stopped, and launched again", func(t *testing.T) {
		l.place("a.service", hash, v1.Loaded)
		l.awaitInactive("a.service")
		l.place("a.service", hash, v1.Launched)
		l.awaitActive("a.service")
	})
	t.Run("without a placement nothing is left", func(t *testing.T) {
		l.commit(placement(t, "a.service", v1.Placement{}), placement(t, "b.service", v1.Placement{}))
		l.awaitGone("a.service")
		l.awaitGone("b.service")
		require.NoFileExists(t, l.layout.Unit("a.service"))
		require.Contains(t, l.systemctl("show", "-p", "LoadState", "a.service"), "not-found")
	})
}

func TestBrokenUnitsAffectNoOthers(t *testing.T) {
	l := newLab(t)
	hangs := l.file("[Service]\nType=notify\nExecStart=/bin/sleep infinity\n")
	missing := l.file("[Service]\nExecStart=/no/such/program\n")
	bad := l.file("[Service]\nType=notify\n")
	exits := l.file("[Service]\nExecStart=/bin/false\n")
	noenv := l.file("[Service]\nEnvironmentFile=/no/such/environment\nExecStart=/bin/sleep infinity\n")
	bound := l.file("[Unit]\nBindsTo=nowhere.service\nAfter=nowhere.service\n[Service]\nExecStart=/bin/sleep infinity\n")
	good := l.file(sleeper)
	l.begin()
	started := time.Now()
	l.commit(
		placement(t, "a-hangs.service", v1.Placement{Hash: hangs, DesiredState: v1.Launched}),
		placement(t, "a-missing.service", v1.Placement{Hash: missing, DesiredState: v1.Launched}),
		placement(t, "a-bad.service", v1.Placement{Hash: bad, DesiredState: v1.Launched}),
		placement(t, "a-exits.service", v1.Placement{Hash: exits, DesiredState: v1.Launched}),
		placement(t, "a-noenv.service", v1.Placement{Hash: noenv, DesiredState: v1.Launched}),
		placement(t, "a-bound.service", v1.Placement{Hash: bound, DesiredState: v1.Launched}),
		placement(t, "a-nofile.service", v1.Placement{Hash: unitfile.Hash("elsewhere"), DesiredState: v1.Launched}),
		placement(t, "../escape", v1.Placement{Hash: good, DesiredState: v1.Launched}),
		placement(t, "good.service", v1.Placement{Hash: good, DesiredState: v1.Launched}),
	)
	l.awaitActive("good.service")
	require.Less(t, time.Since(started), 5*time.Second)
	l.await("a-hangs.service", "activating", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "activating" })
	gone := l.await("a-missing.service", "failed", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "failed" })
	require.Equal(t, []any{"exit-code", "exited", 203}, []any{gone.Result, gone.ExitCode, gone.ExitStatus})
	l.await("a-exits.service", "failed", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "failed" })
	unread := l.await("a-noenv.service", "failed", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "failed" })
	require.Equal(t, "resources", unread.Result)
	alone := l.await("a-bound.service", "a message", func(s *v1.UnitState) bool { return s != nil && s.Message != "" })
	require.Contains(t, alone.Message, "nowhere.service")
	refused := l.await("a-bad.service", "bad-setting", func(s *v1.UnitState) bool { return s != nil && s.LoadState == "bad-setting" })
	require.Equal(t, "systemd: start a-bad.service: Unit a-bad.service has a bad unit file setting.", refused.Message)
	absent := l.await("a-nofile.service", "a message", func(s *v1.UnitState) bool { return s != nil })
	require.Contains(t, absent.Message, "its unit file is not in etcd (/fleet/unitfiles/")

	t.Run("a person asks again", func(t *testing.T) {
		failed := l.await("a-exits.service", "failed", func(s *v1.UnitState) bool { return s.ActiveState == "failed" })
		l.commit(placement(t, "a-exits.service", v1.Placement{Hash: exits, DesiredState: v1.Launched, RequestedAt: "1"}))
		l.await("a-exits.service", "another try", func(s *v1.UnitState) bool {
			return s.RequestedAt == "1" && s.ActiveState == "failed" && s.InvocationID != failed.InvocationID
		})
	})
	t.Run("the file comes later", func(t *testing.T) {
		l.file("elsewhere") // not a valid unit, but the text with that hash
		l.await("a-nofile.service", "loaded", func(s *v1.UnitState) bool { return s.LoadState != "not-found" })
	})
}

// Images whose pulls hang, more of them than there are calls to systemd at a time, delay no other unit on the machine: not its start,
// its stop, nor the report of a failure. Nor do they delay their own stop.
func TestHangingPullsDelayNoOtherUnit(t *testing.T) {
	l := newLab(t)
	pulls := l.file("[Service]\nExecStartPre=/bin/sleep infinity\nExecStart=/bin/sleep infinity\nTimeoutStartSec=30m\n")
	good, fails := l.file(sleeper), l.file("[Service]\nExecStart=/bin/false\n")
	l.begin()
	const many = 20
	var hanging []store.Op
	for i := range many {
		hanging = append(hanging, placement(t, fmt.Sprintf("a%02d.service", i), v1.Placement{Hash: pulls, DesiredState: v1.Launched}))
	}
	l.commit(hanging...)
	for i := range many {
		l.await(fmt.Sprintf("a%02d.service", i), "pulling", func(s *v1.UnitState) bool {
			return s != nil && s.ActiveState == "activating" && s.SubState == "start-pre"
		})
	}
	begun := time.Now()
	l.place("b.service", good, v1.Launched)
	l.awaitActive("b.service")
	l.place("b.service", good, v1.Loaded)
	l.awaitInactive("b.service")
	l.place("c.service", fails, v1.Launched)
	l.await("c.service", "failed", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "failed" })
	l.place("a00.service", pulls, v1.Loaded)
	l.await("a00.service", "stopped", func(s *v1.UnitState) bool {
		return s.DesiredState == v1.Loaded && (s.ActiveState == "inactive" || s.ActiveState == "failed")
	})
	require.Less(t, time.Since(begun), 5*time.Second)
}

func TestSidekick(t *testing.T) {
	for _, wants := range []string{"", "[Unit]\nWants=side@%i.service\n"} {
		t.Run(fmt.Sprintf("wants=%t", wants != ""), func(t *testing.T) {
			l := newLab(t)
			l.begin()
			app := l.file(wants + sleeper)
			side := l.file("[Unit]\nBindsTo=app@%i.service\nAfter=app@%i.service\n" + sleeper)
			on := func(hash string) v1.Placement { return v1.Placement{Hash: hash, DesiredState: v1.Launched} }
			l.commit(placement(t, "app@1.service", on(app)), placement(t, "side@1.service", on(side)))
			a, s := l.awaitActive("app@1.service"), l.awaitActive("side@1.service")

			l.place("side@1.service", side, v1.Loaded)
			l.awaitInactive("side@1.service")
			l.place("side@1.service", side, v1.Launched)
			s = l.awaitActive("side@1.service")
			require.Equal(t, a.InvocationID, l.awaitActive("app@1.service").InvocationID, "the target was not touched")

			l.systemctl("kill", "--signal=KILL", "app@1.service")
			a = l.await("app@1.service", "restarted", func(u *v1.UnitState) bool { return u.ActiveState == "active" && u.InvocationID != a.InvocationID })
			s = l.await("side@1.service", "back", func(u *v1.UnitState) bool { return u.ActiveState == "active" && u.InvocationID != s.InvocationID })

			l.place("app@1.service", app, v1.Loaded)
			l.awaitInactive("app@1.service")
			l.awaitInactive("side@1.service")
			l.place("other.service", app, v1.Launched) // triggers a pass
			l.awaitActive("other.service")
			require.Equal(t, "inactive\n", l.systemctl("is-active", "app@1.service"))
			l.place("app@1.service", app, v1.Launched)
			a, s = l.awaitActive("app@1.service"), l.awaitActive("side@1.service")

			app2, side2 := l.file(wants+sleeper+"Environment=V=2\n"), l.file("[Unit]\nBindsTo=app@%i.service\nAfter=app@%i.service\n"+sleeper+"Environment=V=2\n")
			l.commit(placement(t, "app@1.service", on(app2)), placement(t, "side@1.service", on(side2)))
			l.await("app@1.service", "new", func(u *v1.UnitState) bool { return u.ActiveState == "active" && u.Hash == app2 })
			s2 := l.await("side@1.service", "new", func(u *v1.UnitState) bool { return u.ActiveState == "active" && u.Hash == side2 })
			require.NotEqual(t, s.InvocationID, s2.InvocationID)
			l.place("other2.service", app, v1.Launched) // triggers a pass
			l.awaitActive("other2.service")
			require.Equal(t, s2.InvocationID, l.awaitActive("side@1.service").InvocationID, "restarted once")
			l.systemctl("kill", "--signal=KILL", "side@1.service")
			l.await("side@1.service", "restarted", func(u *v1.UnitState) bool { return u.ActiveState == "active" && u.InvocationID != s2.InvocationID })
		})
	}
}

func TestBootWhileEtcdIsAway(t *testing.T) {
	l := newLab(t)
	l.begin()
	hash := l.file(sleeper)
	l.place("a.service", hash, v1.Launched)
	l.place("b.service", hash, v1.Loaded)
	l.place("gone.service", hash, v1.Launched)
	l.awaitActive("gone.service")
	l.awaitActive("a.service")
	l.await("b.service", "loaded", func(s *v1.UnitState) bool { return s != nil })
	l.powerOff()
	l.etcd.Stop()

	l.boot()
	l.options.BootGrace = 200 * time.Millisecond
	l.begin()
	require.Eventually(t, func() bool { return strings.HasPrefix(l.systemctl("is-active", "a.service"), "active") }, within, 20*time.Millisecond)
	require.Equal(t, "inactive\n", l.systemctl("is-active", "b.service"))
	before := l.systemctl("show", "-p", "InvocationID", "a.service")

	l.etcd.Start()
	l.commit(placement(t, "gone.service", v1.Placement{}))
	l.awaitGone("gone.service")
	require.Equal(t, before, l.systemctl("show", "-p", "InvocationID", "a.service"), "the store is the truth, and says the same")
	require.Equal(t, before, "InvocationID="+l.awaitActive("a.service").InvocationID+"\n")
}

// A machine was cut off and its unit was moved: it keeps running here until it is active there.
func TestMovedUnitRunsUntilItsReplacementIsActive(t *testing.T) {
	l := newLab(t)
	l.begin()
	hash := l.file(sleeper)
	l.place("moved.service", hash, v1.Launched)
	l.place("dropped.service", hash, v1.Launched)
	l.awaitActive("moved.service")
	l.awaitActive("dropped.service")
	l.end() // cut off

	const other = "ffffffffffffffffffffffffffffffff"
	there, err := keys.PlacementsOf(other).Encode(v1.Placement{Hash: hash, DesiredState: v1.Launched})
	require.NoError(t, err)
	l.commit(placement(t, "moved.service", v1.Placement{}), placement(t, "dropped.service", v1.Placement{}),
		store.Op{Key: keys.PlacementsOf(other).Key("moved.service"), Value: there})
	l.begin()
	l.awaitGone("dropped.service")
	l.await("moved.service", "held", func(s *v1.UnitState) bool {
		return s != nil && strings.Contains(s.Message, "until its replacement is active")
	})
	require.Equal(t, "active\n", l.systemctl("is-active", "moved.service"))

	state, err := keys.StatesOf(other).Encode(v1.UnitState{LoadState: "loaded", ActiveState: "active", DesiredState: v1.Launched})
	require.NoError(t, err)
	l.commit(store.Op{Key: keys.StatesOf(other).Key("moved.service"), Value: state})
	l.awaitGone("moved.service")
	require.Equal(t, "inactive\n", l.systemctl("is-active", "moved.service"))
}

func TestUnitsOfTheMachineAreLeftAlone(t *testing.T) {
	l := newLab(t)
	require.NoError(t, l.machine.Command("systemd-run", "--user", "--unit=own.service", "sleep", "infinity").Run())
	own := l.systemctl("show", "-p", "InvocationID", "own.service")
	l.begin()
	l.place("own.service", l.file(sleeper), v1.Launched)
	l.place("basic.target", l.file("[Unit]\nDescription=mine\n"), v1.Launched)
	for _, unit := range []string{"own.service", "basic.target"} {
		l.await(unit, "refused", func(s *v1.UnitState) bool { return s != nil && strings.Contains(s.Message, "already has its own") })
	}
	l.place("own.service", l.file(sleeper), v1.Loaded)
	l.place("other.service", l.file(sleeper), v1.Launched)
	l.awaitActive("other.service")
	l.commit(placement(t, "own.service", v1.Placement{}), placement(t, "basic.target", v1.Placement{}))
	l.awaitGone("own.service")
	l.awaitGone("basic.target")
	require.Equal(t, own, l.systemctl("show", "-p", "InvocationID", "own.service"))
	require.Equal(t, "active\nactive\n", l.systemctl("is-active", "own.service", "basic.target"))
	require.Contains(t, l.systemctl("show", "-p", "FragmentPath", "basic.target"), "/usr/lib/")
}

// What stops a unit is the file that it was started with, also where a new one comes meanwhile or at once.
func TestUnitStopsAsItsFormerFileSays(t *testing.T) {
	l := newLab(t)
	l.begin()
	ended := filepath.Join(t.TempDir(), "ended")
	text := func(version string) string {
		return sleeper + "ExecStop=/bin/sleep 1\nExecStopPost=/bin/sh -c 'echo " + version + " >>" + ended + "'\n"
	}
	a, b, c := l.file(text("a")), l.file(text("b")), l.file(text("c"))
	l.place("a.service", a, v1.Launched)
	l.awaitActive("a.service")
	l.place("a.service", a, v1.Loaded)
	l.await("a.service", "stopping", func(s *v1.UnitState) bool { return s.ActiveState == "deactivating" })
	l.place("a.service", b, v1.Launched)
	l.await("a.service", "the new file", func(s *v1.UnitState) bool { return s.Hash == b && s.ActiveState == "active" })
	l.place("a.service", c, v1.Loaded)
	l.await("a.service", "the newest file", func(s *v1.UnitState) bool { return s.Hash == c && s.ActiveState == "inactive" })
	said, err := os.ReadFile(ended)
	require.NoError(t, err)
	require.Equal(t, "a\nb\n", string(said))
}
