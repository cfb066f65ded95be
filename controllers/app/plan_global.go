package app

import (
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// A global app is one unit for all of its machines, and a sidekick that is another one. A roll-out or a restart comes to
// update.maxUnavailable machines at a time; both units say how far it is. Machines that it has not come to keep the file that they have,
// and the request to start it that they have answered.
// On the next one the sidekick is taken off first; when no request reaches the instance any more, the machine gets the new files, or
// the unit is taken off and comes back, for a restart.

// globalRoll is how far that is, by machine.
type globalRoll struct {
	*planner
	i        *replica
	machines []string // present machines that the unit is on
	former   []string // those that it has not come to
	out      []string // those off which the sidekick was taken
	off      []string // those off which the unit was taken
	away     int      // on how many the instance does not do its work
	reason   string   // of what is written
	rollout  v1.Rollout
}

// rollGlobal takes the next step with a global app. It reports whether others have to wait for it.
func (p *planner) rollGlobal(i *replica) (under bool) {
	if !i.updated() || i.unit.restart != "" {
		p.beginGlobal(i)
		return true
	}
	r := &globalRoll{
		planner: p, i: i, machines: p.in.Places[i.unit.name].Machines, reason: Updated, rollout: i.rollout.Back(),
		former: slices.Clone(i.former), out: list(i.sidekick.excepted()), off: list(i.unit.excepted()),
	}
	if done := len(r.former)+len(r.out)+len(r.off) == 0; done {
		if p.replace(i); p.ready(i) && !p.changesMode() {
			p.finish(i)
			return false
		}
		return i.holdsUp()
	}
	r.step()
	p.watchDeadline(i)
	return true
}

// beginGlobal begins a roll-out or a restart, with the first machines of those where the unit runs.
func (p *planner) beginGlobal(i *replica) {
	if !p.prepared(i) {
		return
	}
	if i.unit.restart != "" {
		i.unit.request, i.unit.restart = i.unit.restart, ""
	}
	r := &globalRoll{planner: p, i: i, machines: p.in.Places[i.unit.name].Machines, reason: Updated, rollout: p.begins(v1.RolloutUpdating)}
	for _, machine := range r.machines {
		if i.unit.state(machine) != nil {
			r.former = append(r.former, machine)
		}
	}
	r.step()
}

// step goes on with the machines that are under way, and begins with as many others as may be away.
func (r *globalRoll) step() {
	r.count()
	for _, machine := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(r.out, r.off)))) {
		r.goOn(machine)
	}
	var serving []string
	for _, machine := range slices.Clone(r.former) {
		if r.progressOn(r.i, machine).Serves {
			serving = append(serving, machine)
		} else {
			r.next(machine, false) // where it does no work, nothing is lost
		}
	}
	for _, machine := range serving {
		r.next(machine, true)
	}
	r.write()
}

// count counts the machines on which the instance is away because of the roll-out, or has failed where that has been.
func (r *globalRoll) count() {
	for _, machine := range r.machines {
		if slices.Contains(r.former, machine) || slices.Contains(r.out, machine) || slices.Contains(r.off, machine) {
			continue
		}
		how := r.progressOn(r.i, machine)
		r.lookAgain(how.After)
		if !how.State.IsReady() {
			r.away++
		}
	}
}

// goOn goes on with a machine off which the sidekick or the unit was taken.
func (r *globalRoll) goOn(machine string) {
	r.away++
	unit := &r.i.unit
	stops := slices.Contains(r.off, machine)
	switch {
	case slices.Contains(r.out, machine) && !r.goneFrom(r.i, machine):
	case r.stopsFirst(machine) && !stops:
		r.off = append(r.off, machine)
		r.steps(Restarted)
	case stops && (slices.Contains(r.machines, machine) || unit.state(machine) != nil):
	default:
		r.replaceOn(machine)
	}
}

// next begins with a machine, if one more may be away or it is already.
func (r *globalRoll) next(machine string, serves bool) {
	if slices.Contains(r.out, machine) || slices.Contains(r.off, machine) {
		return
	}
	switch {
	case !slices.Contains(r.machines, machine): // it is away, and gets the new file when it is back
		if !slices.ContainsFunc(r.former, func(m string) bool { return slices.Contains(r.machines, m) }) && r.away == 0 {
			r.replaceOn(machine)
		}
	case r.right(machine):
		r.replaceOn(machine)
	case r.paused() && !r.stopsFirst(machine):
	case serves && r.away >= r.revision.Spec.UnavailableOf(len(r.machines)):
	case r.i.sidekick.stored != nil && instance.IsActive(r.i.unit.state(machine)): // also where its endpoint went a moment ago
		r.away++
		r.out = append(r.out, machine)
		r.steps(WithdrawForUpdate)
	case r.stopsFirst(machine):
		r.away++
		r.off = append(r.off, machine)
		r.steps(Restarted)
	default:
		r.away++
		r.replaceOn(machine)
	}
}

// stopsFirst reports whether the unit has to be taken off a machine: it is to be restarted, and no other file restarts it.
func (r *globalRoll) stopsFirst(machine string) bool {
	state := r.i.unit.state(machine)
	return slices.Contains(r.former, machine) && instance.Up(state) && state.Hash == r.i.unit.hash && state.RequestedAt != r.i.unit.request
}

// right reports whether a machine has all that it should have.
func (r *globalRoll) right(machine string) bool {
	if r.stopsFirst(machine) {
		return false
	}
	for _, u := range []*pair{&r.i.unit, &r.i.sidekick} {
		if state := u.state(machine); u.hash != "" && (state == nil || state.Hash != u.hash) {
			return false
		}
	}
	return true
}

// replaceOn gives a machine the files that both units have now.
func (r *globalRoll) replaceOn(machine string) {
	is := func(m string) bool { return m == machine }
	r.former, r.out, r.off = slices.DeleteFunc(r.former, is), slices.DeleteFunc(r.out, is), slices.DeleteFunc(r.off, is)
	r.steps(Updated)
}

// steps notes that something is done: the deadline counts from now.
func (r *globalRoll) steps(reason string) {
	r.reason, r.rollout.Since = reason, r.in.Now.UTC()
	if !r.rollout.UnderWay() {
		r.rollout.Phase = v1.RolloutUpdating
	}
}

// write writes both units.
func (r *globalRoll) write() {
	unit, sidekick := &r.i.unit, &r.i.sidekick
	unit.former, unit.except = strings.Join(r.former, ","), strings.Join(r.off, ",")
	sidekick.former, sidekick.except = unit.former, strings.Join(r.out, ",")
	r.put(r.i, unit, r.reason, unit.hash, v1.Launched, r.rollout)
	r.putSidekick(r.i, r.reason)
}

// title is the name of an instance; of a global app, with its machine.
func (i *replica) title() string {
	if i.machine == "" {
		return i.unit.name
	}
	return i.unit.name + " on " + i.machine
}
