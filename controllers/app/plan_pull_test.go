package app

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// runningImages is an app of which each instance runs an image.
func runningImages(t *testing.T, replicas int) *world {
	w := newWorld(t, "web")
	w.image, w.pull = true, v1.PreparedReady
	w.apply("%s", manifestOf("web", replicas, "1", true))
	w.settleAll()
	w.log, w.now = nil, w.now.Add(time.Hour)
	require.Equal(t, replicas, w.serving())
	return w
}

// TestNothingIsTakenAwayWithoutTheImage: as long as the new image is not on the machine the old instance goes on as it was.
func TestNothingIsTakenAwayWithoutTheImage(t *testing.T) {
	w := runningImages(t, 2)
	before := w.units["web@1.service"].Spec
	for _, w.pull = range []v1.PreparedState{v1.PreparedPulling, v1.PreparedFailed} {
		w.apply("%s", manifestOf("web", 2, "2"+string(w.pull), true))
		plan := w.settleAll()
		require.Equal(t, 2, w.serving())
		require.Equal(t, before, w.units["web@1.service"].Spec)
		require.False(t, w.units["web@1.service"].Rollout.UnderWay())
		require.Equal(t, w.revisions[len(w.revisions)-1].UnitFile, w.units["web@1.service"].Next.Hash)
		require.Contains(t, w.texts, w.units["web@1.service"].Next.Hash, "the machine can read it")
		require.Zero(t, w.units["web@2.service"].Next, "one at a time")
		require.InDelta(t, (5 * time.Minute).Seconds(), plan.After.Seconds(), 1)
	}
	require.Equal(t, 2, strings.Count(w.transcript(), "putUnit web@1.service Prepare launched"))

	w.now = w.now.Add(5 * time.Minute)
	w.settleAll()
	require.Contains(t, w.transcript(), "Warning RolloutStalled")
	w.pull = v1.PreparedReady
	w.settleAll()
	require.Equal(t, []string{"Normal RolloutComplete", "putRevision web RevisionComplete"}, w.log[len(w.log)-2:])
	for _, unit := range []string{"web@1.service", "web@2.service"} {
		require.Zero(t, w.units[unit].Next, unit)
		require.Equal(t, w.revisions[2].UnitFile, w.states[unit].Hash, unit)
	}
}

// TestPreparedUntilItIsStarted: between the end of the old instance and the start of the new one the machine keeps what it has
// prepared.
func TestPreparedUntilItIsStarted(t *testing.T) {
	w := runningImages(t, 1)
	w.apply("%s", manifestOf("web", 1, "2", true))
	next := v1.Preparation{}
	for w.units["web@1.service"].Rollout.Phase != v1.RolloutUpdating {
		w.plan()
		for _, step := range w.steps() {
			step()
		}
		if u := w.units["web@1.service"]; u.Next.Hash != "" {
			next = u.Next.Preparation
		} else if next.Hash != "" {
			require.Equal(t, next, v1.Preparation{Hash: u.Spec.Hash, RequestedAt: u.Spec.RequestedAt})
		}
	}
	require.NotZero(t, next)
	require.Equal(t, next.Hash, w.units["web@1.service"].Spec.Hash)
}

// TestARestartPullsFirst: what a tag means now is on the machine before the instance leaves the routers.
func TestARestartPullsFirst(t *testing.T) {
	w := runningImages(t, 2)
	w.pull = v1.PreparedPulling
	w.restart(1, "now")
	w.restart(2, "now")
	w.settleAll()
	require.Equal(t, "putUnit web@1.service Prepare launched", w.transcript())
	require.Equal(t, v1.Preparation{Hash: w.revisions[0].UnitFile, RequestedAt: "now"}, w.units["web@1.service"].Next.Preparation)
	require.Equal(t, 2, w.serving())
	w.pull = v1.PreparedReady
	w.settleAll()
	for _, unit := range []string{"web@1.service", "web@2.service"} {
		require.Equal(t, "now", w.states[unit].RequestedAt)
		require.Zero(t, w.units[unit].Next)
	}
	require.Equal(t, 1, strings.Count(w.transcript(), "putUnit web@2.service Prepare launched"))
}

// TestNothingToPull: such instances are replaced without asking.
func TestNothingToPull(t *testing.T) {
	for name, change := range map[string]func(manifest string) string{
		"no container": func(m string) string { return m },
		"pull: Never": func(m string) string {
			return command.ReplaceAllString(m, "container: {image: reg/app:v$1, pull: Never}")
		},
		"only a new sidekick":  nil,
		"machines of before":   nil,
		"an unplaced instance": nil,
	} {
		t.Run(name, func(t *testing.T) {
			w := runningImages(t, 1)
			switch name {
			case "only a new sidekick":
				w.apply("%s", strings.Replace(manifestOf("web", 1, "1", true), "announce: {}", "announce: {ttl: 10s}", 1))
			case "machines of before":
				w.pull = ""
				w.apply("%s", manifestOf("web", 1, "2", true))
				plan := w.settleAll()
				require.Contains(t, w.transcript(), "putUnit web@1.service Prepare launched")
				require.InDelta(t, v1.AnswerPatience.Seconds(), plan.After.Seconds(), 1)
				w.now = w.now.Add(v1.AnswerPatience)
			case "an unplaced instance":
				delete(w.states, "web@1.service")
				w.settle("web@1.service")
				w.places["web@1.service"] = Place{Unplaced: &v1.Unplaced{Message: "it fits nowhere"}}
				w.apply("%s", manifestOf("web", 1, "2", true))
				w.plan()
				require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
				return
			default:
				w.image = false
				w.apply("%s", change(manifestOf("web", 1, "2", true)))
				w.settleAll()
				w.apply("%s", change(manifestOf("web", 1, "3", true)))
			}
			w.log = nil
			w.settleAll()
			said := w.transcript()
			require.NotContains(t, said, " Prepare ")
			require.Contains(t, said, "Normal RolloutComplete")
		})
	}
}

// TestAMachineThatSaysNothingIsWaitedFor no longer than it may take.
func TestAMachineThatSaysNothingIsWaitedFor(t *testing.T) {
	begun := time.Unix(1000, 0)
	for waited, ready := range map[time.Duration]bool{v1.AnswerPatience - time.Millisecond: false, v1.AnswerPatience: true} {
		p := planner{in: Input{Now: begun.Add(waited)}}
		require.Equal(t, ready, p.preparedOn(&replica{}, Asked{"m1", begun}, v1.Preparation{Hash: "h"}))
	}
}

// TestPreparationIsTakenBack: nothing is pulled any more for what is not wanted any more.
func TestPreparationIsTakenBack(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"changed back": func(w *world) { w.apply("%s", manifestOf("web", 2, "1", true)) },
		"stopped":      func(w *world) { w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded} },
	} {
		t.Run(name, func(t *testing.T) {
			w := runningImages(t, 2)
			w.pull = v1.PreparedFailed
			w.apply("%s", manifestOf("web", 2, "2", true))
			w.settleAll()
			require.NotZero(t, w.units["web@1.service"].Next)
			change(w)
			w.settleAll()
			require.Zero(t, w.units["web@1.service"].Next)
			require.Zero(t, w.states["web@1.service"].Prepared)
		})
	}
}

// TestAGlobalAppIsPreparedOnAllMachines: a restart stops it everywhere at once.
func TestAGlobalAppIsPreparedOnAllMachines(t *testing.T) {
	in := Input{Now: time.Unix(1000, 0), App: "web"}
	u := &v1.Unit{Spec: v1.UnitSpec{Hash: "h", DesiredState: v1.Launched}}
	next := v1.Next{Preparation: v1.Preparation{Hash: "h", RequestedAt: "now"}, Since: in.Now}
	u.Next = next
	state := func(machine string, state v1.PreparedState) State {
		return State{machine, &v1.UnitState{Hash: "h", Prepared: v1.Prepared{Preparation: next.Preparation, State: state}}}
	}
	in.Places = map[string]Place{"web.service": {Machines: []string{"m1", "m2"}}}
	asked := []Asked{{"m1", in.Now}, {"m2", in.Now}}
	for _, last := range []v1.PreparedState{v1.PreparedPulling, v1.PreparedFailed, v1.PreparedReady} {
		in.States = map[string][]State{"web.service": {state("m1", v1.PreparedReady), state("m2", last)}}
		p := planner{in: in, putAt: map[string]int{}, preparing: map[*replica]bool{}, revision: &v1.Revision{Spec: v1.AppSpec{Global: true, Container: &v1.Container{}, Update: &v1.Update{HealthyDeadline: v1.Duration(time.Minute)}}}}
		i := &replica{unit: pair{name: "web.service", hash: "h", restart: "now", stored: &StoredUnit{Unit: u}, states: in.States["web.service"]}}
		p.in.Asked = map[string][]Asked{"web.service": asked[:1]}
		require.False(t, p.prepared(i), "the other one is not asked yet")
		p.in.Asked["web.service"] = asked
		require.Equal(t, last == v1.PreparedReady, p.prepared(i), last)
		require.Empty(t, p.actions)
	}
}
