package schedule

import (
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// resolve plans one group: a single unit, or units that have to be on one machine.
func (p *planner) resolve(members []*index.Unit) {
	var movers []*index.Unit
	var stands *index.Machine // where the group is, if it has a machine
	for _, u := range members {
		v := of(u)
		if v.outcome == preempted {
			continue
		}
		p.prune(u)
		if v.outcome == leave || v.outcome == global {
			continue
		}
		p.follow(u)
		if len(u.Places) > 1 && v.at == nil && v.keep != nil && v.outcome != blocked {
			v.stayFor(index.ForTime) // admission comes first
			v.done.keepFile = true
		}
		switch {
		case v.outcome == blocked:
			p.refuse(u, nil)
		case v.at == nil && v.outcome != broken:
			movers = append(movers, u)
		default:
			if stands == nil {
				stands = v.at
			}
			p.stay(u)
		}
	}
	switch {
	case len(movers) == 0:
	case len(movers) == 1 && of(movers[0]).keep == nil && p.rules.Preemptor(movers[0]) && p.preempt(movers[0]):
	case stands == nil:
		p.placeTogether(movers)
	default:
		for _, u := range movers {
			p.join(u, stands)
		}
	}
}

// follow checks whether the units that u has to follow have machines.
func (p *planner) follow(u *index.Unit) {
	v := of(u)
	if v.outcome == broken {
		return
	}
	for _, name := range u.Follows {
		t := p.x.Unit(name)
		if t != nil && !t.Gone() && t.Fleet.Global && t.Problem == "" {
			p.followGlobal(v, t)
		} else {
			p.followUnit(v, name, t)
		}
		if v.outcome == blocked {
			return
		}
	}
}

func (p *planner) followGlobal(v *verdict, t *index.Unit) {
	if len(t.Places) == 0 {
		v.block(rule.WaitsFor(t.Name, "which is on no machine"))
	} else if v.at != nil && v.at.Indexed && !p.rules.Sites(t).Has(v.at.Slot) {
		v.cannotStay(evict, rule.NotBeside(t.Name, v.at.ID))
	}
}

// followUnit makes a unit move with t; t is nil if there is no unit of that name.
func (p *planner) followUnit(v *verdict, name string, t *index.Unit) {
	switch {
	case t == nil || !t.Known:
		v.block(rule.WaitsFor(name, "which does not exist"))
		return
	case t.Gone():
		v.block(rule.WaitsFor(name, "which is inactive"))
		return
	}
	switch tv := of(t); {
	case tv.outcome == broken && tv.at == nil:
		v.block(rule.WaitsFor(name, "which has a problem of its own: "+tv.message))
	case tv.outcome == blocked:
		v.block(rule.WaitsFor(name, "which waits itself"))
	case v.keep != nil && tv.at != v.keep.Machine && v.outcome != evict:
		together := tv.keep != nil && tv.keep.Machine == v.keep.Machine && !tv.mustLeave()
		switch {
		case !together:
			v.cannotStay(evict, rule.GoesWith(name))
		case v.at != nil:
			v.cannotStay(move, rule.GoesWith(name))
		}
	}
}

// placeTogether finds one machine for a whole group.
func (p *planner) placeTogether(movers []*index.Unit) {
	if why := p.drainTurn(movers); why != "" {
		p.waitForDrain(movers, why, index.ForDrain)
		return
	}
	if len(movers) > 1 {
		if home := p.home(movers); home != nil {
			p.settleAt(movers, home)
			return
		}
	}
	m := p.target(movers)
	if m == nil {
		for _, u := range movers {
			p.refuse(u, movers)
		}
		return
	}
	p.settleAt(movers, m)
}

// home returns a machine on which a unit of the group could stay if the others came: fewer moves are better.
func (p *planner) home(movers []*index.Unit) *index.Machine {
	for _, u := range movers {
		v := of(u)
		if v.keep == nil || !rule.Tied(v.reason) || !v.keep.Machine.Schedulable() {
			continue
		}
		m := v.keep.Machine
		var others []*index.Unit
		for _, o := range movers {
			ov := of(o)
			if ov.keep == nil || ov.keep.Machine != m {
				others = append(others, o)
			} else if !rule.Tied(ov.reason) {
				return nil
			}
		}
		if _, bad := p.rules.Incompatible(movers); !bad && p.rules.Search(others...).Fits(m) {
			return m
		}
	}
	return nil
}

// join makes a unit go where the rest of its group is: to the units it follows, else to any that has a machine.
func (p *planner) join(u *index.Unit, stands *index.Machine) {
	v := of(u)
	var target *index.Unit
	for _, name := range u.Follows {
		t := p.x.Unit(name)
		switch at := of(t).at; {
		case t.Fleet.Global:
		case at == nil:
			v.obstacle = rule.WaitsFor(name, "which has no machine")
		case target == nil:
			target, stands = t, at
		case at != stands:
			v.obstacle = rule.Apart(target.Name, name)
		}
		if v.obstacle != (rule.Refusal{}) {
			p.refuse(u, nil)
			return
		}
	}
	single := []*index.Unit{u}
	if p.drainTurn(single) != "" {
		p.stayForNow(u, index.ForDrain)
		return
	}
	q := p.rules.Search(u)
	q.Beside(u, stands, target != nil)
	if q.Find() != nil {
		p.settleAt(single, stands)
		return
	}
	if target == nil { // it follows nothing: better elsewhere than nowhere
		p.placeTogether(single)
		return
	}
	v.pin = p.rules.Beside(u, stands)
	p.refuse(u, single)
}

// maxTogether is how many units fit into one transaction: a move is up to three operations, and etcd allows 128.
const maxTogether = 42

// settleAt places units on a machine.
func (p *planner) settleAt(movers []*index.Unit, m *index.Machine) {
	if p.unprepared(movers, m) || p.askToLeave(movers, m) {
		return
	}
	for i, u := range movers {
		if i%maxTogether == 0 {
			p.last++
		}
		v := of(u)
		v.at, v.done.acted = m, true
		switch {
		case v.keep == nil:
			message := "of the machines that fit, this one runs least"
			if u.Family.Placed() {
				message = "of the machines that fit, this one runs the fewest instances of its template"
			}
			to := p.enter(u, m, movers)
			p.with(Action{Kind: Place, Unit: u.Name, Machine: m.ID, Placement: to, Reason: ReasonPlaced, Message: withNote(message, to)})
		case v.keep.Machine == m: // the others join it
			v.reason = ""
			p.update(u, v.keep)
			p.last++
		default:
			p.move(u, m, movers)
		}
	}
	for _, u := range movers {
		p.clear(u)
	}
}

// move moves a unit to another machine, with others.
func (p *planner) move(u *index.Unit, m *index.Machine, with []*index.Unit) {
	v := of(u)
	to := p.enter(u, m, with)
	p.released = p.released || v.keep.Machine.Present
	p.with(Action{Kind: Move, Unit: u.Name, From: v.keep.MachineName, Machine: m.ID, Placement: to, Revision: v.keep.Mod,
		IfDown: waitsForImage(u, m) && !v.keep.Machine.Runs(u), Reason: v.reason, Message: withNote(v.message, to)})
	if v.reason == ReasonDrain && u.Family != nil {
		u.Family.Mark = p.x.Epoch
	}
}

// withNote adds what the unit would prefer to the machine.
func withNote(message string, to v1.Placement) string {
	if to.Note != "" {
		message += "; " + to.Note
	}
	return message
}
