package schedule

import (
	"slices"
	"strings"
)

// group is a part of members: units that MachineOf= ties together.
type group struct {
	from, to int
	lead     *unit
	rank     int
}

// collect finds the units to look at: what changed, what waited for such a change, and what is tied to them.
func (p *planner) collect() {
	c := p.c
	p.work = make([]*unit, 0, len(c.dirty))
	p.members = make([]*unit, 0, len(c.dirty))
	p.groups = make([]group, 0, len(c.dirty))
	for _, u := range c.dirty {
		if !u.dropped {
			p.add(u)
		}
	}
	wake := c.wake | unmetTime
	if c.frozen != p.frozenNow {
		wake |= unmetFreeze
	}
	for u, why := range c.unmet {
		if why&wake != 0 {
			p.add(u)
		}
	}
}

// add takes in a unit and its group.
func (p *planner) add(u *unit) {
	if u.plan.epoch == p.c.epoch {
		return
	}
	from := len(p.members)
	p.visit(u)
	for i := from; i < len(p.members); i++ { // members grows as ties are followed
		x := p.members[i]
		if !x.ties() {
			continue // what follows a global unit is not tied to others that do
		}
		for _, name := range x.Fleet.MachineOf {
			if t := p.c.units[name]; t != nil && t.ties() {
				p.visit(t)
			}
		}
		for _, f := range p.c.followers[x.name] {
			if f.ties() {
				p.visit(f)
			}
		}
	}
	g := group{from: from, to: len(p.members), lead: u, rank: rank(u)}
	for _, x := range p.members[from:] {
		if r := rank(x); r < g.rank || r == g.rank && x.name < g.lead.name {
			g.lead, g.rank = x, r
		}
	}
	p.groups = append(p.groups, g)
	if members := p.members[from:]; len(members) > 1 || len(u.Fleet.MachineOf) > 0 {
		sortByDepth(p.c, members)
	}
}

// ties: MachineOf= to and of this unit makes a group.
func (u *unit) ties() bool { return !u.gone() && !u.Fleet.Global }

func (p *planner) visit(u *unit) {
	if u.plan.epoch == p.c.epoch {
		return
	}
	u.plan = verdict{epoch: p.c.epoch}
	p.work = append(p.work, u)
	p.members = append(p.members, u)
}

// rank: who has the least choice is placed first.
func rank(u *unit) int {
	switch {
	case u.gone():
		return 3
	case len(u.replaces) > 0:
		return 0
	case u.Fleet.MachineID != "":
		return 1
	case len(u.Fleet.MachineMetadata) > 0:
		return 2
	}
	return 3
}

func (p *planner) order() []group {
	slices.SortFunc(p.groups, func(a, b group) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return strings.Compare(a.lead.name, b.lead.name)
	})
	return p.groups
}
