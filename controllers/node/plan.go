package node

import (
	"cmp"
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Input is everything a plan depends on. Maps are keyed by unit name unless noted.
type Input struct {
	Now time.Time
	// FromStore reports whether Placements are from the store. The on-disk copy is good enough to start units, but never
	// a reason to remove one.
	FromStore  bool
	Placements map[string]v1.Placement
	// Preparations are the starts to prepare of units that are about to be moved here; nil: they are not known yet.
	Preparations map[string]v1.Preparation
	// CutOffAt is when the machine has to consider itself cut off unless etcd answers before; zero: never.
	CutOffAt time.Time
	// Confirmed are isolated units that etcd, asked after the machine was cut off, still has placed here.
	Confirmed map[string]bool
	// Texts are the unit files of the placements, by hash.
	Texts map[string]Text
	// Relations are those of placed units whose text is available.
	Relations map[string]Relations
	// Files are the hashes of the unit files on disk.
	Files map[string]string
	// Refused maps names in Placements, Files and Records that are not valid unit names to the reason: another version
	// accepted them. systemd is never asked about them.
	Refused map[string]string
	// Foreign maps placed units that the machine has without fleet to their origin.
	Foreign map[string]string
	// Units are systemd's states of the units in Placements, Files and Records, and of the units they bind to.
	Units map[string]SystemdUnit
	// Held are the units with a file in v1.HeldDir.
	Held map[string]bool
	// Ports are the variables of units with automatic ports: the texts of the files in v1.PortsDir.
	Ports map[string]string
	// Images are the images that the placed units' files name.
	Images map[string]Images
	// Pulls are the pulls of images. NoPulls: there is nothing to pull with, and units pull by themselves.
	Pulls   map[PullKey]Pull
	NoPulls bool
	// Booted are the placements of before the machine booted, if this is the first fleetd since.
	Booted map[string]v1.Placement
	// Outputs are the last lines logged by units that failed.
	Outputs map[string]Output
	// Records is what was done since boot.
	Records map[string]Record
	// States are the states last reported. StatesRead: those of an earlier fleetd are among them.
	States     map[string]v1.UnitState
	StatesRead bool
	// Holds maps units without a placement to the deadline until which they run on, unless their replacement is active
	// before.
	Holds map[string]time.Time
	// GivenUp are units found here (see Record.Found) that run elsewhere now, or were deleted.
	GivenUp map[string]bool
	// ReloadDue: the last reload failed, so systemd may not have read the files.
	ReloadDue bool
}

// Text is what a plan needs of a unit file.
type Text struct {
	// FileHash is the hash of the file written for systemd: the text, with a section header added if options precede the
	// first section.
	FileHash string
	// Missing is why the text is unavailable; empty if it is available.
	Missing string
}

// Output is what a unit logged last.
type Output struct {
	Text string
	// Pending: a reading is requested.
	Pending bool
}

// SystemdUnit is the state of a unit in systemd. The zero value is a unit that systemd was not asked about.
type SystemdUnit struct {
	LoadState, ActiveState, SubState string
	// Job is the type of the queued or running job; JobResult is the result of the last one that was requested.
	Job                             string
	Result, InvocationID, JobResult string
	Since                           time.Time
	// Restarts is how often systemd has restarted it since its last requested start.
	Restarts int
	Exit     Exit
	// Err is why systemd reported no state. NoUnit: systemd does not accept the name.
	Err    string
	NoUnit bool
}

// Exit is how the unit's last main process, or a command that failed before it, ended; zero while the main process runs.
type Exit struct {
	Code    string // exited, killed, dumped
	Status  int
	Command string // ExecStartPre, ...; empty for the main process
	Started time.Time
}

// up reports whether it runs or systemd is about to start it.
func (u SystemdUnit) up() bool {
	return u.active() || u.ActiveState == "activating" || u.Job == "start" || u.Job == "restart"
}

// active reports whether starting a unit that binds to it starts nothing else.
func (u SystemdUnit) active() bool {
	return u.ActiveState == "active" || u.ActiveState == "reloading" || u.ActiveState == "refreshing"
}

func (u SystemdUnit) failed() bool { return u.ActiveState == "failed" }

// runsPrevious reports whether the process is still that of before the last launch.
func (u SystemdUnit) runsPrevious(rec Record) bool {
	return rec.Previous != "" && u.InvocationID == rec.Invocation
}

// stopping reports whether it is going down already.
func (u SystemdUnit) stopping() bool {
	return u.Job == "stop" || u.ActiveState == "deactivating" && u.Job == ""
}

// Record is what was done with a unit since boot. It survives restarts of fleetd.
type Record struct {
	// Found: its file was here before fleetd was on this machine, as the original leaves them. It is left alone until etcd says
	// where it belongs.
	Found bool `json:"found,omitempty"`
	// Loaded is the hash of the text that systemd has loaded.
	Loaded string `json:"loaded,omitempty"`
	// Enabled: the links that its [Install] section asks for were made.
	Enabled bool `json:"enabled,omitempty"`
	// Launched is the hash it was started with; empty if it was never started or stopped since.
	Launched string `json:"launched,omitempty"`
	// Stopped: the last request was a stop.
	Stopped bool `json:"stopped,omitempty"`
	// RequestedAt is the last of the placement's requests that was acted on.
	RequestedAt string `json:"requestedAt,omitempty"`
	// Pending: the launch was about to be requested; the invocation shows whether it was.
	Pending bool `json:"pending,omitempty"`
	// Invocation and Previous are the unit's invocation before the launch and the hash it ran with.
	Invocation string `json:"invocation,omitempty"`
	Previous   string `json:"previous,omitempty"`
	// Target is the invocation of the unit it binds to when both were last seen active.
	Target string `json:"target,omitempty"`
	// Lacks are the units that its last start needed and that were not on this machine, separated by spaces.
	Lacks string `json:"lacks,omitempty"`
	// Isolated: it was stopped because the machine was cut off. It is started again once etcd has confirmed its placement.
	Isolated bool `json:"isolated,omitempty"`
	// Message is the error with which systemd refused.
	Message string `json:"message,omitempty"`
	// JobResult is how the last start ended if the unit did not run, see v1.UnitState.
	JobResult string `json:"jobResult,omitempty"`
	// Failing: an event reported its failure, and none its recovery yet.
	Failing bool `json:"failing,omitempty"`
}

// Kind is the type of an action.
type Kind string

// The kinds of actions.
const (
	Hold        Kind = "hold" // keep it from being started by anything
	Release     Kind = "release"
	Stop        Kind = "stop"
	ResetFailed Kind = "resetFailed"
	Unlink      Kind = "unlink"
	RemoveFile  Kind = "removeFile"
	RemovePorts Kind = "removePorts"
	WritePorts  Kind = "writePorts" // the variables with the unit's automatic ports
	WriteFile   Kind = "writeFile"
	Link        Kind = "link"
	Enable      Kind = "enable" // make the links of its [Install] section
	Reload      Kind = "reload"
	Start       Kind = "start"
	Restart     Kind = "restart"
	Note        Kind = "note"   // only update the record
	Forget      Kind = "forget" // drop the record
	WriteState  Kind = "writeState"
	DeleteState Kind = "deleteState"
	Tell        Kind = "tell" // record an event
	PullImage   Kind = "pullImage"
)

// The reasons of actions.
const (
	NotPlaced       = "NotPlaced"       // the unit is not placed on this machine any more
	SetLoaded       = "SetLoaded"       // the unit is to be loaded, not launched: it is stopped once
	NewPlacement    = "NewPlacement"    // the unit is new on this machine
	FileChanged     = "FileChanged"     // the unit's file changed
	Installed       = "Installed"       // the links that the unit's section [Install] asks for are made, or removed
	FileLost        = "FileLost"        // the unit's file on the disk is not what was written
	CutOff          = "CutOff"          // the machine is cut off from etcd, and the unit has OnPartition=stop
	Forgotten       = "Forgotten"       // systemd must forget a unit that is gone, and that others mention
	NameRefused     = "NameRefused"     // systemd refuses the name
	NotLaunched     = "NotLaunched"     // the unit was not launched with this file since the machine booted
	Requested       = "Requested"       // a person asked for it to be started
	TargetReturned  = "TargetReturned"  // the unit that it binds to stopped, and runs again
	NeededCame      = "NeededCame"      // it could not be started without another unit, which has come to this machine since
	AlreadyRuns     = "AlreadyRuns"     // the unit runs already: fleetd does not start it again
	LaunchConfirmed = "LaunchConfirmed" // the start that fleetd asked for before it ended took effect
	WithTarget      = "WithTarget"      // systemd restarts it together with the unit that it binds to
	StateChanged    = "StateChanged"    // systemd reports a new state of the unit
	StartEnded      = "StartEnded"      // the start is over, and the unit does not run
	LeftAlone       = "LeftAlone"       // the unit's file was here before fleetd, and no unit of this name has a place yet: it is left as it is
	TakenOver       = "TakenOver"       // the unit ran here before fleetd did: it goes on, or is restarted once where its file differs
	Recovered       = "Recovered"       // the unit failed, and has run for a while since
	FailedReason    = "Failed"          // the unit failed, and systemd does not start it again
	RestartingAgain = "Restarting"      // the unit failed, and systemd starts it again
	ImageWanted     = "ImageWanted"     // the unit's image is pulled, before it is started or changed
	PortsAssigned   = "PortsAssigned"   // the variables with the unit's automatic ports are written
	PullFailed      = "PullFailed"      // the unit's image cannot be pulled: the message says it in the words of docker or podman, and whether an older image is used
	NotStarted      = "NotStarted"      // systemd did not even try to start the unit, such as for a dependency
)

// Action is one step of a plan.
type Action struct {
	Kind   Kind
	Unit   string
	Reason string
	// Hash is the hash of the text to write, Ports what to write of its ports.
	Hash  string
	Ports v1.Assignment
	// Record is the unit's record after the action has succeeded.
	Record Record
	// State is the state to report.
	State v1.UnitState
	// Units are the units that a reload is for.
	Units []string
	// Event is the event to record.
	Event v1.Event
	// Pull and Image are what to pull, and for which start.
	Pull  PullKey
	Image unitfile.Image

	// level orders starts: lower levels first.
	level int
}

// Decision is what to do, in order, and when to look again.
type Decision struct {
	Actions []Action
	After   time.Duration
}

// kinds is the order of actions. Holds come before anything that could start the unit; stops before starts that may need
// their place.
var kinds = []Kind{PullImage, Hold, Stop, ResetFailed, Unlink, RemoveFile, RemovePorts, WritePorts, WriteFile, Link, Enable, Reload, Release, Note, Start, Restart, Forget,
	WriteState, DeleteState, Tell}

// Plan decides how to make systemd match the placements.
func Plan(in Input) Decision {
	p := planner{in: in, reloads: map[string]bool{}, acted: map[string]bool{}, linked: map[string]bool{}, launching: map[string]bool{}, restarting: map[string]bool{}, halting: map[string]bool{},
		pulls: map[PullKey]v1.Prepared{}, prepared: map[string]v1.Prepared{}, waiting: map[string]string{}, unknownYet: map[string]bool{}}
	names := p.names()
	levels := p.levels(names)
	// Units that others bind to come first: restarting them restarts the others.
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(levels[a], levels[b]) })
	for _, name := range names {
		pl, placed := p.placed(name)
		switch why := in.Refused[name]; {
		case why != "":
			p.refuse(name, pl, placed, why)
		case placed:
			p.place(name, pl)
		default:
			p.prepare(name, in.Preparations[name])
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

// rank orders the kinds; starts and restarts rank equally.
func rank(a Action) int {
	if a.Kind == Restart {
		return slices.Index(kinds, Start)
	}
	return slices.Index(kinds, a.Kind)
}

// levelOrder puts dependencies first for starts, last for stops.
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
	reload  string
	reloads map[string]bool // units whose file changed
	// acted are the units with an action: their state in systemd is about to change.
	acted map[string]bool
	// linked are the units that this plan gives to systemd.
	linked map[string]bool
	// launching are the units that are started or restarted. restarting are those whose restart also restarts the
	// running units that bind to them.
	launching, restarting map[string]bool
	// halting are the units being stopped.
	halting map[string]bool
	// pulls are the images that were looked at; prepared is what to report of them, waiting which units wait for one, and why.
	pulls    map[PullKey]v1.Prepared
	prepared map[string]v1.Prepared
	waiting  map[string]string
	// unknownYet are the units whose state cannot be told before the earlier one is read.
	unknownYet map[string]bool
}

func (p *planner) act(a Action) {
	switch a.Kind {
	case Stop, ResetFailed, Unlink, Link, Start, Restart:
		p.acted[a.Unit] = true
	}
	p.linked[a.Unit] = p.linked[a.Unit] || a.Kind == Link
	p.launching[a.Unit] = p.launching[a.Unit] || a.Kind == Start || a.Kind == Restart
	p.restarting[a.Unit] = p.restarting[a.Unit] || a.Kind == Restart
	p.halting[a.Unit] = p.halting[a.Unit] || a.Kind == Stop
	p.actions = append(p.actions, a)
}

// lookAgain schedules the next plan no later than after.
func (p *planner) lookAgain(after time.Duration) {
	if p.after == 0 || after < p.after {
		p.after = after
	}
}

// placed returns a unit's placement; an inactive one counts as none.
func (p *planner) placed(name string) (v1.Placement, bool) {
	pl, ok := p.in.Placements[name]
	return pl, ok && pl.DesiredState != v1.Inactive
}

func (p *planner) names() []string {
	all := map[string]bool{}
	for name := range p.in.Placements {
		all[name] = true
	}
	for name := range p.in.Preparations {
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
	for name := range p.in.Ports {
		all[name] = true
	}
	return slices.Sorted(maps.Keys(all))
}
