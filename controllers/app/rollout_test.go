package app

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// turn is a transition that a plan can make with an instance.
type turn struct {
	from v1.RolloutPhase
	on   string
	to   v1.RolloutPhase
}

func (t turn) String() string { return fmt.Sprintf("%s on %s: %s", t.from, t.on, t.to) }

// turnsOf returns the transitions of a plan.
func turnsOf(in Input, plan Decision) (turns []turn) {
	for _, a := range plan.Actions {
		n, sidekick, _ := v1.ParseAppUnit(in.App, a.Name)
		if a.Kind != PutUnit || sidekick {
			continue
		}
		if before := v1.RolloutOf(in.Units[a.Name].Unit, in.Units[v1.SidekickUnit(in.App, n)].Unit); !before.Equal(a.Unit.Rollout) {
			turns = append(turns, turn{before.Phase, a.Reason, a.Unit.Rollout.Phase})
		}
	}
	return turns
}

// asTheVersionBefore returns the units as the previous version of fleetd writes them, without the field.
func asTheVersionBefore(units map[string]StoredUnit) map[string]StoredUnit {
	older := maps.Clone(units)
	for name, u := range older {
		unit := *u.Unit
		unit.Rollout = v1.Rollout{}
		u.Unit = &unit
		older[name] = u
	}
	return older
}

// seenBefore is a plan as the previous version sees it, which is all but the phases: if a person has stopped only a sidekick,
// it cannot distinguish an instance withdrawn by a roll-out from one that is not announced.
func seenBefore(older Input, plan Decision) Decision {
	plan.Actions = slices.DeleteFunc(slices.Clone(plan.Actions), func(a Action) bool {
		stored := older.Units[a.Name].Unit
		return a.Kind == PutUnit && stored != nil && a.Unit.Spec == stored.Spec && maps.Equal(a.Unit.Metadata.Annotations, stored.Metadata.Annotations) &&
			a.Unit.Metadata.OwnerUID == stored.Metadata.OwnerUID
	})
	if len(plan.Actions) == 0 {
		plan.Actions = nil
	}
	for n, a := range plan.Actions {
		if a.Kind == PutRevision { // that version returns to none
			revision := *a.NewRevision
			revision.Before = 0
			plan.Actions[n].NewRevision = &revision
		}
		if a.Kind == PutUnit {
			unit := *a.Unit
			unit.Rollout.Phase = ""
			plan.Actions[n].Unit = &unit
		}
	}
	return plan
}

// requireRollouts checks that what a plan writes about a roll-out is consistent, and that the plan is the same from what the
// previous version wrote.
func requireRollouts(t require.TestingT, in Input, plan Decision) {
	older := in
	older.Units = asTheVersionBefore(in.Units)
	require.Equal(t, seenBefore(older, plan), seenBefore(older, Plan(older)), "of units that the version before has written")
	after := maps.Clone(in.Units)
	for _, a := range plan.Actions {
		switch a.Kind {
		case PutUnit:
			after[a.Name] = StoredUnit{Unit: a.Unit}
		case DeleteUnit:
			delete(after, a.Name)
		}
	}
	for _, a := range plan.Actions {
		if a.Kind != PutUnit {
			continue
		}
		n, sidekick, _ := v1.ParseAppUnit(in.App, a.Name)
		rollout := a.Unit.Rollout
		require.False(t, sidekick && rollout.UnderWay(), "%s has a roll-out of its own", a.Name)
		require.Equal(t, rollout.Phase == v1.RolloutServing, rollout == v1.Rollout{}, a.Name)
		require.Equal(t, rollout.Phase == v1.RolloutLetGo, rollout.LetGo != "", a.Name)
		if rollout.UnderWay() {
			require.False(t, rollout.Since.IsZero(), a.Name)
		}
		if _, wished := in.Overrides[v1.SidekickUnit(in.App, n)]; wished || sidekick || !rollout.UnderWay() {
			continue
		}
		desired := a.Unit.Spec.DesiredState
		require.Equal(t, rollout.Phase == v1.RolloutRestarting, desired == v1.Loaded, "%s is %s and %s", a.Name, rollout.Phase, desired)
		if beside, announced := after[v1.SidekickUnit(in.App, n)]; announced {
			require.Equal(t, withdrawn(rollout.Phase), beside.Spec.DesiredState != v1.Launched, "%s is %s on %s, its sidekick is %s", a.Name, rollout.Phase, a.Reason, beside.Spec.DesiredState)
		}
	}
}

// requireOutOfTheRouters checks that no instance that runs on a present machine is replaced, stopped or deleted while requests may
// reach it, however it comes out of the routers.
func requireOutOfTheRouters(t require.TestingT, in Input, plan Decision) {
	for _, a := range plan.Actions {
		n, sidekick, ok := v1.ParseAppUnit(in.App, a.Name)
		is, stored := in.Units[a.Name]
		if !ok || sidekick || n == 0 || !stored || is.Spec.DesiredState != v1.Launched || a.Kind == PutUnit && a.spec().Hash == is.Spec.Hash && a.spec().DesiredState == v1.Launched {
			continue
		}
		endpoint := v1.EndpointName(in.App, n)
		_, announced := in.Endpoints[endpoint]
		_, formerly := in.Former[endpoint]
		_, announces := in.Units[v1.SidekickUnit(in.App, n)]
		runs := slices.ContainsFunc(in.States[a.Name], func(s State) bool {
			return s.Active() && slices.Contains(in.Places[a.Name].Machines, s.Machine)
		})
		if runs && (announces || announced || formerly) {
			require.False(t, announced || formerly, "%s is announced: %s %s", a.Name, a.Kind, a.Reason)
			require.Empty(t, v1.RoutersBehind(in.Routers, in.EndpointSets...), "%s may be served: %s %s", a.Name, a.Kind, a.Reason)
			require.Empty(t, v1.RoutersDraining(in.Routers, endpoint), "requests are under way to %s: %s %s", a.Name, a.Kind, a.Reason)
		}
	}
}

// documented reads the table in docs/architecture.md.
func documented(t *testing.T) map[turn]bool {
	text, err := os.ReadFile("../../docs/architecture.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "\n| from | to | on |\n|---|---|---|\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	word := regexp.MustCompile("`([^`]*)`")
	turns := map[turn]bool{}
	phase := func(cell string) v1.RolloutPhase {
		if name := word.FindStringSubmatch(cell)[1]; name != v1.RolloutServing.String() {
			return v1.RolloutPhase(name)
		}
		return v1.RolloutServing
	}
	for line := range strings.Lines(strings.TrimSpace(table)) {
		cells := strings.Split(line, "|")
		require.Len(t, cells, 5, line)
		for _, reason := range word.FindAllStringSubmatch(cells[3], -1) {
			row := turn{phase(cells[1]), reason[1], phase(cells[2])}
			require.False(t, turns[row], "%s is there twice", row)
			turns[row] = true
		}
	}
	return turns
}

// TestRolloutTable: the table in docs/architecture.md has exactly the transitions that plans make in the lives of many apps.
// Some are rare: it runs until all were made.
func TestRolloutTable(t *testing.T) {
	const least, most = 100, 4000
	made, want := map[turn]int{}, documented(t)
	neededWhileUpdating(t, made)
	for seed := range uint64(most) {
		announced := seed%4 > 0
		w := newWorld(t, "web")
		w.made, w.image, w.pull = made, seed%3 == 1, v1.PreparedReady
		w.surge = int32(seed / 2 % 2)
		w.live(rand.New(rand.NewPCG(seed, 0)))
		m := newModes(t, announced)
		m.made = made
		m.live(rand.New(rand.NewPCG(seed, 1)), announced)
		for made := range made {
			require.True(t, want[made], "docs/architecture.md lacks a transition that the plan makes: %s", made)
		}
		if len(made) == len(want) && seed >= least {
			return
		}
	}
	for want := range want {
		require.NotZero(t, made[want], "docs/architecture.md has a transition that the plan does not make: %s", want)
	}
}

// neededWhileUpdating: a person stops the sidekick of a replaced instance, and starts it again; meanwhile the manifest
// changes, and the other instance fails.
func neededWhileUpdating(t *testing.T, made map[turn]int) {
	w := running(t, 2, true)
	w.made = made
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.replaced("web@1.service", 2)
	for range 20 {
		for _, step := range w.steps() {
			step()
		}
	}
	w.overrides["web-discovery@1.service"] = v1.Override{DesiredState: v1.Loaded}
	w.plan()
	delete(w.overrides, "web-discovery@1.service")
	w.apply("%s", manifestOf("web", 2, "3", true))
	w.broken["web@2.service"] = true
	w.announcer(2)
	w.plan()
	require.NotZero(t, made[turn{v1.RolloutUpdating, Needed, v1.RolloutServing}])
}

// globalOf is manifestOf for a global app.
func globalOf(announced bool) string {
	return strings.Replace(manifestOf("web", 3, "1", announced), "replicas: 3", "global: true", 1)
}

// live makes random steps by people, machines and the plan.
func (w *world) live(chance *rand.Rand) {
	const most = 3
	replicas, version, announced := int(1+chance.Int32N(most)), 0, chance.IntN(4) > 0
	w.apply("%s", manifestOf("web", replicas, "0", announced))
	w.settleAll()
	w.leaving = map[string]string{}
	for range 40 {
		n := 1 + chance.Int32N(most)
		unit, sidekick := v1.AppUnit("web", n), v1.SidekickUnit("web", n)
		switch chance.IntN(28) {
		case 0, 1:
			version++
			w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
		case 2: // back to the previous one
			version = max(0, version-1)
			w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
		case 3:
			announced = !announced
			w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
		case 4, 5:
			w.restart(n, fmt.Sprint(chance.Int()))
		case 6:
			w.overrides[unit] = v1.Override{DesiredState: v1.Loaded}
		case 7:
			delete(w.overrides, unit)
		case 8, 9:
			w.leaving[unit], w.leaving[sidekick] = "m1", "m1"
		case 10:
			delete(w.leaving, unit)
			delete(w.leaving, sidekick)
		case 11, 23:
			w.broken[unit] = !w.broken[unit]
		case 12:
			w.places[unit] = Place{Unplaced: &v1.Unplaced{Message: "it fits nowhere"}}
			delete(w.states, unit)
			w.settle(unit)
		case 13:
			delete(w.places, unit)
		case 14:
			w.now = w.now.Add(time.Minute)
			w.pull = []v1.PreparedState{v1.PreparedReady, v1.PreparedReady, v1.PreparedPulling, v1.PreparedFailed, ""}[chance.IntN(5)]
		case 24, 25, 26, 27:
			w.jump(chance, n)
		case 15, 16:
			replicas = 1 + chance.IntN(most)
			w.apply("%s", manifestOf("web", replicas, fmt.Sprint(version), announced))
		case 17, 21:
			w.overrides[sidekick] = v1.Override{DesiredState: v1.Loaded}
		case 18, 22:
			w.overrides[sidekick] = v1.Override{DesiredState: v1.Launched, RequestedAt: fmt.Sprint(chance.Int()), Restart: true}
		case 19:
			delete(w.overrides, sidekick)
		case 20:
			if _, ok := w.units[sidekick]; !ok {
				w.taken[sidekick] = "other"
			}
			if chance.IntN(2) == 0 {
				clear(w.taken)
			}
		}
		for range chance.IntN(12) {
			w.plan()
			if steps := w.steps(); len(steps) > 0 {
				steps[chance.IntN(len(steps))]()
			}
			w.scheduler()
		}
	}
}

// jump puts an instance into any phase, as if everything leading there had happened.
func (w *world) jump(chance *rand.Rand, n int32) {
	unit, ok := w.units[v1.AppUnit(w.app, n)]
	if !ok {
		return
	}
	r := v1.Rollout{Since: w.now.Add(-time.Duration(chance.IntN(10)) * time.Minute)}
	moves := []string{"", "m1"}[chance.IntN(2)]
	phases := []v1.RolloutPhase{v1.RolloutWithdrawing, v1.RolloutLeaving, v1.RolloutLetGo, v1.RolloutRestarting, v1.RolloutUpdating, v1.RolloutArriving}
	switch r.Phase = phases[chance.IntN(len(phases))]; r.Phase {
	case v1.RolloutLeaving, v1.RolloutArriving:
		r.From = "m1"
	case v1.RolloutRestarting:
		r.From = moves
	case v1.RolloutLetGo:
		r.From, r.LetGo = moves, "m1"
	}
	write := func(name string, u StoredUnit, desired v1.DesiredState, r v1.Rollout) {
		next := *u.Unit
		next.Spec.DesiredState, next.Rollout = desired, r
		next.Metadata.Annotations = r.Annotate(next.Metadata.Annotations)
		w.units[name] = StoredUnit{Unit: &next, UID: u.UID, Revision: w.next()}
	}
	desired := v1.Launched
	if r.Phase == v1.RolloutRestarting {
		desired = v1.Loaded
	}
	write(v1.AppUnit(w.app, n), unit, desired, r)
	if beside, ok := w.units[v1.SidekickUnit(w.app, n)]; ok {
		if desired = v1.Launched; withdrawn(r.Phase) {
			desired = v1.Loaded
		}
		write(v1.SidekickUnit(w.app, n), beside, desired, v1.Rollout{})
	}
}

// withdrawn are the phases in which an instance is kept out of the routers.
func withdrawn(phase v1.RolloutPhase) bool {
	return slices.Contains([]v1.RolloutPhase{v1.RolloutWithdrawing, v1.RolloutLeaving, v1.RolloutLetGo, v1.RolloutRestarting}, phase)
}

// scheduler moves what was let go.
func (w *world) scheduler() {
	for _, unit := range w.unitNames() {
		n, sidekick, _ := v1.ParseAppUnit(w.app, unit)
		if from := w.leaving[unit]; !sidekick && from != "" && w.units[unit].Rollout.LetGo == from {
			beside := v1.SidekickUnit(w.app, n)
			delete(w.leaving, unit)
			delete(w.leaving, beside)
			delete(w.states, unit)
			delete(w.states, beside)
			w.announcer(n)
		}
	}
}

// live changes an app's mode back and forth, and stops and restarts its global unit.
func (m *modes) live(chance *rand.Rand, announced bool) {
	manifests := []string{globalOf(announced), manifestOf("web", 3, "1", announced)}
	const unit = "web.service"
	for change := range 12 {
		switch chance.IntN(9) {
		case 0, 1, 2:
			m.apply("%s", manifests[change%2])
		case 3:
			m.restart(0, fmt.Sprint(chance.Int()))
			for range chance.IntN(6) {
				m.turn()
			}
			m.apply("%s", manifests[change%2])
		case 4, 6, 7:
			m.overrides[unit] = v1.Override{DesiredState: v1.Loaded}
		case 5, 8:
			delete(m.overrides, unit)
		}
		for range chance.IntN(50) {
			m.turn()
		}
	}
}
