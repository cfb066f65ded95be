package schedule

import "fmt"

// placeTogether finds one machine for all of a group.
func (p *planner) placeTogether(movers []*unit) {
	if why := p.drainTurn(movers); why != "" {
		p.hold(movers, why)
		return
	}
	a := p.askFor(movers)
	if len(movers) > 1 {
		if home := p.home(movers); home != nil {
			p.settleAt(movers, home)
			return
		}
		a = p.askFor(movers)
	}
	m := a.find()
	if m == nil {
		for _, u := range movers {
			p.refuse(u, movers)
		}
		return
	}
	p.settleAt(movers, m)
}

// home is a machine that a unit of the group could stay on if the others came: moving less is better.
func (p *planner) home(movers []*unit) *machine {
	for _, u := range movers {
		v := &u.plan
		if v.keep == nil || v.reason != ReasonMachineOf || !v.keep.machine.schedulable() {
			continue
		}
		var others []*unit
		for _, o := range movers {
			if o.plan.keep == nil || o.plan.keep.machine != v.keep.machine {
				others = append(others, o)
			} else if o.plan.reason != ReasonMachineOf {
				return nil
			}
		}
		if p.askFor(others).fits(v.keep.machine) && p.quarrel(movers) == "" {
			return v.keep.machine
		}
	}
	return nil
}

// join has a unit go where the rest of its group is: to the units that it follows, else to any that stands.
func (p *planner) join(u *unit, stands *machine) {
	var target *unit
	for _, name := range u.Fleet.MachineOf {
		switch t := p.c.units[name]; {
		case t.Fleet.Global:
		case t.plan.at == nil:
			u.plan.blocked = "it waits for " + name + " (MachineOf=), which has no machine"
		case target == nil:
			target, stands = t, t.plan.at
		case t.plan.at != stands:
			u.plan.blocked = fmt.Sprintf("it has to be beside both %s and %s (MachineOf=), which are on different machines", target.name, name)
		}
		if u.plan.blocked != "" {
			p.refuse(u, nil)
			return
		}
	}
	single := []*unit{u}
	if p.drainTurn(single) != "" {
		p.linger(u, unmetDrain)
		return
	}
	a := p.askFor(single)
	a.pinned = target != nil
	a.pin(stands)
	if a.find() != nil {
		p.settleAt(single, stands)
		return
	}
	if target == nil { // it follows nothing: better elsewhere than nowhere
		p.placeTogether(single)
		return
	}
	u.plan.beside = stands
	p.refuse(u, single)
}

// maxTogether is how many units one transaction takes: a move is two operations, and etcd takes 128.
const maxTogether = 60

// settleAt puts units on a machine.
func (p *planner) settleAt(movers []*unit, m *machine) {
	if p.askToLeave(movers, m) {
		return
	}
	for i, u := range movers {
		if i%maxTogether == 0 {
			p.txn++
		}
		v := &u.plan
		v.at, v.acted = m, true
		switch {
		case v.keep == nil:
			p.enter(u, m)
			p.with(Action{Kind: Place, Unit: u.name, Machine: m.ID, Placement: u.placement(), Reason: ReasonPlaced,
				Message: "of the machines that fit, this one runs least"})
		case v.keep.machine == m: // the others come to it
			v.reason = ""
			p.update(u, v.keep)
			p.txn++
		default:
			p.enter(u, m)
			p.released = p.released || v.keep.machine.present
			p.with(Action{Kind: Move, Unit: u.name, From: v.keep.machine.ID, Machine: m.ID, Placement: u.placement(),
				Revision: v.keep.Mod, Reason: v.reason, Message: v.message})
			if v.reason == ReasonDrain && u.family != nil {
				u.family.epoch = p.c.epoch
			}
		}
	}
	for _, u := range movers {
		p.clear(u)
	}
}
