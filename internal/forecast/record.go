package forecast

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/app"
	"github.com/fleet-starter/fleet/controllers/route"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/change"
	"github.com/fleet-starter/fleet/internal/cluster"
)

// recorder notes what the controllers decide, in order.
type recorder struct {
	known *cluster.Cluster

	mu      sync.Mutex
	actions []wire.PlanAction
	warned  map[wire.PlanAction]bool
	owners  map[string]string // of units that apps have written or removed
	beside  map[string]bool   // apps of which an instance was started beside the others
	moved   bool              // units got or lost their machines, and app has not looked since
	// unplaced and hosts are what was so before the change.
	unplaced map[string]string
	hosts    map[string][]string
}

func newRecorder() *recorder {
	return &recorder{warned: map[wire.PlanAction]bool{}, owners: map[string]string{}, beside: map[string]bool{}}
}

// done says what an app's decision about an instance is, by its reason.
var done = map[string]string{
	app.ScaledUp: wire.ActionCreate, app.Surge: wire.ActionSurge,
	app.WithdrawForUpdate: wire.ActionWithdraw, app.WithdrawForMove: wire.ActionWithdraw, app.WithdrawForStop: wire.ActionWithdraw,
	app.WithdrawForRemoval: wire.ActionWithdraw, app.WithdrawForRestart: wire.ActionWithdraw,
	app.Updated: wire.ActionReplace, app.Started: wire.ActionStart, app.Requested: wire.ActionStart,
	app.Stopped: wire.ActionStop, app.Restarted: wire.ActionStop, app.LetGo: wire.ActionLetGo,
	app.Needed: wire.ActionReturn, app.Returned: wire.ActionReturn, app.Prepare: wire.ActionPrepare, app.PrepareNoMore: wire.ActionPrepare,
	app.RolloutComplete: wire.ActionDone, app.MoveComplete: wire.ActionDone, app.SurgeReady: wire.ActionDone,
}

// details are the reasons of what is bookkeeping.
var details = map[string]bool{
	app.Prepare: true, app.PrepareNoMore: true, app.RolloutComplete: true, app.MoveComplete: true, app.SurgeReady: true,
}

// app notes the decision about an app.
func (r *recorder) app(name string, plan app.Decision) {
	for _, a := range plan.Actions {
		if a.Reason == app.RevisionComplete { // a note about what has happened: a plan that was saved before it is as good after it
			continue
		}
		is := wire.PlanAction{App: name, Reason: a.Reason, Message: a.Why, Detail: details[a.Reason]}
		switch a.Kind {
		case app.PutRevision:
			is.Action, is.Revision, is.File = wire.ActionAccept, a.NewRevision.Number, a.NewRevision.UnitFile
			is.Message = r.revision(name, a)
		case app.PutRoute:
			is.Action, is.Message = wire.ActionRoute, strings.Join(slices.Sorted(maps.Keys(a.Route.Hosts)), " ")
		case app.DeleteRoute:
			is.Action = wire.ActionUnroute
		case app.PutUnit:
			is.Unit, is.File = a.Name, a.Unit.Spec.Hash
			is.Detail = r.owns(name, a.Name) && a.Reason != app.WithdrawForRemoval && a.Reason != app.WithdrawForStop || is.Detail
			is.Message = r.how(name, a)
			if is.Action = done[a.Reason]; is.Action == "" {
				is.Action = wire.ActionWrite
			}
		case app.DeleteUnit:
			is.Action, is.Unit, is.Detail = wire.ActionRemove, a.Name, r.owns(name, a.Name)
		case app.Report:
			if a.Event.Type == v1.EventWarning {
				is.Action, is.Message = wire.ActionWarn, a.Event.Message
			}
		}
		r.add(is)
	}
}

// owns notes whose a unit is, and reports whether it is a sidekick.
func (r *recorder) owns(app, unit string) (sidekick bool) {
	_, sidekick, _ = v1.ParseAppUnit(app, unit)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.owners[unit] = app
	return sidekick
}

// ownerOf returns the app that a unit belongs to, and whether it is a sidekick.
func (r *recorder) ownerOf(unit string) (app string, sidekick bool) {
	r.mu.Lock()
	app = r.owners[unit]
	r.mu.Unlock()
	if o, ok := r.known.Units.Get(unit); ok {
		app = o.Value.Metadata.Owner
	}
	_, sidekick, _ = v1.ParseAppUnit(app, unit)
	return app, sidekick && app != ""
}

// revision says what is different in a new revision, or what has become of one.
func (r *recorder) revision(name string, a app.Action) string {
	var spec *v1.AppSpec
	if before := r.known.LatestRevision(name); before != nil {
		spec = &before.Spec
	}
	what := change.Summary(spec, &a.NewRevision.Spec)
	switch a.Reason {
	case app.Reworded:
		what = "only the text of the manifest"
	case app.Released:
		what = "its release command has ended with success"
	case app.CanaryFollowed:
		what = "all other instances follow its canary"
	}
	return fmt.Sprintf("revision %d: %s", a.NewRevision.Number, what)
}

// how says how an instance is replaced.
func (r *recorder) how(name string, a app.Action) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case a.Reason == app.Surge:
		r.beside[name] = true
		return "beside the others, which are replaced, restarted or moved when it is ready"
	case a.Why != "":
		return "in place: " + a.Why
	case a.Reason != app.Updated:
		return ""
	case r.beside[name]:
		return "another one stands in"
	}
	return ""
}

// placed says what the scheduler's decisions do.
var placed = map[schedule.Kind]string{
	schedule.Place: wire.ActionPlace, schedule.Move: wire.ActionMove, schedule.Unplace: wire.ActionTakeOff, schedule.Update: wire.ActionTell,
	schedule.SetUnplaced: wire.ActionRefuse, schedule.Prepare: wire.ActionPrepare, schedule.PrepareNoMore: wire.ActionPrepare,
	schedule.FreezeMoves: wire.ActionFreeze, schedule.UnfreezeMoves: wire.ActionUnfreeze,
}

// movedUnits reports whether units got or lost their machines since it was asked the last time.
func (r *recorder) movedUnits() bool {
	moved := r.moved
	r.moved = false
	return moved
}

// schedule notes the decision about placements.
func (r *recorder) schedule(plan schedule.Decision) {
	for _, a := range plan.Actions {
		r.moved = r.moved || a.Kind != schedule.Update
		is := wire.PlanAction{Action: placed[a.Kind], Unit: a.Unit, Machine: a.Machine, From: a.From, File: a.Placement.Hash, Reason: a.Reason, Message: a.Message}
		is.App, is.Detail = r.ownerOf(a.Unit)
		switch a.Kind {
		case schedule.Update, schedule.Prepare, schedule.PrepareNoMore:
			is.Detail = true // what app decides says it, too
		}
		r.add(is)
	}
}

// add notes an action. What nothing is said of has none. A warning that is repeated is one.
func (r *recorder) add(a wire.PlanAction) {
	if a.Action == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a.Action == wire.ActionWarn {
		if r.warned[a] {
			return
		}
		r.warned[a] = true
	}
	r.actions = append(r.actions, a)
}

// before notes what is so before the change.
func (r *recorder) before() { r.unplaced, r.hosts = unplacedIn(r.known), hostsIn(r.known) }

func unplacedIn(known *cluster.Cluster) map[string]string {
	unplaced := map[string]string{}
	for _, o := range known.Unplaced.List() {
		unplaced[o.Name] = o.Value.Message
	}
	return unplaced
}

func hostsIn(known *cluster.Cluster) map[string][]string {
	hosts := map[string][]string{}
	for _, o := range known.Routes.List() {
		hosts[o.Name] = slices.Sorted(maps.Keys(o.Value.Hosts))
	}
	return hosts
}

// foreseen is what was noted, and what is different from before.
func (r *recorder) foreseen() *wire.Foreseen {
	known := r.known
	f := &wire.Foreseen{Actions: r.concerned()}
	for _, o := range known.Unplaced.List() {
		if _, sidekick := r.ownerOf(o.Name); sidekick {
			continue // its instance says it
		}
		if was, so := r.unplaced[o.Name]; !so || was != o.Value.Message {
			f.Unplaced = append(f.Unplaced, wire.PlanUnplaced{Unit: o.Name, Message: o.Value.Message})
		}
	}
	after, refused := hostsIn(known), refusedHosts(known)
	for _, app := range slices.Sorted(maps.Keys(both(r.hosts, after))) {
		if !slices.Equal(r.hosts[app], after[app]) {
			f.Routes = append(f.Routes, wire.PlanRoute{App: app, Before: r.hosts[app], After: after[app], Refused: refused[app]})
		}
	}
	return f
}

// concerned are the actions without the warnings about apps for which nothing is done: those are there already.
func (r *recorder) concerned() []wire.PlanAction {
	acted := map[string]bool{}
	for _, a := range r.actions {
		acted[a.App] = acted[a.App] || a.Action != wire.ActionWarn
	}
	out := make([]wire.PlanAction, 0, len(r.actions))
	for _, a := range r.actions {
		if a.Action != wire.ActionWarn || acted[a.App] {
			out = append(out, a)
		}
	}
	return out
}

func both[T any](a, b map[string]T) map[string]T {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// refusedHosts is which hosts routers would not give to their apps, and why.
func refusedHosts(known *cluster.Cluster) map[string][]string {
	in := route.Input{Domain: "domain", Routes: map[string]v1.AppRoute{}}
	for _, prefix := range known.AnnouncePrefixes() {
		in.Prefixes = append(in.Prefixes, strings.TrimRight(prefix, "/"))
	}
	for _, o := range known.Routes.List() {
		if o.Err == nil {
			in.Routes[o.Name] = o.Value
		}
	}
	refused := map[string][]string{}
	for _, r := range route.Plan(in).Table.Refused {
		refused[r.App] = append(refused[r.App], r.Message)
	}
	return refused
}
