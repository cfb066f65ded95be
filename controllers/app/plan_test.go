package app

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// transcript is what happened since it was asked for last, but for the note that a revision is complete: TestCompleteIsNoted.
func (w *world) transcript() string {
	noted := fmt.Sprintf("%s %s %s", PutRevision, w.app, RevisionComplete)
	text := strings.Join(slices.DeleteFunc(slices.Clone(w.log), func(line string) bool { return line == noted }), "\n")
	w.log = nil
	return text
}

func TestFirstStartIsAllAtOnce(t *testing.T) {
	w := newWorld(t, "web")
	w.apply("%s", manifestOf("web", 2, "1", true))
	w.plan()
	hash, sidekick := w.revisions[0].UnitFile, w.revisions[0].SidekickFile
	files := []string{hash, sidekick}
	if sidekick < hash {
		files = []string{sidekick, hash}
	}
	require.Equal(t, fmt.Sprintf(`putRevision web Accepted
putRoute web RouteChanged
putUnitFile %s Referenced
putUnitFile %s Referenced
putUnit web@1.service ScaledUp launched
putUnit web-discovery@1.service ScaledUp launched
putUnit web@2.service ScaledUp launched
putUnit web-discovery@2.service ScaledUp launched
Normal Accepted`, files[0], files[1]), w.transcript())
	require.Zero(t, w.settleAll().After)
	require.Empty(t, w.transcript())
	require.Equal(t, 2, w.serving())
	require.Equal(t, "web", w.units["web@1.service"].Metadata.Owner)
}

func TestRollingUpdate(t *testing.T) {
	w := running(t, 2, true)

	w.apply("%s", manifestOf("web", 2, "2", true))
	w.plan()
	require.Equal(t, "putRevision web Accepted\n"+
		"putUnit web-discovery@1.service WithdrawForUpdate loaded\nputUnit web@1.service WithdrawForUpdate launched\nNormal Accepted", w.transcript())
	require.True(t, w.systemd("web-discovery@1.service"))
	w.plan()
	require.Empty(t, w.transcript(), "its endpoint is still there")
	require.True(t, w.announcer(1))
	w.plan()
	require.Empty(t, w.transcript(), "the routers still serve it")
	require.True(t, w.router("m1"))
	w.plan()
	require.Empty(t, w.transcript(), "one router still serves it")
	require.True(t, w.router("m2"))
	w.plan()
	require.Equal(t, fmt.Sprintf("putUnitFile %s Referenced\nputUnit web@1.service Updated launched\nputUnit web-discovery@1.service Updated launched", w.revisions[1].UnitFile), w.transcript())
	require.True(t, w.systemd("web@1.service"))
	w.plan()
	require.Empty(t, w.transcript(), "it runs, but is not announced")
	require.True(t, w.systemd("web-discovery@1.service"))
	require.True(t, w.announcer(1))
	w.plan()
	require.Empty(t, w.transcript(), "no router serves it")
	require.True(t, w.router("m1"))
	require.True(t, w.router("m2"))
	w.plan()
	require.Equal(t, "putUnit web@1.service RolloutComplete launched\n"+
		"putUnit web-discovery@2.service WithdrawForUpdate loaded\nputUnit web@2.service WithdrawForUpdate launched", w.transcript())
	w.settleAll()
	require.Equal(t, []string{"Normal RolloutComplete", "putRevision web RevisionComplete"}, w.log[len(w.log)-2:])
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash)
	require.Empty(t, w.units["web@1.service"].Metadata.Annotations)
}

func TestRolloutStallsAndGoesOn(t *testing.T) {
	w := running(t, 3, true)
	w.apply("%s", manifestOf("web", 3, "2", true))
	w.plan()
	w.brokenBy[w.revisions[1].UnitFile] = true
	w.log = nil
	plan := w.settleAll()
	require.InDelta(t, 5*time.Minute, plan.After, float64(time.Minute), "it looks again at the deadline")
	require.Equal(t, 2, w.serving())
	require.NotContains(t, w.log, "Warning RolloutStalled")

	w.now = w.now.Add(plan.After)
	w.log = nil
	plan = w.settleAll()
	require.Zero(t, plan.After)
	require.Equal(t, "Warning RolloutStalled", w.transcript())
	require.Equal(t, 2, w.serving())

	w.apply("%s", manifestOf("web", 3, "3", true))
	w.settleAll()
	require.Equal(t, 3, w.serving())
	for n := int32(1); n <= 3; n++ {
		require.Equal(t, w.revisions[2].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash)
	}
}

// An instance that does no work is replaced first: it costs nothing.
func TestUnhealthyInstanceIsReplacedFirst(t *testing.T) {
	w := running(t, 3, true)
	w.broken["web@2.service"] = true
	w.settleAll()
	require.Equal(t, 2, w.serving())
	w.log = nil
	w.apply("%s", manifestOf("web", 3, "2", true))
	w.plan()
	require.Contains(t, w.transcript(), "putUnit web-discovery@2.service WithdrawForUpdate loaded")
}

// A withdrawn instance returns to the routers when another one fails.
func TestWithdrawnInstanceReturnsWhenItIsNeeded(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.plan()
	w.broken["web@2.service"] = true
	require.True(t, w.announcer(2))
	w.log = nil
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service Needed launched\nputUnit web@1.service Needed launched", w.transcript())
	w.plan()
	require.Contains(t, w.transcript(), "putUnit web-discovery@2.service WithdrawForUpdate loaded", "the one that failed is replaced instead")
	delete(w.broken, "web@2.service")
	w.settleAll()
	require.Equal(t, 2, w.serving())
}

// The old process's endpoint says nothing about the new one.
func TestOldProcessDoesNotCountAsUpdated(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.replaced("web@1.service", 2)
	w.states["web@1.service"] = v1.UnitState{ActiveState: "active", Hash: w.revisions[0].UnitFile}
	w.endpoints["web/web@1"] = "10.0.0.1:3000"
	w.log = nil
	w.plan()
	require.Empty(t, w.transcript())
}

// An instance is only stopped, replaced or removed when its sidekick runs nowhere: it could still announce.
func TestSidekickHasToStopFirst(t *testing.T) {
	for name, change := range map[string]func(*world){
		"update": func(w *world) { w.apply("%s", manifestOf("web", 2, "2", true)) },
		"stop":   func(w *world) { w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded} },
		"delete": func(w *world) { w.manifest = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := running(t, 2, true)
			change(w)
			w.plan()
			delete(w.endpoints, "web/web@1")
			delete(w.endpoints, "web/web@2")
			w.changed = w.next()
			w.router("m1")
			w.router("m2")
			w.log = nil
			w.plan()
			require.NotContains(t, w.log, "putUnit web@1.service Updated launched")
			require.NotContains(t, w.log, "putUnit web@1.service Stopped loaded")
			require.NotContains(t, w.log, "deleteUnit web@1.service AppDeleted")
		})
	}
}

func TestUpdateWithoutAnnounceWaitsUntilItHolds(t *testing.T) {
	w := newWorld(t, "job")
	w.apply("%s", manifestOf("job", 2, "1", false))
	w.settleAll()
	w.now = w.now.Add(time.Hour)
	w.log = nil
	w.apply("%s", manifestOf("job", 2, "2", false))
	w.plan()
	require.Contains(t, w.transcript(), "putUnit job@1.service Updated launched")
	w.systemd("job@1.service")
	require.Equal(t, v1.DefaultMinReady, w.plan().After)
	require.Empty(t, w.transcript())
	w.now = w.now.Add(v1.DefaultMinReady)
	w.plan()
	require.Contains(t, w.transcript(), "putUnit job@2.service Updated launched")
}

// A clock that is set back during a roll-out does not stop it until the clock has caught up.
func TestClockThatIsSetBack(t *testing.T) {
	w := newWorld(t, "job")
	w.apply("%s", manifestOf("job", 2, "1", false))
	w.settleAll()
	w.apply("%s", manifestOf("job", 2, "2", false))
	w.plan()
	require.True(t, w.systemd("job@1.service"))
	w.now = w.now.Add(-time.Hour)
	plan := w.settleAll()
	require.Zero(t, plan.After)
	require.Equal(t, w.revisions[1].UnitFile, w.units["job@2.service"].Spec.Hash)
}

func TestOnlyTheSidekickChanges(t *testing.T) {
	w := running(t, 2, true)
	hash := w.units["web@1.service"].Spec.Hash
	w.apply("%s", strings.Replace(manifestOf("web", 2, "1", true), "announce: {}", "announce: {ttl: 10s}", 1))
	w.settleAll()
	require.Len(t, w.revisions, 2)
	require.Equal(t, hash, w.units["web@1.service"].Spec.Hash)
	require.Equal(t, w.revisions[1].SidekickFile, w.units["web-discovery@2.service"].Spec.Hash)
	require.NotEqual(t, w.revisions[0].SidekickFile, w.revisions[1].SidekickFile)
}

func TestAnnounceIsAddedAndRemoved(t *testing.T) {
	w := newWorld(t, "web")
	for i, announced := range []bool{false, true, false} {
		w.apply("%s", manifestOf("web", 2, "1", announced))
		w.settleAll()
		require.Len(t, w.revisions, i+1)
		want := []string{"web@1.service", "web@2.service"}
		if announced {
			want = []string{"web-discovery@1.service", "web-discovery@2.service", "web@1.service", "web@2.service"}
		}
		require.Equal(t, want, w.unitNames())
	}
}

func TestScaleDownWithdrawsAndTakesTheHighest(t *testing.T) {
	w := running(t, 4, true)
	w.apply("%s", manifestOf("web", 2, "1", true))
	w.plan()
	require.Equal(t, "putRevision web Accepted\nputUnit web-discovery@4.service WithdrawForRemoval loaded\n"+
		"putUnit web-discovery@3.service WithdrawForRemoval loaded\nNormal Accepted", w.transcript())
	require.Equal(t, w.revisions[0].UnitFile, w.revisions[1].UnitFile, "instances that stay are not touched")
	w.settleAll()
	require.Contains(t, w.transcript(), "deleteUnit web@4.service ScaledDown\ndeleteUnit web-discovery@4.service ScaledDown\ndeleteUnit web@3.service ScaledDown")
	require.Equal(t, 2, w.serving())
	w.apply("%s", manifestOf("web", 0, "1", true))
	w.settleAll()
	require.Empty(t, w.units)
	w.apply("%s", manifestOf("web", 1, "1", true))
	w.settleAll()
	require.Equal(t, 1, w.serving())
}

func TestStopAndStartOfOneInstance(t *testing.T) {
	w := running(t, 2, true)
	w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded}
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForStop loaded", w.transcript())
	w.settleAll()
	require.Equal(t, "putUnit web@1.service Stopped loaded", w.transcript())

	w.apply("%s", manifestOf("web", 2, "2", true)) // a stopped instance is changed at once, and stays stopped
	w.settleAll()
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash)
	require.Equal(t, 1, w.serving())
	w.log = nil

	w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Launched, RequestedAt: "now"}
	w.settleAll()
	require.Equal(t, "putUnit web@1.service Started launched\nputUnit web-discovery@1.service Started launched", w.transcript())
	require.Equal(t, "now", w.states["web@1.service"].RequestedAt)
	require.Equal(t, 2, w.serving())
	delete(w.overrides, "web@1.service")
	w.settleAll()
	require.Empty(t, w.transcript())

	w.overrides["web@2.service"] = v1.Override{RequestedAt: "later"}
	w.settleAll()
	require.Equal(t, "putUnit web@2.service Requested launched\nputUnit web-discovery@2.service Requested launched", w.transcript())
	w.overrides["web-discovery@2.service"] = v1.Override{DesiredState: v1.Loaded}
	w.settleAll()
	require.Equal(t, 1, w.serving(), "a person may withdraw one instance")
}

func TestDeletedAppIsWithdrawnFirst(t *testing.T) {
	w := running(t, 2, true)
	w.manifest = nil
	w.plan()
	require.Equal(t, "deleteRoute web AppDeleted\nputUnit web-discovery@2.service WithdrawForRemoval loaded\nputUnit web-discovery@1.service WithdrawForRemoval loaded", w.transcript())
	w.settleAll()
	require.Empty(t, w.units)
	require.Empty(t, w.endpoints)
	w.apply("%s", manifestOf("web", 1, "1", true)) // and returns, with the next number
	w.settleAll()
	require.Equal(t, 1, w.serving())
	require.Len(t, w.revisions, 2)
}

func TestDeadRoutersAreNotWaitedFor(t *testing.T) {
	w := newWorld(t, "web")
	w.routers = map[string]v1.Router{}
	w.apply("%s", manifestOf("web", 2, "1", true))
	w.settleAll()
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.settleAll()
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash)
}

func TestBrokenManifestChangesNothing(t *testing.T) {
	w := newWorld(t, "web")
	w.apply("not: [yaml")
	w.settleAll()
	require.Equal(t, "Warning InvalidManifest", w.log[0])
	w.apply("%s", manifestOf("web", 2, "1", true))
	w.settleAll()
	for _, broken := range []string{"not: [yaml", manifestOf("other", 2, "1", true), manifestOf("web", -1, "2", true), ""} {
		w.apply("%s", broken)
		w.log = nil
		w.settleAll()
		require.Equal(t, "Warning InvalidManifest", w.transcript())
		require.Equal(t, 2, w.serving())
		require.Len(t, w.revisions, 1)
	}
	w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded}
	w.settleAll()
	require.Equal(t, 1, w.serving(), "what was accepted goes on to be looked after")
}

func TestConflictsThatMatchNothingAreReportedOnce(t *testing.T) {
	w := newWorld(t, "web")
	w.apply("%s", manifestOf("web", 1, "1", true)+"  placement: {conflicts: [\"web@*.service,\"]}\n")
	w.settleAll()
	require.Equal(t, 1, strings.Count(w.transcript(), "Warning DoubtfulManifest"))
	require.Equal(t, 1, w.serving())
}

func TestTakenNamesAreLeftAlone(t *testing.T) {
	w := newWorld(t, "web")
	w.taken["web@2.service"] = ""
	w.apply("%s", manifestOf("web", 2, "1", true))
	w.settleAll()
	require.Equal(t, "Warning NameTaken", w.transcript())
	require.Empty(t, w.units)
	w.apply("%s", manifestOf("web", 1, "1", true))
	w.settleAll()
	require.Equal(t, 1, w.serving())
}

// TestNamesTakenByARace: two manifests that generate the same unit were accepted at the same moment. Each unit keeps its
// owner, and the plan converges: an instance that lacks a unit is not written over and over.
func TestNamesTakenByARace(t *testing.T) {
	for _, taken := range []string{"web-discovery@1.service", "web@1.service"} {
		for _, moved := range []bool{false, true} {
			w := running(t, 2, true)
			w.apply("%s", manifestOf("web", 2, "2", true))
			w.plan()
			delete(w.units, taken)
			w.taken[taken] = "web-discovery"
			if moved { // a drain had touched it
				if u, ok := w.units["web@1.service"]; ok {
					touched := *u.Unit
					touched.Rollout = v1.Rollout{Phase: v1.RolloutUpdating, Since: w.now}
					w.units["web@1.service"] = StoredUnit{Unit: &touched, UID: u.UID, Revision: u.Revision}
				}
			}
			w.settleAll()
			require.Equal(t, 1, w.serving(), "the other instance serves")
			require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash, "the other instance follows")
			require.NotContains(t, w.transcript(), "Normal RolloutComplete", "not all instances are of the revision")
			plan := w.settleAll()
			require.Equal(t, "Warning NameTaken", w.transcript())
			require.Zero(t, plan.After)

			delete(w.taken, taken)
			w.settleAll()
			require.Equal(t, 2, w.serving())
			require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
			require.Empty(t, w.units["web@1.service"].Metadata.Annotations)
		}
	}
}

func TestGlobalApp(t *testing.T) {
	w := newWorld(t, "router")
	w.apply("%s", strings.Replace(manifestOf("router", 0, "1", false), "replicas: 0", "global: true", 1))
	w.settleAll()
	require.Equal(t, []string{"router.service"}, w.unitNames())
	w.apply("%s", strings.Replace(manifestOf("router", 0, "2", false), "replicas: 0", "global: true", 1))
	w.settleAll()
	require.Equal(t, w.revisions[1].UnitFile, w.units["router.service"].Spec.Hash)
	w.apply("%s", manifestOf("router", 2, "2", false))
	w.settleAll()
	require.Equal(t, []string{"router@1.service", "router@2.service"}, w.unitNames())
}

// Another fleetd may write the same spec differently: what runs stays, even when the app is scaled.
func TestFilesOfARevisionStay(t *testing.T) {
	w := running(t, 1, true)
	w.revisions[0].UnitFile = "old"
	w.texts["old"] = "[Service]\nExecStart=/bin/old\n"
	for _, name := range []string{"web@1.service"} {
		u := w.units[name]
		u.Spec.Hash = "old"
		w.units[name] = u
	}
	w.settleAll()
	w.apply("%s", manifestOf("web", 2, "1", true))
	w.settleAll()
	require.Equal(t, "old", w.units["web@1.service"].Spec.Hash)
	require.Equal(t, "old", w.units["web@2.service"].Spec.Hash)

	delete(w.texts, "old") // lost by hand: regenerated
	w.settleAll()
	require.Contains(t, w.texts, w.units["web@1.service"].Spec.Hash)
}

// Whatever people do and in whatever order things happen: plans never take away more than one serving instance, and in the
// end everything is as in the last good manifest.
func TestPlansConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t, "web")
		replicas, version, announced := rapid.IntRange(1, 5).Draw(t, "replicas"), 0, true
		w.image, w.pull = rapid.Bool().Draw(t, "image"), v1.PreparedReady
		w.apply("%s", manifestOf("web", replicas, "0", true))
		if rapid.Bool().Draw(t, "settled") {
			w.settleAll()
		}
		for range rapid.IntRange(1, 120).Draw(t, "steps") {
			switch choice := rapid.IntRange(0, 25).Draw(t, "choice"); choice {
			case 0:
				version++
				w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
			case 1:
				replicas = rapid.IntRange(0, 5).Draw(t, "replicas")
				w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
			case 2:
				announced = rapid.Bool().Draw(t, "announced")
				w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
			case 3:
				w.apply("broken: [")
			case 4:
				n := int32(rapid.IntRange(1, 5).Draw(t, "instance"))
				w.broken[v1.AppUnit("web", n)] = rapid.Bool().Draw(t, "broken")
			case 5:
				n := int32(rapid.IntRange(1, 5).Draw(t, "instance"))
				w.overrides[v1.AppUnit("web", n)] = v1.Override{DesiredState: rapid.SampledFrom([]v1.DesiredState{v1.Loaded, v1.Launched, v1.Inactive}).Draw(t, "wish")}
			case 6:
				w.now = w.now.Add(time.Minute)
				w.pull = rapid.SampledFrom([]v1.PreparedState{v1.PreparedReady, v1.PreparedPulling, v1.PreparedFailed}).Draw(t, "pull")
			case 7:
				w.routers = map[string]v1.Router{"m1": w.routers["m1"]}
			case 8:
				name := v1.SidekickUnit("web", int32(rapid.IntRange(1, 5).Draw(t, "instance")))
				if _, own := w.units[name]; !own {
					w.taken[name] = "web-discovery"
				}
			case 9, 10, 11, 12, 13:
				w.checkedPlan(t)
			default:
				if steps := w.steps(); len(steps) > 0 {
					steps[rapid.IntRange(0, len(steps)-1).Draw(t, "step")]()
				}
			}
		}
		for n := range replicas {
			w.broken[v1.AppUnit("web", int32(n+1))] = rapid.Bool().Draw(t, "broken")
		}
		version++
		w.pull = v1.PreparedReady
		w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
		w.settleAll() // it converges even if some of them fail
		clear(w.broken)
		clear(w.overrides)
		clear(w.taken)
		version++
		w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
		plan := w.settleAll()
		require.Zero(t, plan.After)
		latest := w.revisions[len(w.revisions)-1]
		for n := int32(1); n <= int32(replicas); n++ {
			unit := w.units[v1.AppUnit("web", n)]
			require.Equal(t, v1.UnitSpec{Hash: latest.UnitFile, DesiredState: v1.Launched}, unit.Spec)
			require.Empty(t, unit.Metadata.Annotations)
			require.Zero(t, unit.Next)
		}
		want := replicas
		if announced {
			require.Equal(t, replicas, w.serving())
			want *= 2
		}
		require.Len(t, w.units, want)
	})
}

// checkedPlan applies a plan and checks what it takes away.
func (w *world) checkedPlan(t *rapid.T) {
	in := w.input()
	plan := Plan(in)
	withdrawn := 0
	for _, a := range plan.Actions {
		unit := v1.AppUnit("web", a.Instance)
		_, announced := in.Endpoints[v1.EndpointName("web", a.Instance)]
		_, hasSidekick := in.Units[v1.SidekickUnit("web", a.Instance)]
		if before, stored := in.Units[unit]; stored && a.Name == unit && before.Spec.DesiredState == v1.Launched {
			stops := a.Kind == DeleteUnit || a.Reason == Stopped || a.Reason == Updated && before.Spec.Hash != a.Unit.Spec.Hash
			require.False(t, stops && announced && hasSidekick, "%s is stopped while requests reach it: %s", a.Name, a.Reason)
		}
		switch a.Reason {
		case WithdrawForUpdate:
			if a.Name == v1.SidekickUnit("web", a.Instance) {
				withdrawn++
			}
		}
	}
	require.LessOrEqual(t, withdrawn, 1, "one at a time")
	if withdrawn == 1 {
		w.requireOthersServe(t, in, plan)
		w.requirePrepared(t, in, plan)
	}
	w.plan()
}

// requirePrepared: an instance that runs an image is only taken away when its machine has the next one, or says nothing.
func (w *world) requirePrepared(t *rapid.T, in Input, plan Decision) {
	for _, a := range plan.Actions {
		unit := v1.AppUnit("web", a.Instance)
		if a.Reason != WithdrawForUpdate || a.Name != unit {
			continue
		}
		is, next := a.Unit.Spec, in.Units[unit].Next
		if latest := w.latestOf(plan); !w.image || is.Hash == latest { // only its sidekick changes
			continue
		}
		require.NotEmpty(t, next.Hash, unit)
		if w.now.Sub(next.Since) < v1.AnswerPatience {
			require.Equal(t, v1.Prepared{Preparation: next.Preparation, State: v1.PreparedReady}, in.States[unit][0].Prepared, unit)
		}
	}
}

// latestOf is the unit file of the revision that a plan is about.
func (w *world) latestOf(plan Decision) string {
	for _, a := range plan.Actions {
		if a.Kind == PutRevision {
			return a.NewRevision.UnitFile
		}
	}
	return w.revisions[len(w.revisions)-1].UnitFile
}

// requireOthersServe: a healthy instance is only taken away while every other one that should serve does.
func (w *world) requireOthersServe(t *rapid.T, in Input, plan Decision) {
	taken := int32(0)
	for _, a := range plan.Actions {
		if a.Reason == WithdrawForUpdate {
			taken = a.Instance
		}
	}
	if _, serves := in.Endpoints[v1.EndpointName("web", taken)]; !serves {
		return
	}
	for name, u := range in.Units {
		n, sidekick, _ := v1.ParseAppUnit("web", name)
		surplus := n > w.revisions[len(w.revisions)-1].Spec.Instances() || plan.Actions[0].Kind == PutRevision
		if o := in.Overrides[name].DesiredState; sidekick || n == taken || surplus || o != "" && o != v1.Launched {
			continue
		}
		require.Equal(t, v1.Launched, u.Spec.DesiredState)
		require.Equal(t, "active", in.States[name][0].ActiveState, "%s", name)
		if _, ok := in.Units[v1.SidekickUnit("web", n)]; ok && in.Overrides[v1.SidekickUnit("web", n)].DesiredState == "" {
			require.Contains(t, in.Endpoints, v1.EndpointName("web", n))
		}
	}
}

// TestHostsSince: an app has a host since it first asked for it without interruption, whatever else changes.
func TestHostsSince(t *testing.T) {
	w := newWorld(t, "web")
	at := func(hosts string) int64 {
		w.apply("%s", strings.Replace(manifestOf("web", 1, "1", true), "announce: {}", "announce: {}\n  route: {hosts: ["+hosts+"]}", 1))
		w.settleAll()
		return w.manifest.Revision
	}
	since := func() map[string]int64 { return w.revisions[len(w.revisions)-1].HostsSince }
	first := at("a.example.com")
	require.Equal(t, map[string]int64{"a.example.com": first}, since())
	w.revisions[0].HostsSince = nil // as written by an older fleetd
	second := at("a.example.com, b.example.com")
	require.Equal(t, map[string]int64{"a.example.com": first, "b.example.com": second}, since())
	third := at("")
	require.Equal(t, map[string]int64{"": third}, since())
	fourth := at("b.example.com")
	require.Equal(t, map[string]int64{"b.example.com": fourth}, since())
	w.apply("%s", manifestOf("web", 1, "1", false))
	w.settleAll()
	require.Empty(t, since())
}

// A release that repairs an app that works nowhere is rolled out, whether its processes run or not: there is no instance to
// wait for.
func TestReleaseThatRepairsAllInstances(t *testing.T) {
	for broken := 2; broken <= 3; broken++ {
		w := newWorld(t, "web")
		w.apply("%s", manifestOf("web", 3, "1", true))
		w.settleAll()
		for n := range broken {
			w.broken[v1.AppUnit("web", int32(n+1))] = true
		}
		w.settleAll()
		require.Equal(t, 3-broken, w.serving())
		w.log = nil
		w.apply("%s", manifestOf("web", 3, "2", true))
		w.plan()
		require.Contains(t, w.transcript(), "putUnit web-discovery@1.service WithdrawForUpdate loaded")
		for range 100 {
			for _, step := range w.steps() {
				step()
			}
			w.plan()
		}
		require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
		require.NotContains(t, w.transcript(), "Needed")
		clear(w.broken)
		w.settleAll()
		require.Equal(t, 3, w.serving())
	}
}

// restart is a person's request to restart an instance.
func (w *world) restart(n int32, at string) {
	w.overrides[v1.AppUnit(w.app, n)] = v1.Override{DesiredState: v1.Launched, RequestedAt: at, Restart: true}
}

// TestRestartIsRolled: two simultaneous requests never stop both instances, and each is out of the routers before it stops.
func TestRestartIsRolled(t *testing.T) {
	w := running(t, 2, true)
	w.restart(1, "now")
	w.restart(2, "now")
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForRestart loaded\nputUnit web@1.service WithdrawForRestart launched", w.transcript())
	require.True(t, w.systemd("web-discovery@1.service"))
	require.True(t, w.announcer(1))
	w.plan()
	require.Empty(t, w.transcript(), "the routers still serve it")
	w.router("m1")
	w.router("m2")
	w.plan()
	require.Equal(t, "putUnit web@1.service Restarted loaded", w.transcript())
	w.plan()
	require.Empty(t, w.transcript(), "it has not stopped")
	require.True(t, w.systemd("web@1.service"))
	w.plan()
	require.Equal(t, "putUnit web@1.service Started launched\nputUnit web-discovery@1.service Started launched", w.transcript())
	for least := 2; w.units["web@2.service"].Spec.RequestedAt != "now" || len(w.endpoints) < 2; {
		w.plan()
		for _, step := range w.steps() {
			step()
			least = min(least, w.serving())
		}
		require.GreaterOrEqual(t, w.serving(), 1)
	}
	w.settleAll()
	for n := int32(1); n <= 2; n++ {
		require.Equal(t, "now", w.states[v1.AppUnit("web", n)].RequestedAt)
		require.Empty(t, w.units[v1.AppUnit("web", n)].Metadata.Annotations)
	}
	w.log = nil
	w.settleAll()
	require.Empty(t, w.transcript(), "once")
}

// TestStartOfWhatRunsWithItsFormerFile: a machine could not restart an instance with its new file, and the old process still
// serves. A start request then restarts it: out of the routers first.
func TestStartOfWhatRunsWithItsFormerFile(t *testing.T) {
	w := running(t, 2, true)
	before := w.states["web@1.service"]
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.replaced("web@1.service", 2)
	before.Message = "Unit web@1.service has a bad unit file setting."
	w.states["web@1.service"] = before
	w.states["web-discovery@1.service"] = v1.UnitState{ActiveState: "active", Hash: w.units["web-discovery@1.service"].Spec.Hash, DesiredState: v1.Launched}
	w.announcer(1)
	w.router("m1")
	w.router("m2")
	require.Equal(t, 2, w.serving())
	w.log = nil
	w.plan()
	require.Empty(t, w.transcript(), "it is waited for")

	w.now = w.now.Add(time.Minute)
	w.overrides["web@1.service"] = v1.Override{RequestedAt: "again"}
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForRestart loaded\nputUnit web@1.service WithdrawForRestart launched", w.transcript())
	require.True(t, w.systemd("web-discovery@1.service"))
	require.True(t, w.announcer(1))
	w.plan()
	require.Empty(t, w.transcript(), "the routers still serve it")
	w.router("m1")
	w.router("m2")
	w.plan()
	require.Equal(t, "putUnit web@1.service Updated launched\nputUnit web-discovery@1.service Updated launched", w.transcript(),
		"it is not stopped: where it is refused again, what runs goes on")
	require.Equal(t, "again", w.units["web@1.service"].Spec.RequestedAt)
	w.settleAll()
	require.Equal(t, 2, w.serving())
	require.Equal(t, w.revisions[1].UnitFile, w.states["web@2.service"].Hash, "the roll-out goes on")
}

// TestRestartWithoutAnnounce: one at a time, too.
func TestRestartWithoutAnnounce(t *testing.T) {
	w := running(t, 2, false)
	w.restart(1, "now")
	w.restart(2, "now")
	w.plan()
	require.Equal(t, "putUnit web@1.service Restarted loaded", w.transcript())
	require.True(t, w.systemd("web@1.service"))
	w.plan()
	require.Equal(t, "putUnit web@1.service Started launched", w.transcript())
	require.True(t, w.systemd("web@1.service"))
	w.plan()
	require.Empty(t, w.transcript(), "it has not been active for long enough")
	w.settleAll()
	require.Equal(t, "now", w.states["web@2.service"].RequestedAt)
}

// TestRestartOfWhatDoesNotRun: it is started at once.
func TestRestartOfWhatDoesNotRun(t *testing.T) {
	w := running(t, 2, false)
	s := w.states["web@1.service"]
	s.ActiveState = "failed"
	w.states["web@1.service"] = s
	w.restart(1, "now")
	w.plan()
	require.Equal(t, "putUnit web@1.service Requested launched", w.transcript())
}

// dies makes an instance's machine go away.
func (w *world) dies(n int32) {
	for _, name := range []string{v1.AppUnit(w.app, n), v1.SidekickUnit(w.app, n)} {
		delete(w.states, name)
		w.places[name] = Place{Away: true}
	}
	w.announcer(n)
	w.router("m1")
	w.router("m2")
}

// TestDeadMachineBlocksNothing: the two live instances are rolled, one after the other; then the third gets its file.
func TestDeadMachineBlocksNothing(t *testing.T) {
	w := running(t, 3, true)
	w.dies(1)
	w.apply("%s", manifestOf("web", 3, "2", true))
	w.plan()
	require.Contains(t, w.transcript(), "putUnit web-discovery@2.service WithdrawForUpdate loaded")
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@1.service"].Spec.Hash)
	for range 50 {
		w.plan()
		for _, name := range []string{"web-discovery@2.service", "web@2.service", "web-discovery@3.service", "web@3.service"} {
			w.systemd(name)
		}
		w.announcer(2)
		w.announcer(3)
		w.router("m1")
		w.router("m2")
		require.GreaterOrEqual(t, w.serving(), 1)
	}
	for n := int32(1); n <= 3; n++ {
		require.Equal(t, w.revisions[1].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash, "web@%d", n)
	}
	require.Equal(t, 2, w.serving())
}

// TestManyMachinesAwayKeepTheirFiles: when more than half return at once, what runs there is rolled, not restarted at once.
// The same holds with a new leader.
func TestManyMachinesAwayKeepTheirFiles(t *testing.T) {
	for away, settling := range map[int32]time.Duration{3: 0, 1: time.Second} {
		w := running(t, 4, true)
		for n := range away {
			w.dies(n + 1)
		}
		w.apply("%s", manifestOf("web", 4, "2", true))
		var complete []string
		for range 100 {
			in := w.input()
			in.Settling = settling
			for _, a := range Plan(in).Actions {
				require.False(t, a.Reason == Updated && a.Instance <= away, a.Name)
				if a.Kind == Report && a.Reason == RolloutComplete {
					complete = append(complete, a.Event.Message)
				}
			}
			w.planSettling(settling)
			for n := away + 1; n <= 4; n++ {
				w.systemd(v1.SidekickUnit("web", n))
				w.systemd(v1.AppUnit("web", n))
				w.announcer(n)
			}
			w.router("m1")
			w.router("m2")
		}
		require.Equal(t, w.revisions[1].UnitFile, w.units["web@4.service"].Spec.Hash)
		require.Equal(t, map[int32][]string{
			1: {"all instances are of revision 2, but web@1.service, whose machine is not present"},
			3: {"all instances are of revision 2, but web@1.service and 2 more, whose machines are not present"},
		}[away], complete)
	}
}

// TestUnplacedInstanceBlocksNothing: unless the roll-out itself caused that.
func TestUnplacedInstanceBlocksNothing(t *testing.T) {
	w := running(t, 3, true)
	delete(w.states, "web@3.service")
	delete(w.states, "web-discovery@3.service")
	w.announcer(3)
	w.places["web@3.service"] = Place{Unplaced: &v1.Unplaced{Message: "0 of 2 machines fit"}}
	w.apply("%s", manifestOf("web", 3, "2", true))
	w.plan()
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@3.service"].Spec.Hash, "at once")
	require.Contains(t, w.transcript(), "putUnit web-discovery@1.service WithdrawForUpdate loaded")

	w.replaced("web@1.service", 2)
	w.places["web@1.service"] = Place{Unplaced: &v1.Unplaced{Message: "0 of 2 machines fit: 2 have too little memory"}}
	delete(w.states, "web@1.service")
	delete(w.states, "web-discovery@1.service")
	w.announcer(1)
	for range 10 {
		w.plan()
	}
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@2.service"].Spec.Hash, "the new version fits nowhere: nothing else is replaced")
	w.apply("%s", manifestOf("web", 3, "3", true))
	for range 10 {
		w.plan()
	}
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@2.service"].Spec.Hash, "so may be the next one")
}

// TestRestartLoopIsNotReady: a new version that keeps dying is not rolled out further, announced or not.
func TestRestartLoopIsNotReady(t *testing.T) {
	w := running(t, 2, false)
	w.apply("%s", manifestOf("web", 2, "2", false))
	w.plan()
	require.True(t, w.systemd("web@1.service"))
	s := w.states["web@1.service"]
	s.Restarts, s.Since = 4, w.now.Add(-6*time.Second)
	w.states["web@1.service"] = s
	w.log = nil
	plan := w.plan()
	require.Empty(t, w.transcript())
	require.LessOrEqual(t, plan.After, 80*time.Second)
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@2.service"].Spec.Hash)
}
