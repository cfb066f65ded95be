package app

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestAppThatStopsAnnouncing: routers forget its hosts, and its sidekicks are removed.
func TestAppThatStopsAnnouncing(t *testing.T) {
	w := running(t, 1, true)
	require.NotNil(t, w.route.Value)
	w.apply("%s", manifestOf("web", 1, "1", false))
	w.plan()
	require.Contains(t, w.transcript(), "deleteRoute web NotRouted\n")
	require.Nil(t, w.route.Value)
	w.settleAll()
	require.NotContains(t, w.transcript(), "Route")
	require.Equal(t, []string{"web@1.service"}, w.unitNames())
}

// TestClaims: the unit file contains only the resources that an instance asks for.
func TestClaims(t *testing.T) {
	for requests, want := range map[string]string{
		"{memory: 100M}":         "[X-Fleet]\nMemory=100M\n",
		"{memory: 1.5Gi}":        "[X-Fleet]\nMemory=1536M\n",
		"{memory: 1P}":           "[X-Fleet]\nMemory=1024T\n",
		"{cpu: 250m}":            "[X-Fleet]\nCPU=250m\n",
		"{cpu: 2, memory: 1G}":   "[X-Fleet]\nCPU=2000m\nMemory=1G\n",
		`{cpu: "0", memory: 1G}`: "[X-Fleet]\nMemory=1G\n",
	} {
		w := newWorld(t, "web")
		w.apply("%s", manifestOf("web", 1, "1", false)+"  resources: {requests: "+requests+"}\n")
		w.plan()
		require.NotEmpty(t, w.revisions, requests)
		text := w.texts[w.revisions[0].UnitFile]
		require.Contains(t, text, "[X-Fleet]", requests)
		require.Equal(t, want, text[strings.Index(text, "[X-Fleet]"):], requests)
	}
}

// TestMoveDuringARollout: an instance that a roll-out has touched, and that then moves, still belongs to the roll-out: when
// it is ready again, no move is reported complete.
func TestMoveDuringARollout(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.plan()
	require.Contains(t, w.transcript(), "putUnit web@1.service WithdrawForUpdate launched")
	w.goes(1, "m1")
	for range 5 {
		w.plan()
		for _, step := range w.steps() {
			step()
		}
	}
	require.Equal(t, "m1", w.letGo(1))
	require.Empty(t, w.units["web@1.service"].Rollout.From)
	w.moves(1)
	w.settleAll()
	require.NotContains(t, w.transcript(), "MoveComplete")
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash)
}

// TestNoOtherIsTouchedBeforeOneIsReady: while an instance is being started, restarted or moved, or is not ready after its
// replacement, the next one is left alone.
func TestNoOtherIsTouchedBeforeOneIsReady(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(w *world)
	}{
		{"started again", func(w *world) {
			w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded}
			w.settleAll()
			delete(w.overrides, "web@1.service")
		}},
		{"restarted", func(w *world) {
			w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Launched, RequestedAt: "1", Restart: true}
		}},
		{"let go", func(w *world) { w.goes(1, "m1") }},
		{"not ready after it was replaced", func(w *world) {
			w.apply("%s", manifestOf("web", 2, "1b", true))
			w.replaced("web@1.service", 2)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := running(t, 2, true)
			tt.change(w)
			w.plan()
			w.transcript()
			w.broken["web@1.service"] = true
			w.apply("%s", manifestOf("web", 2, "2", true))
			for range 20 {
				w.plan()
				for _, step := range w.steps() {
					step()
				}
			}
			require.Equal(t, v1.Launched, w.units["web-discovery@2.service"].Spec.DesiredState)
			require.NotEqual(t, w.revisions[len(w.revisions)-1].UnitFile, w.units["web@2.service"].Spec.Hash)
		})
	}
}

// TestRestartWithARollout: a replacement also completes a requested restart.
func TestRestartWithARollout(t *testing.T) {
	w := running(t, 1, false)
	w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Launched, RequestedAt: "1", Restart: true}
	w.apply("%s", manifestOf("web", 1, "2", false))
	w.settleAll()
	require.Equal(t, v1.UnitSpec{Hash: w.revisions[1].UnitFile, DesiredState: v1.Launched, RequestedAt: "1"}, w.units["web@1.service"].Spec)
	require.NotContains(t, w.transcript(), "Restarted")
}

// TestUnitsOfADeletedAppKeepTheirOwner, even when they are withdrawn: another app of that name has to know whose they were.
func TestUnitsOfADeletedAppKeepTheirOwner(t *testing.T) {
	w := running(t, 1, true)
	owner := w.units["web-discovery@1.service"].Metadata.OwnerUID
	require.Equal(t, "2", owner)
	w.manifest = nil
	w.plan()
	require.Equal(t, "deleteRoute web AppDeleted\nputUnit web-discovery@1.service WithdrawForRemoval loaded", w.transcript())
	require.Equal(t, owner, w.units["web-discovery@1.service"].Metadata.OwnerUID)
}

// TestGoneFrom: a global app's instance on one machine gets no more requests when it is neither announced nor about to be,
// and all routers know.
func TestGoneFrom(t *testing.T) {
	name := v1.GlobalEndpointName("web", "m1")
	for _, tt := range []struct {
		name          string
		change        func(in *Input)
		gone, waiting bool
	}{
		{"it is withdrawn", func(*Input) {}, true, false},
		{"it is announced", func(in *Input) { in.Endpoints = map[string]int64{name: 3} }, false, false},
		{"another one is", func(in *Input) { in.Endpoints = map[string]int64{v1.GlobalEndpointName("web", "m2"): 3} }, true, false},
		{"it is announced where it was before", func(in *Input) { in.Former = map[string]int64{name: 3} }, false, false},
		{"its announcer was there a moment ago", func(in *Input) {
			in.States["web-discovery.service"] = append(in.States["web-discovery.service"], State{"m1", &v1.UnitState{ActiveState: "inactive"}})
		}, false, false},
		{"its announcer is to be there still", func(in *Input) {
			in.Places = map[string]Place{"web-discovery.service": {Machines: []string{"m1", "m2"}}}
		}, false, false},
		{"a router is behind", func(in *Input) { in.EndpointSets[0].Revision = 8 }, false, true},
		{"a router that has failed for a day is behind", func(in *Input) {
			in.EndpointSets[0].Revision = 8
			in.Routers["m1"] = v1.Router{Revision: 7, Failing: &v1.RouterFailure{Since: in.Now.Add(-24 * time.Hour)}}
		}, false, true},
		{"a router has requests under way", func(in *Input) {
			in.Routers["m1"] = v1.Router{Revision: 7, Draining: []v1.Draining{{Endpoint: "/services/web/" + name}}}
		}, false, true},
		{"a router has requests under way to another one", func(in *Input) {
			in.Routers["m1"] = v1.Router{Revision: 7, Draining: []v1.Draining{{Endpoint: "/services/web/" + v1.GlobalEndpointName("web", "m2")}}}
		}, true, false},
	} {
		in := Input{App: "web", Routers: map[string]v1.Router{"m1": {Revision: 7}}, EndpointSets: []v1.EndpointSet{{Prefix: v1.DefaultAnnouncePrefix, Revision: 7}},
			States: map[string][]State{"web-discovery.service": {{"m2", &v1.UnitState{ActiveState: "active"}}}}}
		tt.change(&in)
		p := &planner{in: in}
		i := &replica{sidekick: p.pair("web-discovery.service", "s")}
		require.Equal(t, tt.gone, p.goneFrom(i, "m1"), tt.name)
		require.Equal(t, tt.waiting, p.waiting, tt.name)
	}
}

// TestMoveAfterItWasReplaced: an instance that a roll-out has replaced and that is not ready yet leaves its machine as part
// of the roll-out.
func TestMoveAfterItWasReplaced(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.replaced("web@1.service", 2)
	w.broken["web@1.service"] = true
	w.transcript()
	w.now = w.now.Add(time.Second)
	w.goes(1, "m1")
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForMove loaded\nputUnit web@1.service WithdrawForMove launched", w.transcript())
	require.Equal(t, v1.Rollout{Phase: v1.RolloutWithdrawing, Since: w.now}, w.units["web@1.service"].Rollout)
}

// TestRevisionsKeepTheManifest: its very text, comments included, and when it was accepted; not one that is too large.
func TestRevisionsKeepTheManifest(t *testing.T) {
	text := "# what a person knows\napiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  exec: {command: [/bin/true]}\n"
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	accept := func(text string) *v1.Revision {
		plan := Plan(Input{App: "web", Now: now, Manifest: &Manifest{Raw: []byte(text), Revision: 5, UID: 5}})
		require.Equal(t, PutRevision, plan.Actions[0].Kind)
		return plan.Actions[0].NewRevision
	}
	require.Equal(t, text, accept(text).Manifest)
	require.Equal(t, now.Truncate(time.Second), accept(text).AcceptedAt)
	full := text + "#" + strings.Repeat("x", v1.MaxKeptManifest-len(text)-2) + "\n"
	require.Len(t, accept(full).Manifest, v1.MaxKeptManifest)
	require.Empty(t, accept(full+"#").Manifest)
}
