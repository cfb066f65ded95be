package schedule

import (
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// preempt puts a unit in the place of one that it preempts, which goes elsewhere, all in one transaction. It returns false if
// no such unit runs where it fits.
func (p *planner) preempt(u *index.Unit) bool {
	var best *index.Machine
	for _, m := range p.rules.PreemptSites(u) {
		if m.Schedulable() && (best == nil || m.Load < best.Load || m.Load == best.Load && m.ID < best.ID) && p.fitsInstead(u, m) && p.enoughFor(u, m) {
			best = m
		}
	}
	if best == nil {
		return false
	}
	victims := p.victims(u, best)
	if slices.ContainsFunc(victims, func(x *index.Place) bool { return p.seen(x.Unit) && of(x.Unit).done.acted }) {
		p.wait(u, index.ForTime) // until that write has been seen
		return true
	}
	txn := p.last + 1
	p.settleAt([]*index.Unit{u}, best)
	last := p.last
	for _, x := range victims {
		p.last = txn
		p.preemptPlace(x, u)
	}
	p.last = last
	return true
}

// preemptPlace moves a victim to another machine, or just off its machine.
func (p *planner) preemptPlace(x *index.Place, by *index.Unit) {
	u := x.Unit
	p.add(u)
	v, why := of(u), p.rules.Preemption(by)
	v.outcome, v.keep, v.reason, v.message = preempted, x, why.Reason, why.Message
	p.released = true
	if m := p.rules.Search(u).Find(); m != nil {
		v.at = m
		p.move(u, m, nil)
		return
	}
	p.with(Action{Kind: Unplace, Unit: u.Name, Machine: x.MachineName, Revision: x.Mod, Reason: v.reason, Message: v.message})
	p.wait(u, index.ForRoom)
}

// victims returns the units on a machine that u preempts; nil if one of them is tied to others.
func (p *planner) victims(u *index.Unit, m *index.Machine) []*index.Place {
	var list []*index.Place
	for _, x := range m.Places {
		v := x.Unit
		if v == u || !p.rules.Preempts(u, v) || v.Gone() || v.Fleet.Global {
			continue
		}
		if x.Mod == 0 || v.Problem != "" || len(v.Places) != 1 || len(v.Follows)+len(p.x.Followers(v.Name)) > 0 || p.seen(v) && of(v).outcome == preempted {
			return nil
		}
		list = append(list, x)
	}
	slices.SortFunc(list, func(a, b *index.Place) int { return strings.Compare(a.UnitName, b.UnitName) })
	return list
}

// fitsInstead reports whether u fits without the units that it preempts.
func (p *planner) fitsInstead(u *index.Unit, m *index.Machine) bool {
	victims := p.victims(u, m)
	return len(victims) > 0 && p.txn.Without(victims, func() bool { return p.rules.Search(u).Fits(m) })
}
