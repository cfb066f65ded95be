package schedule

import (
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
				if x.machine.present && !x.machine.config.Drain && !x.machine.runs(o) {
					return o.name + " is not active yet"
				}
			}
		}
	}
	return ""
}
