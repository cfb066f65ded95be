package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

const routed = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  exec: {command: [/bin/app]}\n  ports: [{port: 3000}]\n  announce: {}\n  route: {hosts: [%s]}\n"

// TestRouteIsWrittenWithItsRevision follows an app's route through its life.
func TestRouteIsWrittenWithItsRevision(t *testing.T) {
	w := newWorld(t, "web")
	w.apply(routed, "a.example.com, b.example.com")
	w.plan()
	require.Equal(t, &v1.AppRoute{UID: "2", Prefix: v1.DefaultAnnouncePrefix, Hosts: map[string]int64{"a.example.com": 2, "b.example.com": 2}}, w.route.Value)
	w.settleAll()

	before := w.route
	w.apply(routed, "c.example.com, a.example.com")
	second := w.manifest.Revision
	w.plan()
	require.Equal(t, map[string]int64{"a.example.com": 2, "c.example.com": second}, w.route.Value.Hosts, "a host that stays is had for as long")
	require.Equal(t, "2", w.route.Value.UID)
	require.Greater(t, w.route.Revision, before.Revision)
	w.settleAll()

	before = w.route
	w.apply("broken: [")
	w.settleAll()
	require.Equal(t, before, w.route, "what is refused changes nothing")

	w.route.Value = nil // the stored one is unreadable
	w.settleAll()
	require.Equal(t, before.Value, w.route.Value)
	w.route = Route{} // or a person deleted it; or an older fleetd, which writes none, was the leader
	w.settleAll()
	require.Equal(t, before.Value, w.route.Value)

	w.manifest = nil
	plan := w.plan()
	require.Equal(t, DeleteRoute, plan.Actions[0].Kind)
	require.Zero(t, w.route, "its hosts are free at once, while its instances are still withdrawn")
	require.NotEmpty(t, w.units)

	// Deleted and applied again, it starts over: it has its hosts only since then.
	w.apply(routed, "a.example.com")
	w.plan()
	require.Equal(t, map[string]int64{"a.example.com": w.manifest.UID}, w.route.Value.Hosts)
}

func TestWhatIsRouted(t *testing.T) {
	spec := func(announce *v1.Announce, route *v1.Route) *v1.Revision {
		return &v1.Revision{Number: 1, ManifestRevision: 7, Spec: v1.AppSpec{Announce: announce, Route: route}}
	}
	here := &v1.Announce{Prefix: v1.DefaultAnnouncePrefix}
	hand := &v1.AppRoute{Prefix: v1.DefaultAnnouncePrefix, Units: []string{"web@1"}}
	for _, c := range []struct {
		name   string
		exists bool
		latest *v1.Revision
		byHand []string
		want   *v1.AppRoute
	}{
		{"announced", true, spec(here, nil), []string{"web@1"}, &v1.AppRoute{UID: "3", Prefix: v1.DefaultAnnouncePrefix, Hosts: map[string]int64{"": 7}}},
		{"announced elsewhere", true, spec(&v1.Announce{Prefix: "/services/x"}, &v1.Route{Hosts: []string{"X.com"}}), nil,
			&v1.AppRoute{UID: "3", Prefix: "/services/x", Hosts: map[string]int64{"x.com": 7}}},
		{"not announced", true, spec(nil, nil), nil, nil},
		{"announced by hand", true, spec(nil, nil), []string{"web@1"}, hand},
		{"no app", false, nil, nil, nil},
		{"no app, announced by hand", false, nil, []string{"web@1"}, hand},
		{"never accepted, announced by hand", true, nil, []string{"web@1"}, hand},
		{"deleted", false, spec(here, nil), nil, nil},
	} {
		p := planner{in: Input{App: "web", Latest: c.latest, ByHand: c.byHand}, revision: c.latest}
		if c.exists {
			p.in.Manifest = &Manifest{UID: 3, Revision: 7}
		}
		require.Equal(t, c.want, p.wantedRoute(), c.name)
	}
}

// TestUnknownEndpointsDecideNothing: while the endpoints below a new prefix are being listed, no instance counts as
// withdrawn, or as doing no work.
func TestUnknownEndpointsDecideNothing(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	in := w.input()
	in.Unknown, in.Endpoints = true, nil
	for _, a := range Plan(in).Actions {
		require.NotContains(t, []Kind{PutUnit, DeleteUnit}, a.Kind)
	}
	in.Manifest = nil
	require.Equal(t, []Action{{Kind: DeleteRoute, Reason: AppDeleted, Name: "web", If: w.route.Revision}}, Plan(in).Actions)
}

// TestFormerEndpointIsWithdrawn: an instance is not gone while it is announced below its old prefix.
func TestFormerEndpointIsWithdrawn(t *testing.T) {
	w := running(t, 1, true)
	w.apply("%s", manifestOf("web", 1, "2", true))
	w.plan()
	require.True(t, w.systemd("web-discovery@1.service"))
	require.True(t, w.announcer(1))
	w.router("m1")
	w.router("m2")
	in := w.input()
	in.Former = map[string]int64{"web/web@1": 1}
	require.Empty(t, Plan(in).Actions)
	in.Former = nil
	require.NotEmpty(t, Plan(in).Actions)
}
