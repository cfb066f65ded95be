package app

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// While instances are replaced, restarted or moved, others are started beside them: the first of those goes only when one beside it
// is ready. They have the lowest numbers above spec.replicas that are free, and are removed when all is done: the instances
// themselves keep their numbers, which other units and people name (MachineOf=app@%i.service, fleetctl stop app@1). Nothing marks
// them: they are what there is above spec.replicas for as long as something has to be taken away.

// besides finds the instances beside the wanted ones, and adds those that are missing.
func (p *planner) besides() {
	p.leeway = p.revision.Spec.Leeway(p.in.App)
	if slices.ContainsFunc(p.all, p.needsRoom) {
		p.leeway.Surge, p.leeway.Unavailable = 0, max(p.leeway.Unavailable, 1)
		p.leeway.InPlace = "an instance has room with its new file only where the one beside it would be"
	}
	if p.revision.Spec.Global || p.leeway.Surge == 0 || p.changesMode() || !p.leeway.Chosen && slices.ContainsFunc(p.all, crowdedOut) {
		return
	}
	p.crowd = len(p.surplus) > 0
	begun, waiting := p.changing()
	most := min(p.leeway.Surge, begun+waiting)
	for _, i := range slices.Backward(p.surplus) { // lowest numbers first
		if is := p.member(i.number); int32(len(p.beside)) < most && is.wanted() && is.taken == "" {
			is.beside = true
			p.beside = append(p.beside, is)
		}
	}
	p.surplus = slices.DeleteFunc(p.surplus, func(i *replica) bool {
		return slices.ContainsFunc(p.beside, func(b *replica) bool { return b.number == i.number })
	})
	for n := p.revision.Spec.Instances() + 1; int32(len(p.beside)) < min(p.leeway.Surge, waiting); n++ {
		if i := p.member(n); i.unit.stored == nil && i.sidekick.stored == nil && i.taken == "" && !p.isTried(n) {
			i.beside = true
			p.beside = append(p.beside, i)
		}
	}
}

// needsRoom reports whether the new file of an instance fitted nowhere while another one was beside it. One that a manifest asks for
// stays all the same.
func (p *planner) needsRoom(i *replica) bool {
	return !p.leeway.Chosen && i.wanted() && !i.updated() && i.unit.stored != nil && i.unit.stored.Next.Alone && i.unit.stored.Next.Hash == i.unit.hash
}

// crowdedOut reports whether an instance that is being replaced has no room with its new file. One beside it may have taken that.
func crowdedOut(i *replica) bool {
	return i.wanted() && i.updated() && i.rollout.UnderWay() && i.how.State == instance.Unplaced
}

// changing counts the wanted instances that have been taken away and are not back yet, and those that do their work and are to be
// taken away. For one that does no work, or stays because its new file fits nowhere, nothing has to stand in.
func (p *planner) changing() (begun, waiting int32) {
	for _, i := range p.all {
		switch {
		case !i.wanted() || i.taken != "" || i.unit.stored == nil || i.how.State == instance.MachineAway:
		case i.withdrawn(), i.restarting():
			begun++
		case i.unit.is() != v1.Launched, p.fitsNowhere(i) && !p.leeway.Chosen:
		case p.serves(i) && (!i.updated() || i.unit.restart != "" || p.in.Leaving[i.unit.name] != ""):
			waiting++
		case i.rollout.UnderWay() && i.holdsUp() && !i.how.State.IsReady():
			begun++
		}
	}
	return begun, waiting
}

// pool are all instances that are brought to the revision: those beside the wanted ones come first.
func (p *planner) pool() []*replica { return slices.Concat(p.beside, p.all) }

// spare is how many of the wanted instances may be away at once: one for each instance beside them that does its work, and
// those that may be missing anyway.
func (p *planner) spare() int {
	spare := int(p.leeway.Unavailable)
	for _, i := range p.beside {
		if p.standsIn(i) {
			spare++
		}
	}
	if spare == 0 && p.crampedOut() != "" {
		return 1
	}
	return spare
}

// standsIn reports whether an instance beside the others does its work, of whatever revision, and will go on with it.
func (p *planner) standsIn(i *replica) bool {
	works := i.how.Work
	if i.updated() {
		works = i.how.State
	}
	return p.isThere(i, works) && !p.goes(i) && p.in.Leaving[i.unit.name] == ""
}

// goes reports whether an instance still does its work, but only until its machine acts on what was written.
func (p *planner) goes(i *replica) bool {
	if !i.rollout.UnderWay() || i.unit.stored == nil || !p.available(i) {
		return false
	}
	state := i.unit.state("")
	return state == nil || state.Hash != i.unit.stored.Spec.Hash || state.RequestedAt != i.unit.stored.Spec.RequestedAt
}

// crampedOut is why no instance can be beside the others after all: no machine has room for one. A manifest that says
// maxUnavailable: 0 waits for room.
func (p *planner) crampedOut() string {
	if p.leeway.Chosen || len(p.beside) == 0 {
		return ""
	}
	for _, i := range p.beside {
		if i.how.State != instance.Unplaced {
			return ""
		}
	}
	i := p.beside[0]
	return i.unit.name + " fits on no machine: " + i.how.Why()
}

// inPlace is why an instance is replaced with no other one beside it; "" where the manifest says so, or one is.
func (p *planner) inPlace() string {
	if p.leeway.InPlace != "" {
		return p.leeway.InPlace
	}
	return p.crampedOut()
}

// short reports whether more instances are away than may be, because others failed since: one that is only withdrawn has to
// return.
func (p *planner) short(spare int) bool {
	lost, out := 0, 0
	for _, i := range p.all {
		switch {
		case p.missing(i):
			lost++
		case i.withdrawn():
			out++
		}
	}
	return lost+out > spare && (lost > 0 || p.leeway.Unavailable == 0)
}
