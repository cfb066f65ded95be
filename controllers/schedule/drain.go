package schedule

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// drainTurn returns why units that are moved by a drain have to wait. One unit of a family moves at a time, the next one when
// all that have moved are active. Units that their app has been asked to let go do not wait for others to become active: it may
// have started one beside them, and takes that for needless if the request is taken back.
func (p *planner) drainTurn(movers []*index.Unit) string {
	asked := slices.ContainsFunc(movers, func(u *index.Unit) bool { return of(u).keep != nil && of(u).keep.Value.Leaving && toLetGo(u) })
	for _, u := range movers {
		v := of(u)
		if v.reason != ReasonDrain || u.Family == nil || !v.keep.Machine.Present {
			continue
		}
		if u.Family.Mark == p.x.Epoch {
			return "another unit of " + u.Family.Name + " moves first"
		}
		for _, o := range u.Family.Units {
			if o == u || !o.Known || o.DesiredState != v1.Launched || o.Problem != "" || o.Fleet.Global {
				continue
			}
			for _, x := range o.Places {
				if x.Machine.Config.Drain && onItsWay(x) > onItsWay(v.keep) {
					return o.Name + " moves first"
				}
				if x.Machine.Present && !x.Machine.Config.Drain && !x.Machine.Runs(o) && !asked {
					return o.Name + " is not active yet"
				}
			}
		}
	}
	return ""
}

// onItsWay is how far the move of a unit off a drained machine is: it is asked to leave, before that it is prepared.
func onItsWay(x *index.Place) int {
	switch {
	case x.Value.Leaving:
		return 2
	case slices.ContainsFunc(x.Unit.Preparing, func(asked *index.Preparing) bool { return asked.Next.Hash == x.Unit.Hash }):
		return 1
	}
	return 0
}

// askToLeave marks the placements of units that could stay where they are for now, and are about to move. They stay until their
// app has let them go, because requests reach them until then. It returns false if none has to be asked. A drain asks for all
// that run, so that their app moves them one at a time.
func (p *planner) askToLeave(movers []*index.Unit, m *index.Machine) bool {
	leaves := func(u *index.Unit) bool {
		v := of(u)
		return v.outcome == move && v.keep.Machine.Present && v.keep.Machine != m
	}
	if !slices.ContainsFunc(movers, func(u *index.Unit) bool {
		return leaves(u) && (of(u).reason == ReasonDrain && toLetGo(u) || p.asksFirst(u, of(u).keep))
	}) {
		return false
	}
	for _, u := range movers {
		v := of(u)
		if v.done.leaving = leaves(u); v.done.leaving && u.Family != nil {
			u.Family.Mark = p.x.Epoch
		}
	}
	p.waitForDrain(movers, "its app has not let it go", index.ForDrain)
	return true
}

// toLetGo reports whether an app has a unit in its routers, or may have: it has not let it go where it is.
func toLetGo(u *index.Unit) bool {
	return u.Owner != "" && u.DesiredState == v1.Launched && u.LetGo != of(u).keep.MachineName
}

// waitForDrain leaves units where they are for now, although they have to leave.
func (p *planner) waitForDrain(movers []*index.Unit, why string, until index.Wait) {
	for _, u := range movers {
		p.stayForNow(u, until)
		if v := of(u); v.keep == nil {
			v.obstacle = rule.HeldWith(why)
			p.refused = append(p.refused, refused{u, nil})
		}
	}
}
