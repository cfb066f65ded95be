package node

import (
	"cmp"
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Input is all that a plan depends on. Maps are by unit name where nothing else is said.
type Input struct {
	Now time.Time
	// FromStore says that Placements are the store's. Otherwise they are the copy on disk: good enough to start
	// from, never a reason to take something away.
	FromStore  bool
	Placements map[string]v1.Placement
	// Texts are the unit files that placements name, by hash.
	Texts map[string]Text
	// Relations are those of placed units whose text is here.
	Relations map[string]Relations
	// Files are the hashes of the files that systemd is given, as they are on disk now.
	Files map[string]string
	// Refused are names in Placements, Files and Records that no unit can have, and why: an earlier version took them, or a
	// newer one does. systemd is asked nothing about them.
	Refused map[string]string
	// Foreign are those placed units that the machine has without fleet, and where from.
	Foreign map[string]string
	// Units is what systemd says of the units in Placements, Files and Records, and of what they bind to.
	Units map[string]Unit
	// Held are the units whose file in v1.HeldDir is there.
	Held map[string]bool
	// Outputs are the last lines logged by units that failed.
	Outputs map[string]Output
	// Records is what was done since boot.
	Records map[string]Record
	// States are those last reported.
	States map[string]v1.UnitState
	// Holds are units without a placement that run on until their replacement is active, at most until then.
	Holds map[string]time.Time
	// ReloadDue says that the last reload failed: systemd may not have read what was written.
	ReloadDue bool
}

// Text is a unit file's text as far as a plan needs it.
type Text struct {
	// FileHash is the hash of what is written for systemd: the text, with a header above options before any section.
	FileHash string
	// Missing says why the text is not here; empty where it is.
	Missing string
}

// Output is what a unit has logged last.
type Output struct {
	Text string
	// Pending says that it is about to be read.
	Pending bool
}

// Unit is what systemd says of a unit. The zero value is one that systemd was not asked for.
type Unit struct {
	LoadState, ActiveState, SubState string
	// Job is the type of the job that waits or runs; JobResult is how the last one ended that was asked for.
	Job                             string
	Result, InvocationID, JobResult string
	Since                           time.Time
	// Restarts is how often systemd started it again by itself since its last start on request.
	Restarts int
	Exit     Exit
	// Err is why systemd says nothing of the unit. NoUnit: because it takes the name for none that a unit can have.
	Err    string
	NoUnit bool
}

// Exit is how a unit's last main process ended, or the command before it that failed; zero while the main process runs.
type Exit struct {
	Code    string // exited, killed, dumped
	Status  int
	Command string // ExecStartPre, ...; empty for the main process
	Started time.Time
}

// up: it runs, or systemd is about to make it run.
func (u Unit) up() bool {
	return u.active() || u.ActiveState == "activating" || u.Job == "start" || u.Job == "restart"
}

// active: starting something that binds to it starts nothing but that.
func (u Unit) active() bool {
	return u.ActiveState == "active" || u.ActiveState == "reloading" || u.ActiveState == "refreshing"
}

func (u Unit) failed() bool { return u.ActiveState == "failed" }

// runsPrevious: what runs is what ran before the last launch.
func (u Unit) runsPrevious(rec Record) bool {
	return rec.Previous != "" && u.InvocationID == rec.Invocation
}

// stopping: it is on its way down already.
func (u Unit) stopping() bool {
	return u.Job == "stop" || u.ActiveState == "deactivating" && u.Job == ""
}

// Record is what was done with a unit since boot. It outlives fleetd.
type Record struct {
	// Loaded is the hash of the text that systemd has loaded.
	Loaded string `json:"loaded,omitempty"`
	// Launched is the hash that it was started with; empty where it was stopped since, or never started.
	Launched string `json:"launched,omitempty"`
	// Stopped says that a stop was the last thing asked for.
	Stopped bool `json:"stopped,omitempty"`
	// RequestedAt is the placement's request that was last acted on.
	RequestedAt string `json:"requestedAt,omitempty"`
	// Pending says that the launch was about to be asked for: whether it was, the invocation tells.
	Pending bool `json:"pending,omitempty"`
	// Invocation and Previous are the unit's invocation before the launch and the hash that it ran with.
	Invocation string `json:"invocation,omitempty"`
	Previous   string `json:"previous,omitempty"`
	// Target is the invocation of the unit it binds to, when both were last seen active.
	Target string `json:"target,omitempty"`
	// Message is what systemd refused.
	Message string `json:"message,omitempty"`
	// JobResult is how the last start ended, where the unit did not get to run by it: see v1.UnitState.
	JobResult string `json:"jobResult,omitempty"`
	// Failing says that an event told of its failure, and none so far that it has recovered.
	Failing bool `json:"failing,omitempty"`
}

// Kind is what an action does.
type Kind string

// The kinds of actions.
const (
	Hold        Kind = "hold" // keep it from being started, whatever asks for it
	Release     Kind = "release"
	Stop        Kind = "stop"
	ResetFailed Kind = "resetFailed"
	Unlink      Kind = "unlink"
	RemoveFile  Kind = "removeFile"
	WriteFile   Kind = "writeFile"
	Link        Kind = "link"
	Reload      Kind = "reload"
	Start       Kind = "start"
	Restart     Kind = "restart"
	Note        Kind = "note"   // only the record changes
	Forget      Kind = "forget" // the record is dropped
	WriteState  Kind = "writeState"
	DeleteState Kind = "deleteState"
	Tell        Kind = "tell" // an event
)

// Reason is why an action is taken.
type Reason string

// The reasons of actions.
const (
	NotPlaced       Reason = "NotPlaced"       // the unit is not placed on this machine any more
	SetLoaded       Reason = "SetLoaded"       // the unit is to be loaded, not launched: it is stopped once
	NewPlacement    Reason = "NewPlacement"    // the unit is new on this machine
	FileChanged     Reason = "FileChanged"     // the unit's file changed
	FileLost        Reason = "FileLost"        // the unit's file on the disk is not what was written
	Forgotten       Reason = "Forgotten"       // systemd must forget a unit that is gone, and that others mention
	NameRefused     Reason = "NameRefused"     // systemd refuses the name
	NotLaunched     Reason = "NotLaunched"     // the unit was not launched with this file since the machine booted
	Requested       Reason = "Requested"       // a person asked for it to be started
	TargetReturned  Reason = "TargetReturned"  // the unit that it binds to stopped, and runs again
	AlreadyRuns     Reason = "AlreadyRuns"     // the unit runs already: fleetd does not start it again
	LaunchConfirmed Reason = "LaunchConfirmed" // the start that fleetd asked for before it ended took effect
	WithTarget      Reason = "WithTarget"      // systemd restarts it together with the unit that it binds to
	StateChanged    Reason = "StateChanged"    // systemd says something new of the unit
	StartEnded      Reason = "StartEnded"      // the start is over, and the unit does not run
	Recovered       Reason = "Recovered"       // the unit failed, and has run for a while since
	FailedReason    Reason = "Failed"          // the unit failed, and systemd does not start it again
	RestartingAgain Reason = "Restarting"      // the unit failed, and systemd starts it again
	NotStarted      Reason = "NotStarted"      // systemd did not even try to start the unit, such as for a dependency
)

// Action is one step.
type Action struct {
	Kind   Kind
	Unit   string
	Reason Reason
	// Hash is that of the text to write.
	Hash string
	// Record is the unit's record once the action has succeeded.
	Record Record
	// State is what to report.
	State v1.UnitState
	// Units are those that a reload is for.
	Units []string
	// Event is what to tell.
	Event v1.Event

	// level orders starts: everything on a lower one goes first.
	level int
}

// Decision is what to do, in this order, and when to look again where time matters.
type Decision struct {
	Actions []Action
	After   time.Duration
}

// kinds is the order of actions. What must not be started is held before anything else may start it; whatever stops goes
// before what starts and may want its place.
var kinds = []Kind{Hold, Stop, ResetFailed, Unlink, RemoveFile, WriteFile, Link, Reload, Release, Note, Start, Restart, Forget,
	WriteState, DeleteState, Tell}

// Plan decides what brings this machine's systemd to what its placements say.
func Plan(in Input) Decision {
	p := planner{in: in, reloads: map[string]bool{}, acted: map[string]bool{}, launching: map[string]bool{}, restarting: map[string]bool{}, halting: map[string]bool{}}
	names := p.names()
	levels := p.levels(names)
	// What others bind to comes first: a restart of it is a restart of them.
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(levels[a], levels[b]) })
	for _, name := range names {
		pl, placed := p.placed(name)
		switch why := in.Refused[name]; {
		case why != "":
			p.refuse(name, pl, placed, why)
		case placed:
			p.place(name, pl)
		default:
			p.remove(name)
		}
	}
	if in.ReloadDue {
		p.reload = cmp.Or(p.reload, FileChanged)
	}
	if p.reload != "" {
		p.act(Action{Kind: Reload, Reason: p.reload, Units: slices.Sorted(maps.Keys(p.reloads))})
	}
	for i := range p.actions {
		p.actions[i].level = levels[p.actions[i].Unit]
	}
	slices.SortStableFunc(p.actions, order)
	return Decision{Actions: p.actions, After: p.after}
}

func order(a, b Action) int {
	return cmp.Or(cmp.Compare(rank(a), rank(b)), levelOrder(a, b), cmp.Compare(a.Unit, b.Unit))
}

// rank puts the kinds in order; starts and restarts are one.
func rank(a Action) int {
	if a.Kind == Restart {
		return slices.Index(kinds, Start)
	}
	return slices.Index(kinds, a.Kind)
}

// levelOrder is what others need first for starts, last for stops.
func levelOrder(a, b Action) int {
	switch a.Kind {
	case Start, Restart:
		return cmp.Compare(a.level, b.level)
	case Stop:
		return cmp.Compare(b.level, a.level)
	}
	return 0
}

type planner struct {
	in      Input
	actions []Action
	after   time.Duration
	reload  Reason
	reloads map[string]bool // the units whose file changed
	// acted are the units that something is done with: what systemd says of them is about to change.
	acted map[string]bool
	// launching are the units that are started or restarted; restarting those that take with them what binds to them and is up.
	launching, restarting map[string]bool
	// halting are the units that are stopped.
	halting map[string]bool
}

func (p *planner) act(a Action) {
	switch a.Kind {
	case Stop, ResetFailed, Unlink, Link, Start, Restart:
		p.acted[a.Unit] = true
	}
	p.launching[a.Unit] = p.launching[a.Unit] || a.Kind == Start || a.Kind == Restart
	p.restarting[a.Unit] = p.restarting[a.Unit] || a.Kind == Restart
	p.halting[a.Unit] = p.halting[a.Unit] || a.Kind == Stop
	p.actions = append(p.actions, a)
}

// lookAgain has the next plan made no later than that.
func (p *planner) lookAgain(after time.Duration) {
	if p.after == 0 || after < p.after {
		p.after = after
	}
}

// placed returns a unit's placement; an inactive one is none.
func (p *planner) placed(name string) (v1.Placement, bool) {
	pl, ok := p.in.Placements[name]
	return pl, ok && pl.DesiredState != v1.Inactive
}

func (p *planner) names() []string {
	all := map[string]bool{}
	for name := range p.in.Placements {
		all[name] = true
	}
	for name := range p.in.Files {
		all[name] = true
	}
	for name := range p.in.Records {
		all[name] = true
	}
	for name := range p.in.States {
		all[name] = true
	}
	for name := range p.in.Held {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}
