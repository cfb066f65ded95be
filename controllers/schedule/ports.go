package schedule

import (
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// enter puts a unit on a machine, with others that go there, and returns its placement with the ports that it gets. Where it
// still runs with another file, and may get requests, it keeps that until its app has let it go.
func (p *planner) enter(u *index.Unit, m *index.Machine, with []*index.Unit) v1.Placement {
	if hash, fleet, serves := p.servesStill(u, m); serves {
		p.txn.EnterFormer(u, m, hash, fleet)
		to := p.placement(u, m)
		to.Hash, to.Leaving = hash, true
		return to
	}
	assigned, _ := p.rules.Assign(u, m, "", with) // the search has seen that there are enough
	p.txn.Enter(u, m, assigned)
	to := p.placement(u, m)
	to.Assigned = assigned
	return to
}

// enoughFor reports whether a unit's ports are free while those that it preempts still have theirs.
func (p *planner) enoughFor(u *index.Unit, m *index.Machine) bool {
	_, ok := p.rules.Assign(u, m, "", nil)
	return ok
}

// assignment returns the ports that a placement has from now on: the same while it keeps a former file, else those of the unit's file. ok is
// false if there are too few for that.
func (p *planner) assignment(u *index.Unit, x *index.Place, hash string) (assigned v1.Assignment, ok bool) {
	if hash != u.Hash || u.Problem != "" {
		return x.Value.Assigned, true
	}
	if assigned, ok = p.rules.Assign(u, x.Machine, x.Value.Assigned, nil); !ok {
		return x.Value.Assigned, false
	}
	if assigned != x.Value.Assigned {
		p.txn.Hold(assigned.Without(x.Value.Assigned), x.Machine)
	}
	return assigned, true
}
