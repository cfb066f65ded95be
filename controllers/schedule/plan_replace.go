package schedule

import (
	"slices"
	"strings"
)

// takePlace puts a unit where one runs that it replaces, which goes elsewhere: all in one transaction. false: no unit
// that it replaces runs where it fits.
func (p *planner) takePlace(u *unit) bool {
	var best *machine
	for _, g := range u.replaces {
		for _, slot := range g.matched.first(len(p.c.sorted)) {
			m := p.c.slots[slot]
			if m.schedulable() && len(p.victims(u, m)) > 0 && (best == nil || m.load < best.load || m.load == best.load && m.ID < best.ID) && p.fitsInstead(u, m) {
				best = m
			}
		}
	}
	if best == nil {
		return false
	}
	victims := p.victims(u, best)
	if slices.ContainsFunc(victims, func(x *place) bool { return x.unit.plan.epoch == p.c.epoch && x.unit.plan.acted }) {
		p.wait(u, unmetTime) // when that is seen to be written
		return true
	}
	txn := p.txn + 1
	p.settleAt([]*unit{u}, best)
	for _, x := range victims {
		v := x.unit
		p.add(v)
		v.plan.keep, v.plan.handled = x, true
		v.plan.reason, v.plan.message = ReasonReplaced, u.name+" takes its place (Replaces=)"
		p.txn = txn
		if m := p.askFor([]*unit{v}).find(); m != nil {
			p.enter(v, m)
			p.with(Action{Kind: Move, Unit: v.name, From: best.ID, Machine: m.ID, Placement: v.placement(), Revision: x.Mod,
				Reason: ReasonReplaced, Message: v.plan.message})
			v.plan.at = m
		} else {
			p.with(Action{Kind: Unplace, Unit: v.name, Machine: best.ID, Revision: x.Mod, Reason: ReasonReplaced, Message: v.plan.message})
			p.wait(v, unmetSpace)
		}
		p.released = true
	}
	return true
}

// victims are the units on a machine that u replaces, as far as they are free to go.
func (p *planner) victims(u *unit, m *machine) []*place {
	var list []*place
	for _, x := range m.places {
		v := x.unit
		if v == u || !replaces(u, v) || v.gone() || v.Fleet.Global {
			continue
		}
		if x.Mod == 0 || v.Problem != "" || len(v.places) != 1 || len(v.Fleet.MachineOf)+len(p.c.followers[v.name]) > 0 || v.plan.epoch == p.c.epoch && v.plan.handled {
			return nil
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *place) int { return strings.Compare(a.Unit, b.Unit) })
	return list
}

// fitsInstead says whether u fits once those that it replaces are gone.
func (p *planner) fitsInstead(u *unit, m *machine) bool {
	victims := p.victims(u, m)
	for _, x := range victims {
		p.c.unlink(x)
	}
	fits := p.askFor([]*unit{u}).fits(m)
	for _, x := range slices.Backward(victims) {
		p.c.link(x)
	}
	return fits
}
