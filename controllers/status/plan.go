// Package status says how far each App has come: conditions and counts, recomputed from what is stored.
package status

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Input is all that the status of one app depends on.
type Input struct {
	Now time.Time
	App string
	// Manifest is what a person wrote and ManifestRevision its ModRevision; nil where the app was deleted.
	Manifest         []byte
	ManifestRevision int64
	// Latest is the newest accepted revision, or nil.
	Latest *v1.Revision
	// Units are the app's own, by name; Taken the names of units of others, with their owner.
	Units map[string]*v1.Unit
	Taken map[string]string
	// Overrides are people's wishes, Unplaced why units have no machine, both by unit.
	Overrides map[string]v1.Override
	Unplaced  map[string]v1.Unplaced
	// Placements are the machines of each unit, sorted.
	Placements map[string][]string
	// States are what systemd says on machines that are present: by unit, then by machine.
	States map[string]map[string]*v1.UnitState
	// Endpoints are the app's endpoints below its announce prefix.
	Endpoints map[string]string
	// EndpointSets is what routers have to serve; Routers are those that live, by machine.
	EndpointSets []v1.EndpointSet
	Routers      map[string]v1.Router
	// Current is the status that is stored, and its ModRevision; nil where none is.
	Current         *v1.AppStatus
	CurrentRevision int64
}

// The reasons of conditions and actions.
const (
	ReasonAccepted        = "Accepted"
	ReasonInvalidManifest = "InvalidManifest"
	ReasonNameTaken       = "NameTaken"
	ReasonNotAccepted     = "NotAccepted" // nothing was ever accepted
	ReasonScheduled       = "Scheduled"
	ReasonPending         = "Pending"  // not looked at so far
	ReasonUnplaced        = "Unplaced" // where the refusal names no constraint
	ReasonAvailable       = "Available"
	ReasonNothingWanted   = "NothingWanted"
	ReasonUnavailable     = "Unavailable"
	ReasonUpdated         = "Updated"
	ReasonStarting        = "Starting"
	ReasonRollingOut      = "RollingOut"
	ReasonRolloutStalled  = "RolloutStalled"
	ReasonMoving          = "Moving" // to leave a machine that is drained
	ReasonMoveStalled     = "MoveStalled"
	ReasonWaiting         = "WaitingForRouters"
	ReasonReady           = "Ready"
	ReasonStopped         = "Stopped" // a person stopped it
	ReasonNotActive       = "NotActive"
	ReasonNotAnnounced    = "NotAnnounced"
	ReasonOutOfDate       = "OutOfDate"
	ReasonChanged         = "Changed" // of the action: the status is another one
	ReasonAppDeleted      = "AppDeleted"
)

// Decision is what to do with the stored status.
type Decision struct {
	// Put is the status to store; nil where the stored one is right. Delete removes it.
	Put    *v1.AppStatus
	Delete bool
	// If is the ModRevision of what is stored, 0 where nothing is.
	If     int64
	Reason string
	// After is when the passing of time changes the status; Waiting says that what routers serve does.
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
	if in.Latest == nil {
		for _, condition := range []string{v1.Scheduled, v1.Available, v1.Progressing, v1.Ready} {
			p.set(condition, v1.ConditionUnknown, ReasonNotAccepted, "no manifest was accepted so far")
		}
	} else {
		p.status.AcceptedRevision = in.Latest.Number
		p.instances = p.look()
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
	in        Input
	status    v1.AppStatus
	instances []instance
	after     time.Duration
	waiting   bool
	// pending: the manifest is valid and says something that no revision was made of so far.
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
		goesOn = fmt.Sprintf("; revision %d goes on", in.Latest.Number)
	}
	switch {
	case err != nil:
		p.set(v1.Accepted, v1.ConditionFalse, ReasonInvalidManifest, v1.Summary(err)+goesOn)
	case taken != "":
		p.set(v1.Accepted, v1.ConditionFalse, ReasonNameTaken, v1.NameTakenMessage(taken, in.Taken[taken])+goesOn)
	default:
		p.set(v1.Accepted, v1.ConditionTrue, ReasonAccepted, "")
		p.pending = in.Latest != nil && in.Latest.ManifestRevision != in.ManifestRevision && !sameSpec(in.Latest.Spec, app.Spec)
	}
}

// sameSpec compares as the app controller does when it decides about a new revision.
func sameSpec(a, b v1.AppSpec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func (p *planner) count() {
	c := &p.status.Replicas
	for _, i := range p.instances {
		c.Desired++
		for _, n := range []struct {
			is    bool
			count *int32
		}{{i.scheduled, &c.Scheduled}, {i.active, &c.Active}, {i.serves(), &c.Ready}, {i.updated, &c.Updated}} {
			if n.is {
				*n.count++
			}
		}
	}
}

// scheduled names the first unit without a machine and the constraint that keeps it off most of them.
func (p *planner) scheduled() {
	var first *instance
	missing := 0
	for n := range p.instances {
		if i := &p.instances[n]; !i.scheduled && !i.stopped {
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
	case first == nil:
		p.set(v1.Scheduled, v1.ConditionTrue, ReasonScheduled, "")
	case first.unplaced == nil:
		p.set(v1.Scheduled, v1.ConditionFalse, ReasonPending, first.name+" is about to be placed"+more)
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
	case c.Ready > 0:
		p.set(v1.Available, v1.ConditionTrue, ReasonAvailable, "")
	default:
		p.set(v1.Available, v1.ConditionFalse, ReasonUnavailable, "no instance is active"+p.andAnnounced())
	}
}

// routed says what the first router that leaves out the app says of it; nothing where all of them serve it.
func (p *planner) routed() {
	for _, machine := range slices.Sorted(maps.Keys(p.in.Routers)) {
		reason, message, ok := strings.Cut(p.in.Routers[machine].Refused[p.in.App], ": ")
		if ok && reasonWord.MatchString(reason) {
			p.set(v1.Routed, v1.ConditionFalse, reason, fmt.Sprintf("the router on %s: %.300s", shortMachine(machine), message))
			return
		}
	}
	p.status.Conditions = slices.DeleteFunc(p.status.Conditions, func(c v1.Condition) bool { return c.Type == v1.Routed })
}

// reasonWord: a router is a program of another machine, whatever it says.
var reasonWord = regexp.MustCompile(`^[A-Z][A-Za-z]{1,40}$`)

func (p *planner) andAnnounced() string {
	if p.in.Latest.Spec.Announce == nil {
		return ""
	}
	return " and announced"
}

// progressing tells how the roll-out, or the drain of a machine, stands: stalled, waiting for routers, under way, or over.
func (p *planner) progressing() {
	if p.pending { // else who waits for the manifest that was just applied would take the old revision's word for it
		p.set(v1.Progressing, v1.ConditionTrue, ReasonPending, "the manifest is about to become a revision")
		return
	}
	revision := p.in.Latest.Number
	var outdated, starting int
	var waiting, moving *instance
	for n := range p.instances {
		i := &p.instances[n]
		if i.stalled {
			p.stalled(i)
			return
		}
		if i.withdrawn && waiting == nil {
			waiting = i
		}
		switch {
		case i.moving():
			moving = i
		case i.withdrawn || !i.filed:
			outdated++
		case !i.stopped && !i.done():
			starting++
		}
	}
	c := p.status.Replicas
	progress := fmt.Sprintf("%d of %d instances are of revision %d", c.Updated, c.Desired, revision)
	switch behind := v1.RoutersBehind(p.in.Routers, p.in.EndpointSets...); {
	case waiting != nil && !waiting.announced && len(behind) > 0:
		p.waiting = true
		p.set(v1.Progressing, v1.ConditionTrue, ReasonWaiting, fmt.Sprintf("%s; %s stops when the routers on %s have dropped it", progress, waiting.name, names(behind)))
	case outdated > 0:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonRollingOut, progress)
	case moving != nil:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonMoving, fmt.Sprintf("%s is to leave %s; %d of %d instances are ready", moving.name, shortMachine(moving.movedFrom), c.Ready, c.Desired))
	case starting > 0:
		p.set(v1.Progressing, v1.ConditionTrue, ReasonStarting, fmt.Sprintf("%d of %d instances are ready", c.Ready, c.Desired))
	default:
		p.set(v1.Progressing, v1.ConditionFalse, ReasonUpdated, progress)
	}
}

func (p *planner) stalled(i *instance) {
	deadline := p.in.Latest.Spec.Update.HealthyDeadline
	reason, what := ReasonRolloutStalled, fmt.Sprintf("revision %d: %s is not ready within %s", p.in.Latest.Number, i.name, deadline)
	if i.filed && i.movedFrom != "" {
		reason, what = ReasonMoveStalled, fmt.Sprintf("%s is not ready within %s after it was to leave %s", i.name, deadline, shortMachine(i.movedFrom))
	}
	p.set(v1.Progressing, v1.ConditionFalse, reason, what+": "+i.why())
}

func (p *planner) ready() {
	done := 0
	var first *instance
	for n := range p.instances {
		if i := &p.instances[n]; i.done() {
			done++
		} else if first == nil {
			first = i
		}
	}
	count := fmt.Sprintf("%d of %d instances are ready", done, len(p.instances))
	switch {
	case p.pending:
		p.set(v1.Ready, v1.ConditionFalse, ReasonPending, count+" of revision "+strconv.FormatInt(p.in.Latest.Number, 10)+"; the manifest is about to become another")
		return
	case first == nil:
		p.set(v1.Ready, v1.ConditionTrue, ReasonReady, count)
		return
	}
	p.set(v1.Ready, v1.ConditionFalse, first.reason(), count+"; "+first.name+": "+first.why())
}
