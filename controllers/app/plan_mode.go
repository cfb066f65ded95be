package app

import (
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// A change from replicas to global, or back, replaces all instances. The new ones may need ports that the old ones hold. Then
// one old instance leaves its machine at a time, and the next one leaves when the one that takes its place is ready.

// roomPause is how long the scheduler gets to notice that a machine has room.
const roomPause = 5 * time.Second

// changesMode reports whether there are instances of the other mode.
func (p *planner) changesMode() bool {
	return slices.ContainsFunc(p.surplus, func(i *replica) bool { return (i.number == 0) != p.revision.Spec.Global })
}

// changeMode takes one step of the change.
func (p *planner) changeMode() {
	for _, i := range p.surplus { // finish what has begun
		if i.sidekick.stored != nil && i.sidekick.is() != v1.Launched {
			p.removeFormer(i)
			return
		}
	}
	switch crowded, settled := p.arrived(); {
	case !settled:
	case !crowded:
		p.dropSurplus()
	case p.revision.Spec.Global:
		p.removeFormer(p.surplus[0])
	default:
		p.makeRoom(p.surplus[len(p.surplus)-1]) // the global one, which has number 0
	}
}

// arrived inspects the instances of the new mode. settled: each is ready, or fits nowhere yet; crowded: at least one does not
// fit.
func (p *planner) arrived() (crowded, settled bool) {
	if left := p.roomMadeAt().Add(roomPause).Sub(p.in.Now); left > 0 {
		p.lookAgain(left)
		return false, false
	}
	settled = true
	for _, i := range p.all {
		crowded = crowded || i.wanted() && p.in.Places[i.unit.name].Unplaced != nil
		if i.number > 0 {
			settled = settled && (p.ready(i) || !i.wanted() || i.how.State == instance.Unplaced || i.how.State == instance.MachineAway)
			continue
		}
		settled = settled && (!i.wanted() || i.how.State != instance.Pending)
		for _, machine := range p.in.Places[i.unit.name].Machines {
			how := p.progressOn(i, machine)
			p.lookAgain(how.After)
			settled = settled && (!i.wanted() || how.State.IsReady())
		}
	}
	return crowded, settled
}

// roomMadeAt is when a machine was last freed: a mark on the global unit, which is one of the new or one of the old ones.
func (p *planner) roomMadeAt() time.Time {
	for _, list := range [][]*replica{p.all, p.surplus} {
		for _, i := range list {
			if i.number == 0 {
				return i.rollout.Since
			}
		}
	}
	return time.Time{}
}

// removeFormer removes an instance after it was withdrawn, and records when.
func (p *planner) removeFormer(i *replica) {
	before := len(p.actions)
	p.removeInstance(i, ScaledDown)
	global := slices.IndexFunc(p.all, func(o *replica) bool { return o.number == 0 })
	removed := slices.ContainsFunc(p.actions[before:], func(a Action) bool { return a.Kind == DeleteUnit })
	if !removed || global < 0 || p.all[global].unit.stored == nil || !p.all[global].wanted() || p.all[global].restarting() {
		return // while it restarts, nothing else is removed
	}
	g := p.all[global]
	reason, spec, shall := Updated, g.unit.stored.Spec, g.rollout
	if planned, ok := p.putAt[g.unit.name]; ok {
		reason, spec, shall = p.actions[planned].Reason, p.actions[planned].Unit.Spec, p.actions[planned].Unit.Rollout
	}
	if !shall.UnderWay() {
		shall.Phase = v1.RolloutUpdating
	}
	shall.Since = p.in.Now.UTC()
	p.put(g, &g.unit, reason, spec.Hash, spec.DesiredState, shall)
}

// makeRoom takes the global unit off one more machine: first its sidekick and then, when no request reaches it any more, the
// unit itself.
func (p *planner) makeRoom(i *replica) {
	excepted := i.unit.excepted()
	if i.sidekick.stored != nil && i.sidekick.excepted() != excepted { // it is being withdrawn from a machine
		if p.goneFrom(i, lastOf(i.sidekick.excepted())) {
			p.except(i, &i.unit, i.sidekick.excepted(), p.begins(v1.RolloutMakingRoom))
		}
		return
	}
	for _, machine := range p.in.Places[i.unit.name].Machines {
		if slices.Contains(list(excepted), machine) {
			return // it has not left that machine yet
		}
	}
	if len(p.in.Places[i.unit.name].Machines) == 0 {
		p.dropSurplus()
		return
	}
	next := p.in.Places[i.unit.name].Machines[0]
	if excepted != "" {
		next = excepted + "," + next
	}
	if i.sidekick.stored != nil {
		p.except(i, &i.sidekick, next, v1.Rollout{})
		return
	}
	p.except(i, &i.unit, next, p.begins(v1.RolloutMakingRoom))
}

// except makes a unit leave these machines.
func (p *planner) except(i *replica, u *pair, machines string, shall v1.Rollout) {
	u.except = machines
	p.put(i, u, MakeRoom, u.stored.Spec.Hash, v1.Launched, shall)
}

func (u *pair) excepted() string { return u.note(v1.AnnotationExcept) }

// formerly are the machines that keep the file that they have.
func (u *pair) formerly() string { return u.note(v1.AnnotationFormer) }

func (u *pair) note(annotation string) string {
	if u.stored == nil {
		return ""
	}
	return u.stored.Metadata.Annotations[annotation]
}

// list are the machines of an annotation.
func list(machines string) []string {
	if machines == "" {
		return nil
	}
	return strings.Split(machines, ",")
}

func lastOf(list string) string { return list[strings.LastIndex(list, ",")+1:] }

// goneFrom is gone for one machine of a global app, which forgets the sidekick.
func (p *planner) goneFrom(i *replica, machine string) bool {
	name := v1.GlobalEndpointName(p.in.App, machine)
	_, announced := p.in.Endpoints[name]
	_, formerly := p.in.Former[name]
	placed := slices.Contains(p.in.Places[i.sidekick.name].Machines, machine)
	if announced || formerly || placed || i.sidekick.state(machine) != nil {
		return false
	}
	return p.unrouted(name)
}
