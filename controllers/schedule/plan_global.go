package schedule

import (
	"fmt"
	"slices"
	"strings"
)

// placeGlobals decides for global units: where the unit changed, on every machine; else where the machine changed.
func (p *planner) placeGlobals() {
	c := p.c
	if len(c.globals) == 0 {
		return
	}
	globals := make([]*unit, 0, len(c.globals))
	for u := range c.globals {
		globals = append(globals, u)
	}
	slices.SortFunc(globals, byName)
	changed := slices.SortedFunc(slices.Values(c.dirtyMachines), byID)
	for _, u := range globals {
		if u.gone() || u.Problem != "" {
			continue
		}
		whole := u.plan.epoch == c.epoch
		machines := changed
		if whole {
			machines = c.sorted
		}
		if whole {
			for _, x := range sortedPlaces(u) {
				p.tidy(u, x)
			}
		}
		full := true
		for _, m := range machines {
			if x := c.placeOf(u, m); x != nil && !whole {
				p.tidy(u, x)
			}
		}
		for _, m := range machines {
			if c.placeOf(u, m) == nil {
				full = p.placeGlobal(u, m) && full
			}
		}
		if !full {
			p.wait(u, unmetSpace)
		}
		if !full || whole || p.firstHeld(u) != nil || c.unfit[u.name] != nil {
			p.explainGlobal(u)
		}
	}
}

// tidy looks at one placement of a global unit: whether it should be there, and like this.
func (p *planner) tidy(u *unit, x *place) {
	m := x.machine
	loss, lost := p.losers[x]
	switch {
	case !m.present:
		p.tidyAbsent(u, x)
	case m.Problem != "":
		p.update(u, x)
	case u.excepts(m):
		p.unplace(x, ReasonExcepted, "its app makes room on "+m.ID)
	case !u.selector.meets(m.meta):
		p.unplace(x, ReasonMachineMetadata, fmt.Sprintf("%s has no metadata %s", m.ID, missed(u.selector, m.meta)))
	case lost && loss.hard:
		p.unplace(x, loss.reason, loss.message)
	case lost && x.changes():
		p.holdOff(x, held{reason: loss.reason, message: loss.message})
		p.update(u, x)
	default:
		p.update(u, x)
	}
}

// tidyAbsent leaves a placement on a machine that is missed for a while: what runs there should still be wanted when
// it returns.
func (p *planner) tidyAbsent(u *unit, x *place) {
	left := p.in.Limits.ForgetAfter
	if !x.machine.gone.IsZero() {
		left -= p.in.Now.Sub(x.machine.gone)
	}
	switch {
	case x.machine.config.Drain || left <= 0 && !p.frozenNow:
		p.unplace(x, ReasonMachineGone, "its machine "+x.Machine+" is gone")
	case left <= 0:
		p.wait(u, unmetFreeze)
	default:
		p.after(left)
		p.wait(u, unmetTime)
	}
}

// excepts: the app of a global unit takes it off that machine.
func (u *unit) excepts(m *machine) bool {
	return u.Except != "" && slices.Contains(strings.Split(u.Except, ","), m.ID)
}

// placeGlobal gives a machine its placement of a global unit. false: it should have one and has no room.
func (p *planner) placeGlobal(u *unit, m *machine) bool {
	if !m.schedulable() || !u.selector.meets(m.meta) || u.excepts(m) {
		return true
	}
	if !p.askFor([]*unit{u}).fits(m) {
		return false
	}
	p.enter(u, m)
	p.act(Action{Kind: Place, Unit: u.name, Machine: m.ID, Placement: u.placement(), Reason: ReasonPlaced,
		Message: "a global unit runs on every machine that matches"})
	return true
}

// explainGlobal says on which machines that match a global unit has no room, or that none matches.
func (p *planner) explainGlobal(u *unit) {
	s := &survey{p: p, members: []*unit{u}}
	match := 0
	for _, m := range p.c.sorted {
		if !m.schedulable() || !u.selector.meets(m.meta) || u.excepts(m) {
			continue
		}
		match++
		if p.c.placeOf(u, m) == nil {
			s.scope = append(s.scope, m)
		}
	}
	if match > 0 && len(s.scope) == 0 || match == 0 && len(p.c.sorted) == 0 {
		if x := p.firstHeld(u); x != nil {
			p.explainHeld(x)
		} else if u.plan.epoch == p.c.epoch || !slices.ContainsFunc(u.places, func(x *place) bool { return x.changes() && x.machine.present }) {
			p.clear(u) // else what was said of one that waits for its new file is so still, nothing looked at it
		}
		return
	}
	if p.released {
		return
	}
	head := "no machine matches"
	if match > 0 {
		head = fmt.Sprintf("%d of the %d machines that match %s no room", len(s.scope), match, plural(len(s.scope), "has", "have"))
	}
	s.gather()
	why := s.findings(head).of(refused{u, s.members})
	p.setUnplaced(u, ReasonNoMachineFits, why)
}
