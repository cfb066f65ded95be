package app

import (
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
)

// world is a cluster as seen by the plan, with well-behaved machines, announcers and routers, each at its own pace.
type world struct {
	t         require.TestingT
	now       time.Time
	revision  int64
	app       string
	manifest  *Manifest
	revisions []v1.Revision
	texts     map[string]string
	units     map[string]StoredUnit
	taken     map[string]string
	overrides map[string]v1.Override
	states    map[string]v1.UnitState
	leaving   map[string]string
	places    map[string]Place // if not m1
	endpoints map[string]string
	// announcedAt are the revisions of endpoints, changed the revision of their last change.
	announcedAt map[string]int64
	changed     int64
	routers     map[string]v1.Router
	route       Route
	uid         int64
	wish        v1.RolloutWish
	byHand      []string
	broken      map[string]bool // unit names whose health check fails
	brokenBy    map[string]bool // hashes of units whose process never becomes healthy
	log         []string
	made        map[turn]int // how often plans made a transition
	// image: instances run an image, and pull is how far machines are with the next one; "": they are of an older version.
	image bool
	pull  v1.PreparedState
	// surge and unavailable are the leeway of revisions from now on, if surge is above 0.
	surge, unavailable int32
	// asked are the machines that are asked to prepare a start; nil: m1. elsewhere is what m2 reports of units.
	asked     func(v1.Next) []Asked
	elsewhere map[string]v1.UnitState
	lastIn    Input
	lastPlan  Decision
	// generate is how this fleetd writes unit files; nil: as it does.
	generate func(name string, spec *v1.AppSpec) (generate.Files, error)
}

func newWorld(t require.TestingT, app string) *world {
	return &world{
		t: t, app: app, now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), revision: 1,
		texts: map[string]string{}, units: map[string]StoredUnit{}, taken: map[string]string{}, overrides: map[string]v1.Override{},
		states: map[string]v1.UnitState{}, endpoints: map[string]string{}, broken: map[string]bool{}, brokenBy: map[string]bool{},
		routers: map[string]v1.Router{"m1": {}, "m2": {}}, places: map[string]Place{}, announcedAt: map[string]int64{},
		pull: v1.PreparedReady,
	}
}

// running is an app that was applied once and runs.
func running(t require.TestingT, replicas int, announced bool) *world {
	w := newWorld(t, "web")
	w.apply("%s", manifestOf("web", replicas, "1", announced))
	w.settleAll()
	w.log = nil
	w.now = w.now.Add(time.Hour)
	return w
}

func (w *world) next() int64 { w.revision++; return w.revision }

func (w *world) apply(format string, args ...any) {
	revision := w.next()
	if w.manifest == nil {
		w.uid = revision
	}
	text := fmt.Sprintf(format, args...)
	if w.image {
		text = command.ReplaceAllString(text, "container: {image: reg/app:v$1}")
	}
	w.manifest = &Manifest{Raw: []byte(text), Revision: revision, UID: w.uid}
	if w.surge > 0 {
		w.accept()
	}
}

// latestAt stands for the ModRevision of the newest revision.
func (w *world) latestAt() int64 { return int64(len(w.revisions)) }

// accept stores the manifest's revision with the world's leeway. A manifest could not ask for it: the port of the tests is fixed.
func (w *world) accept() {
	p := planner{in: w.input(), putAt: map[string]int{}}
	p.accept()
	if len(p.first) == 0 {
		return
	}
	revision := *p.revision
	amount := func(n int32) *v1.IntOrPercent { return &v1.IntOrPercent{Value: n} }
	update := *revision.Spec.Update
	update.MaxSurge, update.MaxUnavailable = amount(w.surge), amount(w.unavailable)
	revision.Spec.Update = &update
	w.revisions = append(w.revisions, revision)
}

// command is what manifestOf has instances run, with its version.
var command = regexp.MustCompile(`exec: {command: \[/bin/app, "(.*)"\]}`)

// manifestOf is an App with that many replicas; version makes its files differ.
func manifestOf(app string, replicas int, version string, announced bool) string {
	text := fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: %s}\nspec:\n  replicas: %d\n  exec: {command: [/bin/app, %q]}\n", app, replicas, version)
	if announced {
		return text + "  ports: [{port: 3000}]\n  announce: {}\n"
	}
	return text + "  update: {maxSurge: 0}\n"
}

func (w *world) input() Input {
	in := Input{
		Now: w.now, App: w.app, Manifest: w.manifest, Texts: map[string]string{}, Units: maps.Clone(w.units), Taken: w.taken,
		Overrides: w.overrides, States: map[string][]State{}, Leaving: w.leaving, Endpoints: map[string]int64{}, Places: map[string]Place{},
		EndpointSets: []v1.EndpointSet{{Prefix: v1.DefaultAnnouncePrefix, Revision: w.changed, Digest: v1.EndpointsDigest(w.endpoints)}},
		Route:        w.route, Wish: w.wish, ByHand: w.byHand, Asked: map[string][]Asked{}, Generate: w.generate,
	}
	in.LastNumber = int64(len(w.revisions))
	if n := len(w.revisions); n > 0 && w.manifest != nil && w.revisions[n-1].Of(w.manifest.UID) {
		in.Latest, in.LatestAt = &w.revisions[n-1], w.latestAt()
		if before := in.Latest.Fallback(); before > 0 {
			in.Before = &w.revisions[before-1]
		}
		for _, r := range []*v1.Revision{in.Latest, in.runs()} {
			if r == nil {
				continue
			}
			for _, hash := range []string{r.UnitFile, r.SidekickFile} {
				if text, ok := w.texts[hash]; ok {
					in.Texts[hash] = text
				}
			}
		}
	}
	for name, s := range w.states {
		in.States[name] = []State{{"m1", &s}}
	}
	for name, s := range w.elsewhere {
		in.States[name] = append(in.States[name], State{"m2", &s})
	}
	for name, u := range w.units {
		if place, ok := w.places[name]; ok {
			in.Places[name] = place
		} else if u.Spec.DesiredState != v1.Inactive {
			in.Places[name] = Place{Machines: []string{"m1"}}
		}
		if text, stored := w.texts[u.Spec.Hash]; stored {
			in.Texts[u.Spec.Hash] = text
		}
		if u.Next.Hash != "" && w.asked != nil {
			in.Asked[name] = w.asked(u.Next)
		} else if u.Next.Hash != "" {
			in.Asked[name] = []Asked{{"m1", u.Next.Since}}
		}
	}
	for name := range w.endpoints {
		in.Endpoints[name] = w.announcedAt[name]
	}
	in.Routers = maps.Clone(w.routers)
	return in
}

// plan makes a plan and applies it like the store, with its conditions.
func (w *world) plan() Decision { return w.planSettling(0) }

func (w *world) planSettling(settling time.Duration) Decision {
	in := w.input()
	in.Settling = settling
	plan := Plan(in)
	require.Equal(w.t, plan, Plan(in), "the same input gives the same plan")
	w.turns(in, plan)
	w.requireWaited(in, plan)
	seen := map[string]bool{}
	for _, a := range plan.Actions {
		require.NotEmpty(w.t, a.Reason)
		switch a.Kind {
		case PutRevision:
			if a.If != 0 { // the newest one is complete, or was rejected
				require.Equal(w.t, w.latestAt(), a.If)
				w.revisions[len(w.revisions)-1] = *a.NewRevision
				break
			}
			require.EqualValues(w.t, len(w.revisions)+1, a.NewRevision.Number)
			w.revisions = append(w.revisions, *a.NewRevision)
		case PutRoute:
			require.Equal(w.t, w.route.Revision, a.If)
			w.route = Route{Value: a.Route, Revision: w.next()}
		case DeleteRoute:
			require.NotZero(w.t, a.If)
			require.Equal(w.t, w.route.Revision, a.If)
			w.route = Route{}
		case PutUnitFile:
			require.NotEmpty(w.t, a.Text)
			w.texts[a.Name] = a.Text
		case PutUnit, DeleteUnit:
			require.False(w.t, seen[a.Name], "%s is written twice", a.Name)
			seen[a.Name] = true
			stored := w.units[a.Name]
			require.Equal(w.t, stored.Revision, a.If)
			require.NotContains(w.t, w.taken, a.Name)
			if a.Kind == DeleteUnit {
				delete(w.units, a.Name)
				break
			}
			if stored.Unit == nil || stored.Spec.Hash != a.Unit.Spec.Hash {
				require.Contains(w.t, w.texts, a.Unit.Spec.Hash, "%s refers to a file that is stored", a.Name)
			}
			u := StoredUnit{Unit: a.Unit, UID: stored.UID, Revision: w.next()}
			if stored.Unit == nil {
				u.UID = u.Revision
			}
			w.units[a.Name] = u
		}
		if a.Kind != Report {
			w.log = append(w.log, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", a.Kind, a.Name, a.Reason, a.spec().DesiredState)))
		} else {
			w.log = append(w.log, fmt.Sprintf("%s %s", a.Event.Type, a.Reason))
		}
	}
	return plan
}

// requireWaited: when only routers have answered since the last plan, this one does nothing unless that one has said that it waits for them:
// it would not have been made.
func (w *world) requireWaited(in Input, plan Decision) {
	last, was := w.lastIn, w.lastPlan
	w.lastIn, w.lastPlan = in, plan
	w.lastIn.Overrides, w.lastIn.Leaving, w.lastIn.Taken = maps.Clone(in.Overrides), maps.Clone(in.Leaving), maps.Clone(in.Taken)
	for _, r := range []**v1.Revision{&w.lastIn.Latest, &w.lastIn.Before} {
		if *r != nil {
			is := **r
			*r = &is
		}
	}
	now := in
	now.Now, now.Routers = last.Now, last.Routers
	late := was.After > 0 && in.Now.Sub(last.Now) >= was.After
	if was.Waiting || late || !reflect.DeepEqual(now, last) {
		return
	}
	for _, a := range plan.Actions {
		require.Equal(w.t, Report, a.Kind, "%s %s (%s): the plan before did not wait for routers", a.Kind, a.Name, a.Reason)
	}
}

// turns checks what a plan writes about roll-outs, and records its transitions.
func (w *world) turns(in Input, plan Decision) {
	requireRollouts(w.t, in, plan)
	requireOutOfTheRouters(w.t, in, plan)
	for _, t := range turnsOf(in, plan) {
		if w.made != nil {
			w.made[t]++
		}
	}
}

// systemd makes a unit take one step towards its desired state. It reports whether anything changed.
func (w *world) systemd(name string) bool {
	before, existed := w.states[name]
	after := before
	unit, wanted := w.units[name]
	if place := w.places[name]; place.Unplaced != nil && len(place.Machines) == 0 {
		wanted = false
	}
	switch {
	case !wanted || unit.Spec.DesiredState == v1.Inactive: // it has no placement
		if existed {
			delete(w.states, name)
		}
		w.settle(name)
		return existed
	case name == v1.ReleaseUnit(w.app) && unit.Spec.DesiredState == v1.Launched: // it runs until a test ends it
		if before.RequestedAt != unit.Spec.RequestedAt {
			after = v1.UnitState{ActiveState: "activating", SubState: "start", Hash: unit.Spec.Hash, RequestedAt: unit.Spec.RequestedAt, Since: w.now, DesiredState: v1.Launched}
		}
	case unit.Spec.DesiredState == v1.Launched && (before.ActiveState != "active" || before.Hash != unit.Spec.Hash || before.RequestedAt != unit.Spec.RequestedAt):
		if n, sidekick, _ := v1.ParseAppUnit(w.app, name); sidekick && !w.states[v1.AppUnit(w.app, n)].Active() {
			after = v1.UnitState{ActiveState: "inactive"}
			break
		}
		after = v1.UnitState{ActiveState: "active", Hash: unit.Spec.Hash, RequestedAt: unit.Spec.RequestedAt, Since: w.now, DesiredState: v1.Launched}
	case unit.Spec.DesiredState != v1.Launched:
		after = v1.UnitState{ActiveState: "inactive", Hash: unit.Spec.Hash, DesiredState: unit.Spec.DesiredState, RequestedAt: unit.Spec.RequestedAt}
	}
	if after.Prepared = before.Prepared; after == before {
		return false
	}
	w.states[name] = after
	w.settle(name)
	return true
}

// prepare has the machine of a unit say how far it is with the unit's next start.
func (w *world) prepare(name string) bool {
	state, is := w.states[name]
	shall := v1.Prepared{}
	if next := w.units[name].Next; next.Hash != "" && w.pull != "" {
		shall = v1.Prepared{Preparation: next.Preparation, State: w.pull}
	}
	if !is || state.Prepared == shall {
		return false
	}
	state.Prepared = shall
	w.states[name] = state
	return true
}

// settle stops a sidekick with its app, like BindsTo=, and withdraws it when the app restarts.
func (w *world) settle(name string) {
	n, sidekick, ok := v1.ParseAppUnit(w.app, name)
	if ok && !sidekick {
		bound := v1.SidekickUnit(w.app, n)
		if s, exists := w.states[bound]; exists {
			s.ActiveState = "inactive"
			w.states[bound] = s
		}
		w.announcer(n)
	}
}

// announcer puts or deletes an instance's endpoint.
func (w *world) announcer(n int32) bool {
	name := v1.EndpointName(w.app, n)
	app := w.states[v1.AppUnit(w.app, n)]
	healthy := app.Active() && !w.broken[v1.AppUnit(w.app, n)] && !w.brokenBy[app.Hash]
	should := w.states[v1.SidekickUnit(w.app, n)].Active() && healthy
	if _, is := w.endpoints[name]; is == should {
		return false
	}
	if should {
		w.endpoints[name] = fmt.Sprintf("10.0.0.%d:3000", n)
	} else {
		delete(w.endpoints, name)
	}
	w.changed = w.next()
	w.announcedAt[name] = w.changed
	return true
}

// router makes a router serve the current endpoints.
func (w *world) router(machine string) bool {
	r := w.routers[machine]
	if r.Revision >= w.changed {
		return false
	}
	w.routers[machine] = v1.Router{Revision: w.changed, Digest: v1.EndpointsDigest(w.endpoints)}
	return true
}

// steps are all possible next steps, except the plan.
func (w *world) steps() []func() bool {
	var steps []func() bool
	names := map[string]bool{}
	for name := range w.units {
		names[name] = true
	}
	for name := range w.states {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		steps = append(steps, func() bool { return w.systemd(name) })
		if _, exists := w.units[name]; exists {
			steps = append(steps, func() bool { return w.prepare(name) })
		}
		if n, sidekick, ok := v1.ParseAppUnit(w.app, name); ok && sidekick {
			steps = append(steps, func() bool { return w.announcer(n) })
		}
	}
	for _, m := range slices.Sorted(maps.Keys(w.routers)) {
		steps = append(steps, func() bool { return w.router(m) })
	}
	return steps
}

// settleAll runs plans and all other steps until nothing changes any more.
func (w *world) settleAll() Decision {
	for range 10_000 {
		w.now = w.now.Add(time.Millisecond) // a plan that writes the time must come to an end
		plan := w.plan()
		changed := slices.ContainsFunc(plan.Actions, func(a Action) bool { return a.Kind != Report })
		for _, step := range w.steps() {
			changed = step() || changed
		}
		if !changed && plan.After > 0 && plan.After <= v1.DefaultMinReady {
			w.now = w.now.Add(plan.After)
			changed = true
		}
		if !changed {
			return plan
		}
	}
	require.Fail(w.t, "no end is reached", strings.Join(w.log[max(0, len(w.log)-50):], "\n"))
	return Decision{}
}

// replaced runs plans and all other steps until a unit has the file of that revision.
func (w *world) replaced(unit string, revision int) {
	for len(w.revisions) < revision || w.units[unit].Spec.Hash != w.revisions[revision-1].UnitFile {
		w.plan()
		for _, step := range w.steps() {
			step()
		}
	}
}

// serving counts the instances that may get requests.
func (w *world) serving() int { return len(w.endpoints) }

func (w *world) unitNames() []string { return slices.Sorted(maps.Keys(w.units)) }
