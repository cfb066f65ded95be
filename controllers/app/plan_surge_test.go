package app

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// surging is an app that was applied once and runs, with that leeway from now on.
func surging(t require.TestingT, replicas int, surge, unavailable int32) *world {
	w := newWorld(t, "web")
	w.surge, w.unavailable = surge, unavailable
	w.apply("%s", manifestOf("web", replicas, "1", true))
	w.settleAll()
	w.log = nil
	w.now = w.now.Add(time.Hour)
	return w
}

// instances counts the units of instances.
func (w *world) instances() (n int) {
	for name := range w.units {
		if _, sidekick, _ := v1.ParseAppUnit(w.app, name); !sidekick {
			n++
		}
	}
	return n
}

func TestSurgeOfOneReplica(t *testing.T) {
	w := surging(t, 1, 1, 0)
	w.apply("%s", manifestOf("web", 1, "2", true))
	w.plan()
	require.Equal(t, fmt.Sprintf("putRoute web RouteChanged\n"+"putUnitFile %s Referenced\nputUnit web@2.service Surge launched\nputUnit web-discovery@2.service Surge launched",
		w.revisions[1].UnitFile), trimRoute(w.transcript()))
	require.True(t, w.systemd("web@2.service"))
	require.True(t, w.systemd("web-discovery@2.service"))
	require.True(t, w.announcer(2))
	require.True(t, w.router("m1"))
	w.plan()
	require.Empty(t, w.transcript(), "one router does not serve it yet")
	require.True(t, w.router("m2"))
	w.plan()
	require.Equal(t, "putUnit web@2.service SurgeReady launched\n"+
		"putUnit web-discovery@1.service WithdrawForUpdate loaded\nputUnit web@1.service WithdrawForUpdate launched", w.transcript())
	w.settleAll()
	require.Equal(t, []string{"web-discovery@1.service", "web@1.service"}, w.unitNames(), "the numbers stay")
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
	require.Contains(t, w.transcript(), "putUnit web@1.service RolloutComplete launched\nputUnit web-discovery@2.service WithdrawForRemoval loaded\nNormal RolloutComplete\n"+
		"deleteUnit web@2.service ScaledDown\ndeleteUnit web-discovery@2.service ScaledDown")
}

// trimRoute puts a missing route first, so that a transcript does not depend on whether the test accepted the revision.
func trimRoute(text string) string {
	if len(text) > 8 && text[:8] != "putRoute" {
		return "putRoute web RouteChanged\n" + text
	}
	return text
}

// TestSurgeKeepsReplicas: whatever happens in which order, a roll-out, a restart and a move leave as many instances in the routers as
// the manifest asks for, less what may be missing, and there are never more than it allows.
func TestSurgeKeepsReplicas(t *testing.T) {
	inTheMiddle := []uint64{
		1429, // a move, a newer manifest while an instance restarts
		3252, // a move of an instance that has just been replaced, and serves
	}
	for n := range uint64(200 + len(inTheMiddle)) {
		seed := n
		if n >= 200 {
			seed = inTheMiddle[n-200]
		}
		chance := rand.New(rand.NewPCG(seed, 1))
		replicas, surge, unavailable := 1+chance.Int32N(4), 1+chance.Int32N(3), chance.Int32N(3)
		w := surging(t, int(replicas), surge, unavailable)
		w.image, w.pull = seed%2 == 0, v1.PreparedReady
		w.leaving = map[string]string{}
		version := 1
		for range 1 + chance.IntN(5) {
			n := 1 + chance.Int32N(replicas)
			switch chance.IntN(4) {
			case 0, 1:
				version++
				w.apply("%s", manifestOf("web", int(replicas), fmt.Sprint(version), true))
			case 2:
				w.restart(n, fmt.Sprint(version, n, w.now))
			case 3:
				if len(w.leaving) == 0 {
					w.goes(n, "m1")
				}
			}
			for range chance.IntN(80) {
				w.now = w.now.Add(time.Millisecond)
				w.plan()
				if steps := w.steps(); len(steps) > 0 {
					steps[chance.IntN(len(steps))]()
				}
				w.scheduler()
				require.GreaterOrEqual(t, w.serving(), int(replicas-unavailable), "seed %d: too few serve", seed)
				require.LessOrEqual(t, w.instances(), int(replicas+surge), "seed %d: there are too many", seed)
			}
		}
		for range 10 {
			w.settleAll()
			w.scheduler()
		}
		require.EqualValues(t, replicas, w.serving(), "seed %d", seed)
		require.EqualValues(t, replicas, w.instances(), "seed %d", seed)
		for n := int32(1); n <= replicas; n++ {
			require.Equal(t, w.revisions[len(w.revisions)-1].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash, "seed %d", seed)
		}
	}
}

// TestSurgeThatFailsTakesNothingAway: the new version never becomes ready, so nothing of the old one is touched; the next one rolls.
func TestSurgeThatFailsTakesNothingAway(t *testing.T) {
	w := surging(t, 2, 1, 0)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.brokenBy[w.revisions[1].UnitFile] = true
	plan := w.settleAll()
	require.Equal(t, 2, w.serving())
	require.Equal(t, 3, w.instances())
	w.now = w.now.Add(plan.After)
	w.log = nil
	w.settleAll()
	require.Equal(t, "Warning RolloutStalled", w.transcript())
	for n := int32(1); n <= 2; n++ {
		require.Equal(t, w.revisions[0].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash)
	}
	w.apply("%s", manifestOf("web", 2, "3", true))
	w.settleAll()
	require.Equal(t, 2, w.instances())
	require.Equal(t, w.revisions[2].UnitFile, w.units["web@2.service"].Spec.Hash)
}

// TestSurgeIsTakenBack: the manifest changes back while an instance is beside the others.
func TestSurgeIsTakenBack(t *testing.T) {
	w := surging(t, 2, 1, 0)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.plan()
	require.Equal(t, 3, w.instances())
	w.apply("%s", manifestOf("web", 2, "1", true))
	w.settleAll()
	require.Equal(t, 2, w.instances())
	require.NotContains(t, w.transcript(), "WithdrawForUpdate")
}

// TestSurgeSkipsTakenNumbers: a number whose units belong to another owner, or that a person has stopped, is not free.
func TestSurgeSkipsTakenNumbers(t *testing.T) {
	w := surging(t, 1, 1, 0)
	w.taken["web-discovery@2.service"] = ""
	w.apply("%s", manifestOf("web", 1, "2", true))
	w.plan()
	require.Contains(t, w.unitNames(), "web@3.service")
	w.settleAll()
	require.Equal(t, []string{"web-discovery@1.service", "web@1.service"}, w.unitNames())
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
}

// TestSurgeWithoutRoom: no machine has room for one more. By default instances are then replaced in place, and the plan says why;
// with maxUnavailable: 0 the roll-out waits.
func TestSurgeWithoutRoom(t *testing.T) {
	cramped := func(w *world) {
		for _, unit := range []string{"web@3.service", "web-discovery@3.service"} {
			w.places[unit] = Place{Unplaced: &v1.Unplaced{Message: "0 of 1 machines fit: no memory"}}
		}
	}
	w := newWorld(t, "web")
	surges := func(version string) string {
		return manifestOf("web", 2, version, false)[:len(manifestOf("web", 2, version, false))-len("  update: {maxSurge: 0}\n")]
	}
	w.apply("%s", surges("1"))
	cramped(w)
	w.settleAll()
	w.now = w.now.Add(time.Hour)
	w.apply("%s", surges("2"))
	w.plan()
	plan := w.plan()
	require.Equal(t, Updated, plan.Actions[0].Reason)
	require.Equal(t, "web@3.service fits on no machine: 0 of 1 machines fit: no memory", plan.Actions[0].Why)
	w.settleAll()
	require.Equal(t, []string{"web@1.service", "web@2.service"}, w.unitNames())
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash)

	w = surging(t, 2, 1, 0)
	cramped(w)
	w.apply("%s", manifestOf("web", 2, "2", true))
	plan = w.settleAll()
	require.Equal(t, 2, w.serving())
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@1.service"].Spec.Hash)
	w.now = w.now.Add(plan.After)
	w.log = nil
	w.settleAll()
	require.Equal(t, "Warning RolloutStalled", w.transcript())
	delete(w.places, "web@3.service")
	delete(w.places, "web-discovery@3.service")
	w.settleAll()
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash)
	require.Equal(t, 2, w.instances())
}

// TestInPlaceSaysWhy: what has a fixed port is replaced in place, as many at once as may be missing.
func TestInPlaceSaysWhy(t *testing.T) {
	w := running(t, 4, true)
	w.apply("%s", manifestOf("web", 4, "2", true)+"  update: {maxUnavailable: 50%}\n")
	plan := w.plan()
	out := 0
	for _, a := range plan.Actions {
		if a.Reason == WithdrawForUpdate && a.Name[:4] == "web@" {
			out++
			require.Equal(t, "port 3000 of the machine is fixed", a.Why)
		}
	}
	require.Equal(t, 2, out)
	least := 4
	for range 200 {
		w.now = w.now.Add(time.Millisecond)
		w.plan()
		for _, step := range w.steps() {
			step()
		}
		least = min(least, w.serving())
	}
	require.Equal(t, 2, least)
	require.Equal(t, 4, w.serving())
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@4.service"].Spec.Hash)
}

// TestBrokenInstanceIsReplacedWithoutSurge: for one that does no work nothing has to stand in.
func TestBrokenInstanceIsReplacedWithoutSurge(t *testing.T) {
	w := surging(t, 1, 1, 0)
	w.broken["web@1.service"] = true
	w.settleAll()
	w.apply("%s", manifestOf("web", 1, "2", true))
	w.plan()
	require.Equal(t, 1, w.instances())
	require.Contains(t, w.transcript(), "putUnit web-discovery@1.service WithdrawForUpdate loaded")
}

// TestSurgesConverge: lives of many apps with a leeway, at the end of which all is as the manifest says.
func TestSurgesConverge(t *testing.T) {
	for seed := range uint64(60) {
		chance := rand.New(rand.NewPCG(seed, 7))
		w := newWorld(t, "web")
		w.image, w.pull = seed%3 == 1, v1.PreparedReady
		w.surge, w.unavailable = 1+chance.Int32N(3), chance.Int32N(2)
		w.live(chance)
		w.pull = v1.PreparedReady
		clear(w.overrides)
		clear(w.leaving)
		clear(w.broken)
		clear(w.places)
		clear(w.taken)
		w.apply("%s", manifestOf("web", 2, "last", true))
		w.settleAll()
		if w.instances() != 2 {
			in := w.input()
			for _, n := range w.unitNames() {
				t.Log(n, w.units[n].Spec.Hash[:5], w.units[n].Spec.DesiredState, w.units[n].Rollout, in.Places[n], w.states[n])
			}
			t.Log(w.now, in.Endpoints, w.log[len(w.log)-10:])
		}
		require.Equal(t, []string{"web-discovery@1.service", "web-discovery@2.service", "web@1.service", "web@2.service"}, w.unitNames(), seed)
		require.Equal(t, 2, w.serving(), seed)
	}
}
