package schedule

import (
	"fmt"
	"slices"
	"time"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// freeze decides whether so many machines are missed that nothing is moved off them.
func (p *planner) freeze() {
	missing, fresh := 0, 0
	for m := range p.x.Absent() {
		if !m.Config.Drain && (m.RunsUnits() || m.Lost && (p.x.Frozen() || p.left(m, p.in.Limits.Settle) > 0)) {
			missing++
			if p.left(m, p.in.Limits.Settle) > 0 {
				fresh++
			}
		}
	}
	p.settling = fresh >= p.in.Limits.FreezeMin
	known := len(p.x.Machines()) + missing
	p.out.Missed = missing >= p.in.Limits.FreezeMin && missing*2 > known
	p.frozen = p.out.Missed && !p.freezeOver()
	p.out.Frozen = p.frozen
	switch {
	case p.frozen && !p.x.Frozen():
		p.act(Action{Kind: FreezeMoves, Reason: ReasonMachinesVanish, Message: fmt.Sprintf(
			"%d of %d machines are missed: nothing is moved off them until they return, or drain is set for those that will not", missing, known)})
	case !p.frozen && p.x.Frozen():
		p.act(Action{Kind: UnfreezeMoves, Reason: ReasonMachinesBack, Message: fmt.Sprintf(
			"%d of %d machines are missed: what they ran may be moved again", missing, known)})
	}
}

// freezeOver reports whether FreezeTimeout has passed since machines were missed.
func (p *planner) freezeOver() bool {
	left := p.in.Limits.FreezeTimeout
	if left <= 0 {
		return false
	}
	if !p.in.FrozenSince.IsZero() {
		left -= p.in.Now.Sub(p.in.FrozenSince)
	}
	if left <= 0 {
		return true
	}
	p.after(left)
	return false
}

// noteAbsent records since when machines are missed. A machine whose units moved at once is still remembered: it counts among
// those that vanished when others follow, and while moves are frozen. For a new leader those that it finds missing have vanished
// just now: they may have gone together with the leader before it.
func noteAbsent(x *index.Index, d Decision) {
	for m := range x.Absent() {
		if m.Gone.IsZero() {
			m.Gone, m.Lost = d.now, m.Lost || m.RunsUnits()
		}
		if m.Lost && (d.settle <= 0 || !d.Frozen && d.now.Sub(m.Gone) >= d.settle) {
			m.Lost = false
			x.ForgetMachine(m)
		}
	}
}

// left returns the rest of a period that starts when a machine is missed.
func (p *planner) left(m *index.Machine, d time.Duration) time.Duration {
	if m.Gone.IsZero() {
		return d
	}
	return d - p.in.Now.Sub(m.Gone)
}

// awaited is how long the units of a missed machine stay with it.
func (p *planner) awaited(m *index.Machine) (d time.Duration) {
	if m.Config.Drain {
		return 0
	}
	if !m.Seen && !p.vanished(m) {
		d = p.left(m, p.in.Limits.Grace)
	}
	if p.settling {
		d = max(d, p.left(m, p.in.Limits.Settle))
	}
	return d
}

// vanished reports whether a machine that this index never saw was present before and went while others stayed: a present
// machine was already present when the missed one got a unit. Then only the leader is new, not the whole cluster, whose
// machines would arrive one by one. When a placement was last changed does not matter: missed machines' placements change,
// too.
func (p *planner) vanished(m *index.Machine) bool {
	if p.oldest == 0 {
		for _, x := range p.x.Machines() {
			if x.Since > 0 && (p.oldest == 0 || x.Since < p.oldest) {
				p.oldest = x.Since
			}
		}
	}
	return p.oldest > 0 && slices.ContainsFunc(m.Places, func(x *index.Place) bool { return x.Create > p.oldest })
}
