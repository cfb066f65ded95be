// Package app turns an App's manifest into revisions and units, and rolls changes out one instance at a time.
package app

import (
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
)

// Input is everything known about one app. Nothing is remembered from one plan to the next, so a new leader continues where
// the last one stopped.
type Input struct {
	Now time.Time
	App string
	// Generate writes unit files; nil means generate.Units.
	Generate func(name string, spec *v1.AppSpec) (generate.Files, error)
	// Manifest is what a person wrote; nil if the app was deleted.
	Manifest *Manifest
	// Latest is this app's newest accepted revision, or nil. Revisions of a deleted app of the same name do not count.
	Latest *v1.Revision
	// LatestAt is its ModRevision. Before is the one that it falls back to, or nil: see v1.Revision.Fallback.
	LatestAt int64
	Before   *v1.Revision
	// LastNumber is the highest revision number in use, including revisions of a deleted app and unreadable ones.
	LastNumber int64
	// Texts are the stored unit file texts that Latest and the app's units name, by hash.
	Texts map[string]string
	// Units are the app's units, by name; Taken are the names of other owners' units, with their owner ("" is a person).
	Units map[string]StoredUnit
	Taken map[string]string
	// Overrides are people's wishes for units that exist, by unit.
	Overrides map[string]v1.Override
	// States are what systemd reports of the app's units on the machines that are present, by unit.
	States map[string][]State
	// Leaving are the machines that units have to leave, by unit.
	Leaving map[string]string
	// Places are where the app's units are placed, by unit.
	Places map[string]Place
	// Asked are the machines that are asked to prepare a unit's next start, by unit.
	Asked map[string][]Asked
	// Endpoints are the revisions of the app's endpoints below its announce prefix, Former those below the prefixes of
	// earlier revisions, both named as by v1.EndpointName. Unknown: they are still being listed, so nothing can be said about
	// instances.
	Endpoints, Former map[string]int64
	Unknown           bool
	// EndpointSets is what routers have to serve, one for each of the app's prefixes.
	EndpointSets []v1.EndpointSet
	// Routers are the live ones, by machine.
	Routers map[string]v1.Router
	// ByHand are the instances below v1.DefaultAnnouncePrefix/<app> that are units of the cluster, sorted. They count only if
	// the app announces nothing.
	ByHand []string
	// Route is what routers are told about the app.
	Route Route
	// Wish is what a person asks of its roll-outs.
	Wish v1.RolloutWish
	// Settling is how much longer live machines may not have reported yet, because the leader is new.
	Settling time.Duration
}

// Route is the stored routes/<app>.
type Route struct {
	// Value is nil if none is stored, or it cannot be read.
	Value *v1.AppRoute
	// Revision is its ModRevision; 0 if none is stored.
	Revision int64
}

// Manifest is a stored manifest.
type Manifest struct {
	Raw []byte
	// UID is its CreateRevision, which is the app's UID; Revision its ModRevision.
	UID, Revision int64
}

// StoredUnit is a stored unit.
type StoredUnit struct {
	*v1.Unit
	// UID is its CreateRevision, Revision its ModRevision.
	UID, Revision int64
}

// State is what a machine reports of a unit.
type State struct {
	Machine string
	*v1.UnitState
}

// Place says where a unit is placed.
type Place struct {
	// Machines are the present machines that it is placed on; Away: it is placed, but on none that is present.
	Machines []string
	Away     bool
	// Loaded: one of those machines has to have it loaded, not started.
	Loaded bool
	// Unplaced is why it has no machine, or why its new file fits on none.
	Unplaced *v1.Unplaced
}

// Asked is a present machine that is asked to prepare the start that the unit names as its next one.
type Asked struct {
	Machine string
	// Since is when it was asked.
	Since time.Time
}

// Kind is what an action does.
type Kind string

// The kinds of actions.
const (
	PutRevision Kind = "putRevision"
	PutRoute    Kind = "putRoute"
	DeleteRoute Kind = "deleteRoute"
	PutUnitFile Kind = "putUnitFile"
	PutUnit     Kind = "putUnit"
	DeleteUnit  Kind = "deleteUnit"
	Report      Kind = "report" // an event
)

// The reasons of actions.
const (
	Accepted           = "Accepted"           // the manifest is valid and differs from the revision before: it becomes a revision
	Reworded           = "Reworded"           // only the text of the manifest has changed, such as its comments: it becomes a revision, and nothing else happens
	DoubtfulManifest   = "DoubtfulManifest"   // the manifest was accepted, but will hardly do what was meant: the message says why
	InvalidManifest    = "InvalidManifest"    // the manifest cannot be read, or is invalid: what runs keeps running
	NameTaken          = "NameTaken"          // the app wants a unit whose name another app or a person owns
	FileLost           = "FileLost"           // a unit file of the revision is missing in etcd, and this fleetd would generate a different one
	Referenced         = "Referenced"         // a unit is about to refer to the file
	RouteChanged       = "RouteChanged"       // what routers have to know about the app changed
	NotRouted          = "NotRouted"          // the app announces nothing, so it has no route
	ScaledUp           = "ScaledUp"           // an instance is wanted that does not exist yet
	MakeRoom           = "MakeRoom"           // the global unit leaves a machine to make room for an instance that needs the same port
	ScaledDown         = "ScaledDown"         // the instance is no longer wanted
	Surge              = "Surge"              // an instance is started beside the others, so that one of them can be replaced, restarted or moved
	SurgeReady         = "SurgeReady"         // the instance that was started beside the others is ready: now one of them can be taken away
	AppDeleted         = "AppDeleted"         // the app was deleted: its units are removed
	WithdrawForUpdate  = "WithdrawForUpdate"  // the instance is taken out of the routers, to be replaced
	WithdrawForMove    = "WithdrawForMove"    // the instance is taken out of the routers, to move to another machine
	LetGo              = "LetGo"              // no request reaches the instance any more: it may move to another machine
	WithdrawForStop    = "WithdrawForStop"    // the instance is taken out of the routers, to be stopped
	WithdrawForRemoval = "WithdrawForRemoval" // the instance is taken out of the routers, to be removed
	Updated            = "Updated"            // the instance is replaced by one of the new revision
	Needed             = "Needed"             // the instance returns to the routers before it is replaced, because another one failed
	Adopted            = "Adopted"            // the unit belonged to a deleted app of the same name
	Returned           = "Returned"           // the instance returns to the routers: it has moved, or stays as it was
	NotAnnounced       = "NotAnnounced"       // the new revision announces nothing: the sidekick is removed
	Stopped            = "Stopped"            // a person stopped the instance
	Started            = "Started"            // a person started an instance that was stopped by hand
	Requested          = "Requested"          // a person requested another start
	WithdrawForRestart = "WithdrawForRestart" // the instance is taken out of the routers, to be restarted
	Restarted          = "Restarted"          // a person requested a restart: the instance stops, and then starts again
	Prepare            = "Prepare"            // the machine of an instance pulls the image for its replacement or its restart; the instance goes on
	PrepareNoMore      = "PrepareNoMore"      // the image that the machine was asked to pull is not needed any more
	RolloutStalled     = "RolloutStalled"     // a new instance is not ready, or its image not on its machine, within update.healthyDeadline
	RolloutComplete    = "RolloutComplete"    // all instances are of the revision, and ready
	RevisionRejected   = "RevisionRejected"   // the revision failed: it is taken back, and not tried again until the manifest changes
	CanaryFollowed     = "CanaryFollowed"     // the canary is good, or a person has resumed the roll-out: all other instances follow it
	RevisionComplete   = "RevisionComplete"   // all instances are of the revision, and ready: from now on it is watched for a while
	Releasing          = "Releasing"          // the release command of a revision is started: nothing is replaced before it has ended with success
	Released           = "Released"           // the release command has ended with success: now the revision is rolled out
	ReleaseOver        = "ReleaseOver"        // nothing waits for the release command any more: its unit is stopped, or removed
	MoveStalled        = "MoveStalled"        // an instance that had to leave a machine is not ready elsewhere in time
	MoveComplete       = "MoveComplete"       // an instance that left a machine is ready again
)

// Action is one step.
type Action struct {
	Kind   Kind
	Reason string
	// Name is the revision's (<app>/<n>, from Number), the file's hash, or the unit's name.
	Instance int32
	// Name is the revision's (<app>/<n> is made from Number), the file's hash, or the unit's name.
	Name string
	// Number and NewRevision are the revision to put.
	NewRevision *v1.Revision
	// Text is the unit file to put.
	Text string
	// Unit is the unit to put, Route the route. If is the current ModRevision, 0 if the key must not exist.
	Unit  *v1.Unit
	Route *v1.AppRoute
	If    int64
	// Event is what to report.
	Event *v1.Event
	// Why is, of an instance that is replaced in place, why no other one is started beside it; "" where there is nothing to say.
	Why string
}

// Decision is what to do: revisions and files first, because units refer to them.
type Decision struct {
	Actions []Action
	// After is when to plan again if only time has to pass. 0: when something changes.
	After time.Duration
	// Waiting: only routers are being waited for.
	Waiting bool
}

// Plan decides what brings the app's units closer to its manifest.
func Plan(in Input) Decision {
	p := planner{in: in, putAt: map[string]int{}, preparing: map[*replica]bool{}}
	p.accept()
	p.route()
	switch {
	case in.Unknown, p.reworded:
	case in.Manifest == nil:
		p.removeAll(AppDeleted, func(int32) bool { return true })
	case p.revision == nil: // nothing of this app was accepted: what runs belongs to a deleted one
		p.removeAll(AppDeleted, p.foreign)
	default:
		p.restore()
		p.instances()
		p.canary()
		if p.judge() || p.judgeCanary() {
			break // what is stored then decides what runs
		}
		p.completes()
		p.besides()
		p.roll()
		p.rollCanary()
		p.stopPreparing()
		p.removeSurplus()
		p.adopt()
	}
	p.oneWishAtATime()
	if !in.Unknown && !p.reworded {
		p.release()
	}
	p.putFiles()
	return p.plan()
}

// planner holds a plan while it is made.
type planner struct {
	in       Input
	revision *v1.Revision // what should run
	// candidate is the revision that its canary tries: all else is of the one before. nil: none is tried.
	candidate *v1.Revision
	reworded  bool       // only the text of the manifest has changed
	tried     []*replica // the canary, and as many of the revision before
	texts     map[string]string
	all       []*replica // the revision's instances, by number
	beside    []*replica // instances that are there only for a roll-out: see besides
	surplus   []*replica // instances no longer wanted, highest numbers first
	leeway    v1.Leeway
	crowd     bool // there are instances above spec.replicas, which may have taken the room of another one's new file

	first   []Action // revisions and files
	actions []Action
	putAt   map[string]int // index in actions, by unit
	events  []Action
	after   time.Duration
	waiting bool
	// preparing are the instances whose machines prepare their replacement or their restart.
	preparing map[*replica]bool
	moving    bool // an instance is about to move
	taken     bool // it was reported that a unit has another owner
}

func (p *planner) plan() Decision {
	return Decision{Actions: slices.Concat(p.first, p.actions, p.events), After: p.after, Waiting: p.waiting}
}

// oneWishAtATime leaves an instance alone while its machine has not answered the sidekick's current desired state. A machine
// may see only some of several quick changes, and its answer to one could be mistaken for the answer to a later one, while it
// may be starting the sidekick for the one in between. If the instance is needed there is no time for that: its machine may
// not have heard yet that it was withdrawn.
func (p *planner) oneWishAtATime() {
	early := map[int32]bool{}
	for _, a := range p.actions {
		number, sidekick, _ := v1.ParseAppUnit(p.in.App, a.Name)
		stored, exists := p.in.Units[a.Name]
		if !sidekick || !exists || a.Kind != PutUnit || a.Unit.Spec.DesiredState == stored.Spec.DesiredState || a.Reason == Needed {
			continue
		}
		if p.in.Leaving[v1.AppUnit(p.in.App, number)] != "" && p.in.Places[a.Name].Loaded {
			continue // a machine that has to let the instance go first is not asked to announce it
		}
		u := p.pair(a.Name, "")
		starts := a.Unit.Spec.DesiredState == v1.Launched
		early[number] = early[number] || starts && p.answeredEarlier(&u) || !starts && !p.answered(&u)
	}
	p.actions = slices.DeleteFunc(p.actions, func(a Action) bool { return early[a.Instance] })
}

// lookAgain requests another plan after d.
func (p *planner) lookAgain(d time.Duration) {
	if d > 0 && (p.after == 0 || d < p.after) {
		p.after = d
	}
}

func (p *planner) report(eventType, reason, message string) {
	p.events = append(p.events, Action{Kind: Report, Reason: reason, Name: p.in.App, Event: &v1.Event{
		Kind: v1.KindApp, Name: p.in.App, Type: eventType, Reason: reason, Message: message,
	}})
}
