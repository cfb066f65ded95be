package schedule

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// drainTurn says why units that are moved because of a drain have to wait. Of a family one moves at a time, and the next
// one only when all of those that are elsewhere are active.
func (p *planner) drainTurn(movers []*unit) string {
	for _, u := range movers {
		if u.plan.reason != ReasonDrain || u.family == nil || !u.plan.keep.machine.present {
			continue
		}
		if u.family.epoch == p.c.epoch {
			return "another unit of " + u.family.name + " moves first"
		}
		for _, o := range u.family.units {
			if o == u || !o.known || o.DesiredState != v1.Launched || o.Problem != "" || o.Fleet.Global {
				continue
			}
			for _, x := range o.places {
				if x.machine.config.Drain && x.Value.Leaving && !u.plan.keep.Value.Leaving {
					return o.name + " moves first"
				}
				if x.machine.present && !x.machine.config.Drain && !x.machine.runs(o) {
					return o.name + " is not active yet"
				}
			}
		}
	}
	return ""
}

// askToLeave has the placements of units that are moved because of a drain say so, and the units stay until their app has let
// them go: requests reach them until then. false: none has to be asked.
func (p *planner) askToLeave(movers []*unit, m *machine) bool {
	drained := func(u *unit) bool {
		v := &u.plan
		return v.reason == ReasonDrain && v.keep.machine.present && v.keep.machine != m
	}
	if !slices.ContainsFunc(movers, func(u *unit) bool {
		return drained(u) && u.Owner != "" && u.DesiredState == v1.Launched && u.LetGo != u.plan.keep.Machine
	}) {
		return false
	}
	for _, u := range movers {
		if u.plan.asked = drained(u); u.plan.asked && u.family != nil {
			u.family.epoch = p.c.epoch
		}
	}
	p.hold(movers, "its app has not let it go")
	return true
}

// hold leaves units where they are for now, although they would have to move off a machine that is drained.
func (p *planner) hold(movers []*unit, why string) {
	for _, u := range movers {
		p.linger(u, unmetDrain)
		if u.plan.keep == nil {
			u.plan.blocked = "it goes where another unit goes (MachineOf=) that waits to move off a machine being drained: " + why
			p.refused = append(p.refused, refused{u, nil})
		}
	}
}
