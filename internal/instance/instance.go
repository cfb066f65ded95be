package instance

import (
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// State is how far an instance has come. It is also the reason of conditions.
type State string

// The states of an instance. All but Ready and Done say why it is not ready.
const (
	Stopped     State = "Stopped"           // it was stopped by hand: fleetctl start starts it
	Pending     State = "Pending"           // the scheduler has not considered it yet
	Unplaced    State = "Unplaced"          // no machine fits
	MachineAway State = "MachineAway"       // its machine is not present
	NotReported State = "NotReported"       // its machine has not reported it
	NotActive   State = "NotActive"         // it does not run, for a reason that may pass
	Starting    State = "Starting"          // it is being started
	Restarts    State = "Restarting"        // it ended, and systemd is about to restart it
	RestartLoop State = "RestartLoop"       // it ends again and again, and systemd keeps restarting it
	Failed      State = "Failed"            // it failed, and systemd does not restart it
	Exited      State = "Exited"            // it exited successfully, and is not Type=oneshot
	Outdated    State = "OutOfDate"         // it is about to be replaced by the accepted revision, or restarted
	Withdrawn   State = "Withdrawn"         // it is kept out of the routers, about to be replaced
	Moving      State = "Moving"            // it is kept out of the routers, about to leave its machine
	Settling    State = "Settling"          // it is active, but not yet for update.minReady
	Unannounced State = "NotAnnounced"      // it is active, and has no endpoint: its health check fails, or its sidekick does not run
	Unrouted    State = "WaitingForRouters" // it has an endpoint that not every router serves yet
	Done        State = "Done"              // it is a oneshot that exited successfully
	Ready       State = "Ready"             // it is active and, where announced, served by every router
)

// IsReady reports whether there is nothing left to do for the instance.
func (s State) IsReady() bool { return s == Ready || s == Done }

// Final reports whether waiting changes nothing, because something has to be done first.
func (s State) Final() bool {
	return s == RestartLoop || s == Failed || s == Exited || s == Stopped
}

// Input is what is known about one instance; for a global app, on one machine.
type Input struct {
	Now time.Time
	// Hash and SidekickHash are the files that it should have; SidekickHash is "" if it is not announced.
	Hash, SidekickHash string
	// MinReady is how long it has to be active if it is not announced.
	MinReady time.Duration
	// Oneshot: it is a job that ends.
	Oneshot bool
	// Stopped and SidekickStopped are what a person asked for: not to run it, not to announce it.
	Stopped, SidekickStopped bool
	// Unit and Sidekick are the stored units; nil if there are none.
	Unit, Sidekick *v1.Unit
	// Placed: it has a machine; Away: that machine is absent. Unplaced is why it has none, or cannot get its new file;
	// Crowded: old instances of the same app are about to make room.
	Placed, Away, Crowded bool
	Unplaced              *v1.Unplaced
	// State is what its machine reports of it; nil for nothing.
	State *v1.UnitState
	// Next is what another machine reports of the start that it prepares, because the instance moves there with its next file.
	Next v1.Prepared
	// Endpoint: it is announced. Behind are the live routers that do not serve it yet, sorted.
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
	// Serves: it does its work, with whatever file. If it is announced, some routers may not know yet.
	Serves bool
	// After is when time alone may change that; 0 for never.
	After time.Duration

	in Input
}

// Of computes how far an instance has come.
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
		if in.State.Prepared.State == v1.PreparedPulling {
			return Starting
		}
		return NotActive
	}
	return p.running()
}

// running is how far an active instance is.
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

// announces reports whether requests reach it by its endpoint, as it is now.
func (p *Progress) announces() bool { return p.in.Sidekick != nil && !p.in.SidekickStopped }

// touched is when a roll-out, a restart or a drain last touched it.
func (p *Progress) touched() time.Time {
	return p.Rollout().Since
}

// Rollout is the progress of a roll-out, a restart or a drain with it.
func (p *Progress) Rollout() v1.Rollout { return v1.RolloutOf(p.in.Unit, p.in.Sidekick) }

// Input returns what the progress was computed from.
func (p *Progress) Input() *Input { return &p.in }

// Filed reports whether its stored units have the files that they should have.
func (in *Input) Filed() bool {
	return hash(in.Unit) == in.Hash && hash(in.Sidekick) == in.SidekickHash
}

func hash(u *v1.Unit) string {
	if u == nil {
		return ""
	}
	return u.Spec.Hash
}

// Updated reports whether its machine runs those files, too.
func (in *Input) Updated() bool {
	return in.Filed() && in.State != nil && in.State.Hash == in.Hash
}

// Preparing is why its machine is not ready yet for its replacement or its restart; "" if there is nothing to prepare.
func (in *Input) Preparing() string {
	switch {
	case in.Unit == nil || in.Unit.Next.Preparation == (v1.Preparation{}):
		return ""
	case in.Unplaced != nil && in.Unplaced.Next:
		return in.Unplaced.Message
	case in.Next.Preparation == in.Unit.Next.Preparation:
		return in.Next.Waits()
	case in.State == nil || in.State.Prepared.Preparation != in.Unit.Next.Preparation:
		return "its machine is asked to pull its image"
	}
	return in.State.Prepared.Waits()
}

// state combines what is wanted with how far the process is.
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
			return Unplaced // its new file fits nowhere; the old one keeps running
		}
		return Outdated
	case work == Withdrawn && p.Rollout().From != "":
		return Moving
	}
	return work
}

// Why explains the state in one sentence.
func (p *Progress) Why() string {
	in := p.in
	switch p.State {
	case Stopped:
		return "stopped by hand: start it with fleetctl start"
	case Pending:
		if in.Unplaced != nil {
			return "about to be placed where an old instance makes room: " + in.Unplaced.Message
		}
		return "about to be placed"
	case Unplaced:
		return in.Unplaced.Message
	case MachineAway:
		return "its machine is not present"
	case NotReported:
		return "its machine has not reported it"
	case Outdated:
		switch {
		case in.State.Message != "":
			return "about to be replaced: " + in.State.Message
		case in.Preparing() != "":
			return "about to be replaced: " + in.Preparing()
		case !p.Active:
			return "about to be replaced; the version before is " + describe(in.State)
		}
		return "about to be replaced"
	case Withdrawn:
		return "withdrawn from the routers, about to be replaced"
	case Moving:
		return "withdrawn from the routers, about to leave " + ShortMachine(p.Rollout().From)
	case Settling:
		return "active for less than " + StableAfter(in.MinReady, in.State.Restarts).String()
	case Unannounced:
		return unannounced
	case Unrouted:
		return "announced, but not served yet by the routers on " + Names(in.Behind)
	case Exited:
		return "exited successfully and is not restarted: a job that ends needs Type: oneshot in spec.unit.Service"
	case RestartLoop:
		return "in a restart loop: " + describe(in.State)
	case Done:
		return "done: it exited successfully"
	case Ready:
		return "ready"
	}
	return describe(in.State)
}

// ShortMachine shortens an ID as list-machines does.
func ShortMachine(id string) string {
	if len(id) > 8 {
		return id[:8] + "..."
	}
	return id
}

// Names lists the first few machines.
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

// OneshotSpec reports whether the instances of an app are jobs that end: Type=oneshot in its further options.
func OneshotSpec(s *v1.AppSpec) bool {
	types := s.Unit["Service"]["Type"]
	return len(types) > 0 && types[len(types)-1] == "oneshot"
}

// Matches reports whether a machine's metadata satisfies placement rules.
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

// MinReady is how long the instances of an app have to be active. A revision that an older fleetd wrote gets the default.
func MinReady(s *v1.AppSpec) time.Duration {
	if s.Update == nil || s.Update.MinReady == 0 {
		return v1.DefaultMinReady
	}
	return s.Update.MinReady.Std()
}
