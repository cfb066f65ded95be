package app

import (
	"maps"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// replica is one instance of the app with its sidekick: as stored, and as it should be.
type replica struct {
	number         int32
	unit, sidekick pair
	how            instance.Progress
	machine        string     // of a global app: the machine that how is about
	former         []string   // of a global app: the machines that its roll-out has not come to
	rollout        v1.Rollout // the stored progress of its roll-out, restart or move
	beside         bool       // it is there only for a roll-out
	held           bool       // it keeps the files that it has, because the roll-out is paused
	taken          string     // its unit that has another owner: the instance is left alone until that owner gives it up
}

// pair is a unit as it is stored (nil if it is not) and as it should end up.
type pair struct {
	name    string
	stored  *StoredUnit
	states  []State
	hash    string // "": it should not exist
	desired v1.DesiredState
	request string
	restart string  // the request to stop and start it; "": none is pending
	next    v1.Next // the start to prepare, until it is made
	except  string  // the machines that it has to leave: see v1.AnnotationExcept
	former  string  // the machines that keep the file that they have: see v1.AnnotationFormer
}

// instances compares what is wanted with what exists.
func (p *planner) instances() {
	first, last := int32(1), p.revision.Spec.Instances()
	if p.revision.Spec.Global {
		first, last = 0, 0
	}
	p.all = make([]*replica, 0, last-first+1)
	for n := first; n <= last; n++ {
		p.all = append(p.all, p.member(n))
	}
	p.surplus = p.existing(func(n int32) bool { return n < first || n > last })
}

// existing returns the stored instances, highest numbers first.
func (p *planner) existing(which func(int32) bool) []*replica {
	numbers := map[int32]bool{}
	for name := range p.in.Units {
		if n, _, ok := v1.ParseAppUnit(p.in.App, name); ok && which(n) {
			numbers[n] = true
		}
	}
	var list []*replica
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(numbers))) {
		list = append(list, p.replica(n, "", ""))
	}
	return list
}

func (p *planner) replica(n int32, hash, sidekick string) *replica {
	i := &replica{number: n}
	i.unit = p.pair(v1.AppUnit(p.in.App, n), hash)
	i.sidekick = p.pair(v1.SidekickUnit(p.in.App, n), sidekick)
	if i.unit.desired != v1.Launched { // what does not run is not announced
		i.sidekick.desired = i.unit.desired
	}
	if _, own := p.in.Overrides[i.sidekick.name]; !own && i.unit.request != "" {
		i.sidekick.request = i.unit.request
	}
	i.former = list(i.unit.formerly())
	i.how, i.machine = p.progress(i)
	i.rollout = v1.RolloutOf(i.unit.unit(), i.sidekick.unit())
	for _, u := range []*pair{&i.unit, &i.sidekick} {
		if _, taken := p.in.Taken[u.name]; taken && u.hash != "" {
			i.taken = u.name
		}
	}
	return i
}

// progress is how far an instance is; for a global app, on the first machine where it is not ready, of those that its roll-out has
// come to.
func (p *planner) progress(i *replica) (how instance.Progress, machine string) {
	if i.number > 0 || len(p.in.Places[i.unit.name].Machines) == 0 {
		return p.progressOn(i, ""), ""
	}
	for n, m := range p.in.Places[i.unit.name].Machines {
		if n > 0 && slices.Contains(i.former, m) {
			continue
		}
		if how, machine = p.progressOn(i, m), m; !how.State.IsReady() && !slices.Contains(i.former, m) {
			break
		}
	}
	return how, machine
}

// progressOn is how far an instance is; for a global app, on that machine.
func (p *planner) progressOn(i *replica, machine string) instance.Progress {
	spec, place := &v1.AppSpec{}, p.in.Places[i.unit.name]
	if p.revision != nil {
		spec = &p.revision.Spec
	}
	in := instance.Input{
		Now: p.in.Now, Hash: i.unit.hash, SidekickHash: i.sidekick.hash, MinReady: instance.MinReady(spec), Oneshot: instance.OneshotSpec(spec),
		Stopped: i.unit.hash != "" && i.unit.desired != v1.Launched, SidekickStopped: i.sidekick.desired != v1.Launched,
		Placed: place.Away || len(place.Machines) > 0, Away: place.Away, Unplaced: place.Unplaced, State: i.unit.state(machine),
		Unit: i.unit.unit(), Sidekick: i.sidekick.unit(),
	}
	name := v1.EndpointName(p.in.App, i.number)
	if i.number == 0 {
		name = v1.GlobalEndpointName(p.in.App, machine)
		if i.unit.stored != nil && p.untouched(i, machine) {
			in.Unit = &v1.Unit{Spec: in.Unit.Spec}
		}
	}
	if revision, ok := p.in.Endpoints[name]; ok {
		in.Endpoint, in.Behind = true, v1.RoutersBehind(p.in.Routers, v1.EndpointSet{Prefix: spec.AnnouncePrefix(), Revision: revision})
	} else if _, ok := p.in.Former[name]; ok && !in.Filed() {
		in.Endpoint = true
	}
	return instance.Of(in)
}

// untouched reports whether nothing is to happen to a global app on that machine: its roll-out has not come there, or that is done.
func (p *planner) untouched(i *replica, machine string) bool {
	state, spec := i.unit.state(machine), i.unit.stored.Spec
	return slices.Contains(i.former, machine) || state != nil && state.Hash == spec.Hash && state.RequestedAt == spec.RequestedAt
}

func (p *planner) pair(name, hash string) pair {
	u := pair{name: name, hash: hash, desired: v1.Launched, states: p.in.States[name]}
	if stored, ok := p.in.Units[name]; ok {
		u.stored = &stored
		u.request = stored.Spec.RequestedAt
		if stored.Next.Hash == hash { // of an earlier revision nothing is needed any more
			u.next = stored.Next
		}
		if hash == "" { // the wanted hash leaves no sidekick
			u.except, u.former = u.excepted(), u.formerly()
		}
	}
	if o, ok := p.in.Overrides[name]; ok {
		if o.DesiredState != "" {
			u.desired = o.DesiredState
		}
		switch {
		case o.RequestedAt == "" || o.RequestedAt == u.request:
		case o.Restart && (u.up() || p.in.Places[name].Away), u.refused():
			u.restart = o.RequestedAt
		case o.Restart && u.is() == v1.Loaded: // it was stopped for the restart
			u.restart, u.request = o.RequestedAt, o.RequestedAt
		default:
			u.request = o.RequestedAt
		}
	}
	return u
}

// unit is the stored unit; nil if there is none.
func (u *pair) unit() *v1.Unit {
	if u.stored == nil {
		return nil
	}
	return u.stored.Unit
}

// is returns the desired state of the stored unit; inactive if there is none.
func (u *pair) is() v1.DesiredState {
	if u.stored == nil {
		return v1.Inactive
	}
	return u.stored.Spec.DesiredState
}

// current reports whether the stored unit has the file that it should have, or rightly does not exist.
func (u *pair) current() bool {
	if u.stored == nil {
		return u.hash == ""
	}
	return u.stored.Spec.Hash == u.hash
}

// up reports whether it runs somewhere, or is starting or stopping.
func (u *pair) up() bool {
	return slices.ContainsFunc(u.states, func(s State) bool { return instance.Up(s.UnitState) })
}

// refused reports whether it runs with an old file because its machine could not restart it with the new one. Starting it
// then means restarting it.
func (u *pair) refused() bool {
	return u.stored != nil && slices.ContainsFunc(u.states, func(s State) bool {
		return instance.Up(s.UnitState) && s.Hash != u.stored.Spec.Hash && s.Message != ""
	})
}

// state is what that machine reports of the unit. "" stands for the machine that matters most: where it runs with the file
// that it should have, else where it runs, else the one that reported last.
func (u *pair) state(machine string) *v1.UnitState {
	var state *v1.UnitState
	for _, s := range u.states {
		switch {
		case machine != "" && s.Machine != machine:
		case state == nil || !instance.IsActive(state) || instance.IsActive(s.UnitState) && s.Hash == u.hash:
			state = s.UnitState
		}
	}
	return state
}

// wanted reports whether it should run and was not stopped by hand.
func (i *replica) wanted() bool { return i.unit.hash != "" && i.unit.desired == v1.Launched }

// updated reports whether both units are of the revision.
func (i *replica) updated() bool { return i.unit.current() && i.sidekick.current() }

// withdrawn reports whether it is kept out of the routers although it should be in them, because it is being replaced.
func (i *replica) withdrawn() bool {
	return i.wanted() && i.sidekick.stored != nil && i.sidekick.is() != v1.Launched && i.announces()
}

// announces reports whether it has an endpoint once it is up to date, unless a person stopped its sidekick.
func (i *replica) announces() bool {
	return i.sidekick.hash == "" || i.sidekick.desired == v1.Launched
}

// announced reports whether the instance has an endpoint, also at an earlier revision's prefix; for a global app, on any
// machine.
func (p *planner) announced(i *replica) bool {
	for _, endpoints := range []map[string]int64{p.in.Endpoints, p.in.Former} {
		if i.number > 0 {
			if _, ok := endpoints[v1.EndpointName(p.in.App, i.number)]; ok {
				return true
			}
			continue
		}
		numbered := 0 // endpoints of instances that have their own unit
		for name := range p.in.Units {
			if n, sidekick, ok := v1.ParseAppUnit(p.in.App, name); ok && !sidekick && n > 0 {
				if _, ok := endpoints[v1.EndpointName(p.in.App, n)]; ok {
					numbered++
				}
			}
		}
		if len(endpoints) > numbered {
			return true
		}
	}
	return false
}

// available reports whether it does its work, of whatever revision.
func (p *planner) available(i *replica) bool { return i.how.Serves }

// ready reports whether an updated instance does its work. If it only needs more time, it requests another plan for then.
func (p *planner) ready(i *replica) bool {
	return p.isThere(i, i.how.State)
}

// isThere reports whether an instance that is so far is ready. If it only needs more time, or the routers, another plan is made then.
func (p *planner) isThere(i *replica, is instance.State) bool {
	p.lookAgain(i.how.After)
	p.waiting = p.waiting || is == instance.Unrouted
	return is.IsReady()
}

// holdsUp reports whether others have to wait until the instance is ready. One whose name is taken, or that has no present
// machine, cannot become ready and does not count, unless a roll-out caused that.
func (i *replica) holdsUp() bool {
	if i.taken != "" {
		return false
	}
	switch i.how.State {
	case instance.MachineAway:
		return false
	case instance.Unplaced:
		return i.rollout.UnderWay()
	}
	return true
}

// nowhere reports whether no machine has it or is about to, so that changing it costs nothing.
func (p *planner) nowhere(i *replica) bool {
	return (i.how.State == instance.Pending || i.how.State == instance.Unplaced) && len(i.unit.states) == 0 && !p.announced(i)
}

// gone reports whether no request reaches the instance any more: its sidekick runs nowhere, its endpoint is deleted, and
// every router with a lease has applied that and has no request under way. With no routers there is nothing to wait for.
func (p *planner) gone(i *replica) bool {
	if i.sidekick.stored == nil {
		return true
	}
	if p.announced(i) || i.sidekick.up() || !p.answered(&i.sidekick) {
		return false
	}
	name := p.in.App + "/" // of a global app: any of its endpoints
	if i.number > 0 {
		name = v1.EndpointName(p.in.App, i.number)
	}
	return p.unrouted(name)
}

// unrouted reports whether no router sends requests to an endpoint that is deleted, and none has requests under way to it. name
// is what follows the announce prefix; with a slash at its end, all below.
func (p *planner) unrouted(name string) bool {
	if len(v1.RoutersBehind(p.in.Routers, p.in.EndpointSets...)) > 0 || len(v1.RoutersDraining(p.in.Routers, name)) > 0 {
		p.waiting = true
		return false
	}
	return true
}

// answered reports whether each machine that the unit is placed on has answered the stored desired state. A machine that
// answered an earlier one may be about to change, and one that has not reported may be starting it. A machine that is away is
// not waited for, nor is one for a unit that fits nowhere.
func (p *planner) answered(u *pair) bool {
	place := p.in.Places[u.name]
	silent := slices.ContainsFunc(place.Machines, func(machine string) bool { return u.state(machine) == nil })
	placed := len(place.Machines) > 0 || place.Away || place.Unplaced != nil || u.is() == v1.Inactive
	return placed && !silent && !p.answeredEarlier(u)
}

// answeredEarlier reports whether a machine that the unit is placed on has answered only an earlier desired state.
func (p *planner) answeredEarlier(u *pair) bool {
	place := p.in.Places[u.name]
	if u.is() == v1.Inactive { // it should run nowhere: a machine that had it forgets it
		return len(place.Machines)+len(u.states) > 0
	}
	return slices.ContainsFunc(place.Machines, func(machine string) bool {
		state := u.state(machine)
		return state != nil && state.DesiredState != "" && state.DesiredState != u.is()
	})
}
