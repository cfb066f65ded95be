package instance

import (
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// State is how far an instance has come. It is the reason of conditions, too.
type State string

// The states of an instance. All but Ready and Done say why it is not ready.
const (
	Stopped     State = "Stopped"           // it was stopped by hand: fleetctl start starts it
	Pending     State = "Pending"           // the scheduler has not looked at it
	Unplaced    State = "Unplaced"          // no machine fits
	MachineAway State = "MachineAway"       // its machine is not present
	NotReported State = "NotReported"       // its machine has not reported it
	NotActive   State = "NotActive"         // it does not run, for a reason that may pass
	Starting    State = "Starting"          // it is being started
	Restarts    State = "Restarting"        // it ended, and systemd starts it again
	RestartLoop State = "RestartLoop"       // it ends again and again, and systemd starts it again
	Failed      State = "Failed"            // it failed, and systemd does not start it again
	Exited      State = "Exited"            // it ended with success, and is not Type=oneshot
	Outdated    State = "OutOfDate"         // it is to be replaced by the accepted revision, or to be restarted
	Withdrawn   State = "Withdrawn"         // it is kept out of the routers, to be replaced
	Moving      State = "Moving"            // it is kept out of the routers, to leave its machine
	Settling    State = "Settling"          // it is active, and not for update.minReady so far
	Unannounced State = "NotAnnounced"      // it is active, and has no endpoint: its health check fails, or its sidekick does not run
	Unrouted    State = "WaitingForRouters" // it has an endpoint that not every router serves
	Done        State = "Done"              // a oneshot that ended with success
	Ready       State = "Ready"             // it is active and, where announced, served by every router
)

// IsReady: there is nothing left to do for the instance.
func (s State) IsReady() bool { return s == Ready || s == Done }

// Final: waiting changes nothing; something has to be done first.
func (s State) Final() bool {
	return s == RestartLoop || s == Failed || s == Exited || s == Stopped
}

// Input is what is known of one instance; of a global app, of the one on one machine.
type Input struct {
	Now time.Time
	// Hash and SidekickHash are the files that it should have; SidekickHash is "" where it is not announced.
	Hash, SidekickHash string
	// MinReady is how long it has to be active where it is not announced.
	MinReady time.Duration
	// Oneshot: it is a job that ends.
	Oneshot bool
	// Stopped and SidekickStopped are what a person asked for: that it does not run, that it is not announced.
	Stopped, SidekickStopped bool
	// Unit and Sidekick are the stored units; nil where there are none.
	Unit, Sidekick *v1.Unit
	// Placed: it has a machine; Away: that is not there. Unplaced is why it has none, or cannot have its new file; Crowded
	// says that instances of the same app are about to make room.
	Placed, Away, Crowded bool
	Unplaced              *v1.Unplaced
	// State is what its machine says of it; nil for nothing.
	State *v1.UnitState
	// Endpoint: it is announced. Behind are the routers that live and do not serve that, sorted.
	Endpoint bool
	Behind   []string
}

// Progress is how far an instance has come.
type Progress struct {
	State State
	// Active: its process runs, with whatever file.
	Active bool
	// Work is how far its process and its endpoint are, whatever file it has.
	Work State
	// Serves: it does its work, with whatever file. Where it is announced, not every router needs to know so far.
	Serves bool
	// After is when the passing of time alone may change that; 0 for never.
	After time.Duration

	in Input
}

// Of decides how far an instance has come.
func Of(in Input) Progress {
	p := Progress{in: in, Active: IsActive(in.State)}
	p.Work = p.work()
	p.Serves = p.Work.IsReady() || p.Work == Unrouted
	p.State = p.state()
	return p
}

// work is how far the process and its endpoint are, whatever file it has.
func (p *Progress) work() State {
	in := p.in
	answered := in.Unit == nil || in.State != nil && in.Unit.Spec.RequestedAt == in.State.RequestedAt
	switch ActivityOf(in.State) {
	case Unreported:
		return NotReported
	case Active:
	case Ended:
		switch {
		case !answered:
			return Starting
		case in.Oneshot:
			return Done
		}
		return Exited
	case Failing:
		if !answered {
			return Starting
		}
		return Failed
	case Restarting:
		if in.State.Restarts >= LoopRestarts {
			return RestartLoop
		}
		return Restarts
	case Activating:
		if in.State.Restarts >= LoopRestarts {
			return RestartLoop
		}
		return Starting
	default:
		return NotActive
	}
	return p.running()
}

// running is how far an instance is that is active.
func (p *Progress) running() State {
	in := p.in
	announces := p.announces()
	unstable := unstable(in.State, in.Now, p.touched(), in.MinReady)
	switch {
	case in.Oneshot && in.State.SubState == "exited" && !announces:
		return Done
	case in.State.Restarts >= LoopRestarts && unstable > 0:
		p.After = unstable
		return RestartLoop
	case announces && in.Sidekick.Spec.DesiredState != v1.Launched:
		return Withdrawn
	case announces && !in.Endpoint:
		return Unannounced
	case announces && len(in.Behind) > 0:
		return Unrouted
	case !announces && unstable > 0:
		p.After = unstable
		return Settling
	}
	return Ready
}

// announces: requests reach it by its endpoint, as it is now.
func (p *Progress) announces() bool { return p.in.Sidekick != nil && !p.in.SidekickStopped }

// touched is when a roll-out, a restart or a drain last touched it.
func (p *Progress) touched() time.Time {
	return p.Rollout().Since
}

// Rollout is how far a roll-out, a restart or a drain is with it.
func (p *Progress) Rollout() v1.Rollout { return v1.RolloutOf(p.in.Unit, p.in.Sidekick) }

// Input is what the progress was made from.
func (p *Progress) Input() *Input { return &p.in }

// Filed: its stored units have the files that they should have.
func (in *Input) Filed() bool {
	return hash(in.Unit) == in.Hash && hash(in.Sidekick) == in.SidekickHash
}

func hash(u *v1.Unit) string {
	if u == nil {
		return ""
	}
	return u.Spec.Hash
}

// Updated: they are so on the machine, too.
func (in *Input) Updated() bool {
	return in.Filed() && in.State != nil && in.State.Hash == in.Hash
}

// state puts together what is wanted and how far the process is.
func (p *Progress) state() State {
	in, work := &p.in, p.Work
	switch {
	case in.Stopped:
		return Stopped
	case !in.Placed && in.Unplaced != nil && !in.Crowded:
		return Unplaced
	case !in.Placed:
		return Pending
	case in.Away:
		return MachineAway
	case work == NotReported:
		return NotReported
	case !in.Filed():
		return Outdated
	case !in.Updated() && (in.State.Hash != "" || p.Active): // a refused unit has no file there
		if in.Unplaced != nil {
			return Unplaced // its new file fits nowhere; the former one goes on
		}
		return Outdated
	case work == Withdrawn && p.Rollout().From != "":
		return Moving
	}
	return work
}

// Why is one sentence on the state.
func (p *Progress) Why() string {
	in := p.in
	switch p.State {
	case Stopped:
		return "stopped by a person: start it again with fleetctl start"
	case Pending:
		if in.Unplaced != nil {
			return "about to be placed where an instance of before makes room: " + in.Unplaced.Message
		}
		return "about to be placed"
	case Unplaced:
		return in.Unplaced.Message
	case MachineAway:
		return "its machine is not there"
	case NotReported:
		return "its machine has not reported it"
	case Outdated:
		switch {
		case in.State.Message != "":
			return "about to be replaced: " + in.State.Message
		case !p.Active:
			return "about to be replaced; the version before is " + describe(in.State)
		}
		return "about to be replaced"
	case Withdrawn:
		return "in no router, about to be replaced"
	case Moving:
		return "in no router, to leave " + ShortMachine(p.Rollout().From)
	case Settling:
		return "active for less than " + StableAfter(in.MinReady, in.State.Restarts).String()
	case Unannounced:
		return "active, but not announced: its health check does not pass, or has not so far"
	case Unrouted:
		return "announced, but not served so far by the routers on " + Names(in.Behind)
	case Exited:
		return "ended with success and is not started again: a job that ends needs Type: oneshot in spec.unit.Service"
	case RestartLoop:
		return "in a restart loop: " + describe(in.State)
	case Done:
		return "done: it ended with success"
	case Ready:
		return "ready"
	}
	return describe(in.State)
}

// ShortMachine cuts an ID as list-machines does.
func ShortMachine(id string) string {
	if len(id) > 8 {
		return id[:8] + "..."
	}
	return id
}

// Names lists a few machines.
func Names(machines []string) string {
	const few = 3
	short := make([]string, 0, few)
	for _, m := range machines[:min(few, len(machines))] {
		short = append(short, ShortMachine(m))
	}
	text := strings.Join(short, ", ")
	if len(machines) > few {
		text += " and more"
	}
	return text
}

// OneshotSpec tells whether the instances of an app are jobs that end: Type=oneshot in its further options.
func OneshotSpec(s *v1.AppSpec) bool {
	types := s.Unit["Service"]["Type"]
	return len(types) > 0 && types[len(types)-1] == "oneshot"
}

// Matches tells whether a machine's metadata is what placement rules ask for.
func Matches(rules *v1.PlacementRules, metadata map[string]string) bool {
	if rules == nil {
		return true
	}
	for key, values := range rules.MachineMetadata {
		if value, ok := metadata[key]; !ok || !slices.Contains(values, value) {
			return false
		}
	}
	return true
}

// MinReady is how long the instances of an app have to be active; of a revision that an older fleetd wrote, the default.
func MinReady(s *v1.AppSpec) time.Duration {
	if s.Update == nil || s.Update.MinReady == 0 {
		return v1.DefaultMinReady
	}
	return s.Update.MinReady.Std()
}
