// Package status says how far each App has come: conditions and counts, recomputed from what is stored.
package status

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// Input is everything that the status of one app depends on.
type Input struct {
	Now time.Time
	App string
	// Manifest is what a person wrote and ManifestRevision its ModRevision; nil if the app was deleted.
	Manifest         []byte
	ManifestRevision int64
	// Latest is the revision that should run, or nil.
	Latest *v1.Revision
	// Rejected is the newest revision if it was taken back, so that Latest runs again, Releasing is it while it waits for its release
	// command, so that Latest still runs; else nil.
	Rejected, Releasing *v1.Revision
	// Trial is the newest revision if only its canary runs it, and Latest all else; else nil.
	Trial *v1.Revision
	// Units are the app's units, by name; Taken the names of other owners' units, with their owner.
	Units map[string]*v1.Unit
	Taken map[string]string
	// Overrides are people's wishes, Unplaced why units have no machine, both by unit.
	Overrides map[string]v1.Override
	Unplaced  map[string]v1.Unplaced
	// Paused: a person has paused the app's roll-outs.
	Paused bool
	// Placements are the machines of each unit, sorted; Machines those that are present.
	Placements map[string][]string
	Machines   map[string]Machine
	// States are what systemd reports on present machines: by unit, then by machine.
	States map[string]map[string]*v1.UnitState
	// Endpoints are the revisions of the app's endpoints, named as by v1.EndpointName and v1.GlobalEndpointName.
	Endpoints map[string]int64
	// EndpointSets is what routers have to serve, RouteRevision that of routes/<app>; Routers are the live ones, by machine.
	EndpointSets  []v1.EndpointSet
	RouteRevision int64
	Routers       map[string]v1.Router
	// Current is the stored status, with its ModRevision; nil if none is stored.
	Current         *v1.AppStatus
	CurrentRevision int64
}

// Machine is what the status of a global app depends on.
type Machine struct {
	// Schedulable: units may be placed on it.
	Schedulable bool
	Metadata    map[string]string
}

// The reasons of conditions and actions. The reason of an instance that is not ready is its instance.State.
const (
	ReasonAccepted        = "Accepted" // the manifest is valid, and what runs is made from it
	ReasonInvalidManifest = v1.ReasonInvalidManifest
	ReasonNameTaken       = "NameTaken"      // the app wants a unit whose name another app or a person owns; what was accepted before keeps running
	ReasonNotAccepted     = "NotAccepted"    // no manifest of this app has been accepted
	ReasonScheduled       = "Scheduled"      // every instance has a machine
	ReasonPending         = v1.ReasonPending // not reconciled yet
	ReasonUnplaced        = "Unplaced"       // an instance has no machine, and no single constraint is to blame
	ReasonAvailable       = "Available"      // at least one instance is active and, where announced, announced
	ReasonNothingWanted   = "NothingWanted"  // no instance is wanted: replicas is 0, or all were stopped by hand
	ReasonUnavailable     = "Unavailable"    // no instance is active and, where announced, announced
	ReasonUpdated         = "Updated"        // nothing is in progress: every instance is of the accepted revision
	ReasonReleasing       = v1.ReasonReleasing
	ReasonStarting        = "Starting"   // instances are being started
	ReasonRollingOut      = "RollingOut" // instances are being replaced, one at a time
	ReasonPulling         = "Pulling"    // the image of an instance is pulled, or cannot be: nothing is replaced or restarted before it is there
	ReasonPaused          = "Paused"     // a person has paused the roll-out: no further instance is replaced until fleetctl rollout resume
	ReasonCanary          = v1.ReasonCanary
	ReasonRolloutStalled  = v1.ReasonRolloutStalled
	ReasonMoving          = "Moving" // an instance has to leave a machine that is drained
	ReasonMoveStalled     = v1.ReasonMoveStalled
	ReasonWaiting         = "WaitingForRouters"    // an endpoint is new or withdrawn, and not every router has applied that; a withdrawn instance waits for it to stop
	ReasonReady           = "Ready"                // every instance is ready and of the accepted revision
	ReasonNoRouter        = v1.ReasonNoRouter      // no live router serves what it announces
	ReasonRouterFailing   = v1.ReasonRouterFailing // a router cannot apply a change that concerns the app
	ReasonChanged         = "Changed"              // of the action, in the log: the status changed
	ReasonAppDeleted      = "AppDeleted"           // of the action, in the log: the app was deleted, and so is its status
)

// Decision is what to do with the stored status.
type Decision struct {
	// Put is the status to store; nil if the stored one is right. Delete removes it.
	Put    *v1.AppStatus
	Delete bool
	// If is the ModRevision of the stored status, 0 if there is none.
	If     int64
	Reason string
	// After is when time alone changes the status; Waiting: a router's answer does.
	After   time.Duration
	Waiting bool
}

// Plan computes the status.
func Plan(in Input) Decision {
	if in.Manifest == nil {
		return Decision{Delete: in.Current != nil, If: in.CurrentRevision, Reason: ReasonAppDeleted}
	}
	p := planner{in: in}
	p.status.ObservedRevision = in.ManifestRevision
	if in.Current != nil {
		p.status.Conditions = slices.Clone(in.Current.Conditions)
	}
	p.accepted()
	if in.Latest == nil && in.Releasing != nil {
		p.firstRelease()
	} else if in.Latest == nil {
		for _, condition := range []string{v1.Scheduled, v1.Available, v1.Progressing, v1.Ready} {
			p.set(condition, v1.ConditionUnknown, ReasonNotAccepted, "no manifest has been accepted yet")
		}
	} else {
		p.status.AcceptedRevision = in.Latest.Number
		p.members = p.look()
		p.count()
		p.scheduled()
		p.available()
		p.progressing()
		p.routed()
		p.ready()
	}
	plan := Decision{If: in.CurrentRevision, Reason: ReasonChanged, After: p.after, Waiting: p.waiting}
	if in.Current == nil || !same(*in.Current, p.status) {
		plan.Put = &p.status
	}
	return plan
}

func same(a, b v1.AppStatus) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

type planner struct {
	in      Input
	status  v1.AppStatus
	members []member
	after   time.Duration
	waiting bool
	// surplus: units of earlier revisions still exist; surplusKnown: that was looked up.
	surplus, surplusKnown bool
	// pending: the manifest is valid and not a revision yet.
	pending bool
}

func (p *planner) set(condition, status, reason, message string) {
	p.status.Conditions = v1.SetCondition(p.status.Conditions, v1.Condition{
		Type: condition, Status: status, ObservedRevision: p.in.ManifestRevision, Reason: reason, Message: message,
	}, p.in.Now.UTC())
}

func (p *planner) accepted() {
	in := p.in
	app, err := v1.ParseAppNamed(in.App, in.Manifest)
	taken := ""
	if err == nil {
		taken = v1.TakenUnit(app, func(unit string) bool { _, taken := in.Taken[unit]; return taken })
	}
	goesOn := ""
	if in.Latest != nil {
		goesOn = fmt.Sprintf("; revision %d keeps running", in.Latest.Number)
	}
	switch {
	case err != nil:
		p.set(v1.Accepted, v1.ConditionFalse, ReasonInvalidManifest, v1.Summary(err)+goesOn)
	case in.Rejected != nil && (in.Rejected.ManifestRevision == in.ManifestRevision || v1.SameSpec(&in.Rejected.Spec, &app.Spec)):
		p.status.Rejected = in.Rejected.Rejected
		p.set(v1.Accepted, v1.ConditionFalse, v1.ReasonRejected, fmt.Sprintf("revision %d was taken back: %s%s", in.Rejected.Number, in.Rejected.Rejected.Message, goesOn))
	case taken != "":
		p.set(v1.Accepted, v1.ConditionFalse, ReasonNameTaken, v1.NameTakenMessage(taken, in.Taken[taken])+goesOn)
	default:
		p.set(v1.Accepted, v1.ConditionTrue, ReasonAccepted, "")
		newest := in.Latest
		if in.Releasing != nil {
			newest = in.Releasing
		}
		p.pending = newest != nil && !p.tries(&app.Spec) && newest.ManifestRevision != in.ManifestRevision && !v1.SameSpec(&newest.Spec, &app.Spec)
	}
}

func (p *planner) count() {
	c := &p.status.Replicas
	for n := range p.members {
		m := &p.members[n]
		c.Desired++
		for _, n := range []struct {
			is    bool
			count *int32
		}{{m.scheduled(), &c.Scheduled}, {m.Active, &c.Active}, {m.ready(), &c.Ready}, {m.Input().Updated(), &c.Updated}} {
			if n.is {
				*n.count++
			}
		}
	}
}

// scheduled names the first unit without a machine and the constraint that rules out most machines for it.
func (p *planner) scheduled() {
	var first, kept *member
	missing := 0
	for n := range p.members {
		i := &p.members[n]
		if i.unplaced != nil && kept == nil && !i.stopped() {
			kept = i
		}
		if (!i.scheduled() || i.State == instance.Unplaced || i.unplaced != nil && i.unplaced.Next) && !i.stopped() {
			missing++
			if first == nil || first.unplaced == nil && i.unplaced != nil {
				first = i
			}
		}
	}
	more := ""
	if missing > 1 {
		more = fmt.Sprintf(" (and %d more)", missing-1)
	}
	switch {
	case first == nil && kept != nil: // it runs, but not where it should
		p.set(v1.Scheduled, v1.ConditionTrue, ReasonScheduled, kept.unplacedUnit+": "+kept.unplaced.Message)
	case first == nil:
		p.set(v1.Scheduled, v1.ConditionTrue, ReasonScheduled, "")
	case first.State == instance.Pending:
		p.set(v1.Scheduled, v1.ConditionFalse, ReasonPending, first.name+" is "+first.Why()+more)
	case p.in.Releasing != nil: // it is of the revision before, and nothing is wrong with the new one
		p.set(v1.Scheduled, v1.ConditionFalse, ReasonReleasing, first.unplacedUnit+": "+first.unplaced.Message+more)
	default:
		reason := ReasonUnplaced
		if len(first.unplaced.Reasons) > 0 && first.unplaced.Reasons[0].Reason != "" {
			reason = first.unplaced.Reasons[0].Reason
		}
		p.set(v1.Scheduled, v1.ConditionFalse, reason, first.unplacedUnit+": "+first.unplaced.Message+more)
	}
}

func (p *planner) available() {
	c := p.status.Replicas
	switch {
	case c.Desired == 0:
		p.set(v1.Available, v1.ConditionTrue, ReasonNothingWanted, "no instance is wanted")
	case slices.ContainsFunc(p.members, func(m member) bool { return m.Serves && !m.stopped() }):
		p.set(v1.Available, v1.ConditionTrue, ReasonAvailable, "")
	default:
		p.set(v1.Available, v1.ConditionFalse, ReasonUnavailable, "no instance is active"+p.andAnnounced())
	}
}

// routed sets Routed to False if a router leaves out the app, or if none serves the hosts that it asks for. It sets nothing
// if all is well, or if people may run their own router.
func (p *planner) routed() {
	spec := &p.in.Latest.Spec
	serves := len(v1.RoutersOf(p.in.Routers, spec.AnnouncePrefix())) > 0
	for _, machine := range slices.Sorted(maps.Keys(p.in.Routers)) {
		router := p.in.Routers[machine]
		if !router.HasRoute(p.in.RouteRevision) {
			continue // it has not seen the current route
		}
		if reason, message := p.refusedOf(router.LeftOut()); reason != "" {
			p.set(v1.Routed, v1.ConditionFalse, reason, fmt.Sprintf("the router on %s: %.300s", instance.ShortMachine(machine), message))
			return
		}
	}
	if machine := p.failingRouter(); machine != "" {
		p.set(v1.Routed, v1.ConditionFalse, ReasonRouterFailing, hasFailed(machine, p.in.Routers[machine].Failing))
		return
	}
	if spec.Announce != nil && spec.Route != nil && len(spec.Route.Hosts) > 0 && !serves {
		p.set(v1.Routed, v1.ConditionFalse, ReasonNoRouter, fmt.Sprintf("no router serves the endpoints below %s: requests for %s are not answered",
			spec.AnnouncePrefix(), spec.Route.Hosts[0]))
		return
	}
	p.status.Conditions = slices.DeleteFunc(p.status.Conditions, func(c v1.Condition) bool { return c.Type == v1.Routed })
}

// failingRouter returns the first router that cannot serve the app as it is; "" if there is none.
func (p *planner) failingRouter() string {
	last := int64(0)
	for _, revision := range p.in.Endpoints {
		last = max(last, revision)
	}
	for _, machine := range p.behind(last) {
		p.waiting = true
		if p.in.Routers[machine].Failing != nil {
			return machine
		}
	}
	return ""
}

// refusedOf returns why a router leaves out the app, or else the first of its instances. A refusal of another app that
// announces something under its name does not count.
func (p *planner) refusedOf(refusals []v1.RouteRefusal) (reason, message string) {
	spec := &p.in.Latest.Spec
	for _, r := range refusals {
		if r.Key == "" && r.App == p.in.App {
			return r.Reason, r.Message
		}
		instance, below := strings.CutPrefix(r.Key, spec.AnnouncePrefix()+"/"+p.in.App+"/")
		n, _, ok := v1.ParseAppUnit(p.in.App, instance+".service")
		own := ok && n <= spec.Instances() || spec.Global && strings.HasPrefix(instance, p.in.App+"@")
		if below && own && reason == "" {
			reason, message = r.Reason, instance+": "+r.Message
		}
	}
	return reason, message
}

func (p *planner) andAnnounced() string {
	if p.in.Latest.Spec.Announce == nil {
		return ""
	}
	return " and announced"
}

// progressing says how far the roll-out, or the drain of a machine, is: stalled, waiting for routers, under way, or complete.
func (p *planner) progressing() {
	if p.pending { // otherwise --wait after an apply would see the old revision's Progressing
		p.set(v1.Progressing, v1.ConditionTrue, ReasonPending, "the manifest is about to become a revision")
		return
	}
	if p.in.Releasing != nil {
		p.set(v1.Progressing, v1.ConditionTrue, ReasonReleasing, p.releasing())
		return
	}
	if p.in.Trial != nil {
		p.set(v1.Progressing, v1.ConditionTrue, ReasonCanary, p.trial())
		return
	}
	revision := p.in.Latest.Number
	var outdated, starting int
	var waiting, moving, pulling *member
	for n := range p.members {
		i := &p.members[n]
		if i.stalled {
			p.stalled(i)
			return
		}
		if i.withdrawn() && waiting == nil {
			waiting = i
		}
		if i.Input().Preparing() != "" && !i.withdrawn() && pulling == nil {
			pulling = i
		}
		switch {
		case i.State == instance.Moving:
			moving = i
		case i.withdrawn() || !i.filed():
			outdated++
		case !i.stopped() && !i.State.IsReady():
			starting++
		}
	}
	beside := p.beside()
	if beside != nil && beside.stalled {
		p.stalled(beside)
		return
	}
	c := p.status.Replicas
	progress := fmt.Sprintf("%d of %d instances are of revision %d", c.Updated, c.Desired, revision)
	switch behind := v1.RoutersBehind(p.in.Routers, p.in.EndpointSets...); {
	case p.in.Paused && p.in.Rejected == nil && outdated > 0:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonPaused, fmt.Sprintf("%s; paused: fleetctl rollout resume app/%s", progress, p.in.App))
	case waiting != nil && !waiting.announced && len(behind) > 0:
		p.waiting = true
		p.set(v1.Progressing, v1.ConditionTrue, ReasonWaiting, fmt.Sprintf("%s; %s stops when the routers on %s have dropped it%s", progress, waiting.name, instance.Names(behind), p.whyBehind(behind)))
	case pulling != nil:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonPulling, fmt.Sprintf("%s; %s: %s", progress, pulling.name, pulling.Input().Preparing()))
	case beside != nil:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonRollingOut, fmt.Sprintf("%s; %s, started beside the others: %s", progress, beside.name, beside.without()))
	case outdated > 0 || p.crowded():
		if why := p.in.Latest.Spec.Leeway(p.in.App).InPlace; outdated > 0 && why != "" && !p.in.Latest.Spec.Global {
			progress += "; in place, because " + why
		}
		p.set(v1.Progressing, v1.ConditionTrue, ReasonRollingOut, progress)
	case moving != nil:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonMoving, fmt.Sprintf("%s is to leave %s; %d of %d instances are ready", moving.name, instance.ShortMachine(moving.Rollout().From), c.Ready, c.Desired))
	case starting > 0:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonStarting, fmt.Sprintf("%d of %d instances are ready", c.Ready, c.Desired))
	default:
		p.set(v1.Progressing, v1.ConditionFalse, ReasonUpdated, progress)
	}
}

// whyBehind names the first of these routers that fails, and why: it is waited for until it works or its lease ends.
func (p *planner) whyBehind(machines []string) string {
	for _, machine := range machines {
		if failing := p.in.Routers[machine].Failing; failing != nil {
			return "; " + hasFailed(machine, failing)
		}
	}
	return ""
}

func hasFailed(machine string, failing *v1.RouterFailure) string {
	return fmt.Sprintf("the router on %s has failed to apply changes since %s: %.300s", instance.ShortMachine(machine), failing.Since.UTC().Format(time.RFC3339), failing.Message)
}

func (p *planner) stalled(i *member) {
	deadline := p.in.Latest.Spec.Update.HealthyDeadline
	reason, what := ReasonRolloutStalled, fmt.Sprintf("revision %d: %s is not ready within %s", p.in.Latest.Number, i.name, deadline)
	if from := i.Rollout().From; i.filed() && from != "" {
		reason, what = ReasonMoveStalled, fmt.Sprintf("%s is not ready within %s after it had to leave %s", i.name, deadline, instance.ShortMachine(from))
	}
	why := i.without()
	if preparing := i.Input().Preparing(); preparing != "" {
		why = preparing
	}
	p.set(v1.Progressing, v1.ConditionFalse, reason, what+": "+why)
}

// ready says how many instances are ready, and why the worst of the others is not.
func (p *planner) ready() {
	done := 0
	var worst *member
	for n := range p.members {
		if i := &p.members[n]; i.State.IsReady() {
			done++
		} else if worst == nil || severity(i.State) > severity(worst.State) {
			worst = i
		}
	}
	count := fmt.Sprintf("%d of %d instances are ready", done, len(p.members))
	routed := v1.FindCondition(p.status.Conditions, v1.Routed)
	switch {
	case p.pending:
		p.set(v1.Ready, v1.ConditionFalse, ReasonPending, count+" of revision "+strconv.FormatInt(p.in.Latest.Number, 10)+"; the manifest is about to become a new revision")
	case p.in.Releasing != nil:
		p.set(v1.Ready, v1.ConditionFalse, ReasonReleasing, count+" of revision "+strconv.FormatInt(p.in.Latest.Number, 10)+"; "+p.releasing())
	case p.in.Trial != nil:
		p.set(v1.Ready, v1.ConditionFalse, ReasonCanary, count+" of revision "+strconv.FormatInt(p.in.Latest.Number, 10)+"; "+p.trial())
	case worst != nil && severity(worst.State) > 0:
		p.set(v1.Ready, v1.ConditionFalse, string(worst.State), count+"; "+worst.name+": "+worst.Why())
	case routed != nil && routed.Status == v1.ConditionFalse && (worst == nil || routed.Reason != ReasonNoRouter):
		p.set(v1.Ready, v1.ConditionFalse, routed.Reason, count+"; "+routed.Message)
	case worst != nil:
		p.set(v1.Ready, v1.ConditionFalse, string(worst.State), count+"; "+worst.name+": "+worst.Why())
	default:
		p.set(v1.Ready, v1.ConditionTrue, ReasonReady, count)
	}
}

// severity orders the states: first those that waiting does not change, and failures before wishes.
func severity(s instance.State) int {
	switch {
	case s == instance.Stopped:
		return 1
	case s.Final():
		return 2
	}
	return 0
}
