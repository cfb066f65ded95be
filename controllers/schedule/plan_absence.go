package schedule

import (
	"fmt"
	"slices"
	"time"
)

// freeze decides whether so many machines are missed that nothing is moved off them.
func (p *planner) freeze() {
	c, missing, fresh := p.c, 0, 0
	for m := range c.absent {
		if !m.config.Drain && (m.lost || runsUnits(m)) {
			missing++
			if p.left(m, p.in.Limits.Settle) > 0 {
				fresh++
			}
		}
	}
	p.settling = fresh >= p.in.Limits.FreezeMin
	known := len(c.sorted) + missing
	p.out.Missed = missing >= p.in.Limits.FreezeMin && missing*2 > known
	frozen := p.out.Missed
	if timeout := p.in.Limits.FreezeTimeout; frozen && timeout > 0 {
		left := timeout
		if !p.in.FrozenSince.IsZero() {
			left -= p.in.Now.Sub(p.in.FrozenSince)
		}
		if left <= 0 {
			frozen = false
		} else {
			p.after(left)
		}
	}
	p.frozenNow, p.out.Frozen = frozen, frozen
	switch {
	case frozen && !c.frozen:
		p.act(Action{Kind: FreezeMoves, Reason: ReasonMachinesVanish, Message: fmt.Sprintf(
			"%d of %d machines are missed: nothing is moved off them until they return, or drain is set for those that are gone for good", missing, known)})
	case !frozen && c.frozen:
		p.act(Action{Kind: UnfreezeMoves, Reason: ReasonMachinesBack, Message: fmt.Sprintf(
			"%d of %d machines are missed: what they ran may be moved again", missing, known)})
	}
}

func runsUnits(m *machine) bool {
	return slices.ContainsFunc(m.places, func(x *place) bool { return x.unit.known && !x.unit.Fleet.Global })
}

// noteAbsent notes since when machines are missed. Those whose units were moved at once are not forgotten at once:
// they count among those that vanished when others follow them, and as long as moves are frozen.
func (c *Cluster) noteAbsent(d Decision) {
	for m := range c.absent {
		if m.gone.IsZero() {
			m.gone = d.now
		}
		if m.lost && (d.settle <= 0 || !d.Frozen && d.now.Sub(m.gone) >= d.settle) {
			m.lost = false
			c.forget(m)
		}
	}
}

// left is what is left of a time that begins when a machine is missed.
func (p *planner) left(m *machine, d time.Duration) time.Duration {
	if m.gone.IsZero() {
		return d
	}
	return d - p.in.Now.Sub(m.gone)
}

// awaited is how long the units of a machine that is missed stay with it.
func (p *planner) awaited(m *machine) (d time.Duration) {
	if m.config.Drain {
		return 0
	}
	if !m.seen && !p.vanished(m) {
		d = p.left(m, p.in.Limits.Grace)
	}
	if p.settling {
		d = max(d, p.left(m, p.in.Limits.Settle))
	}
	return d
}

// vanished says that a machine which this index never saw was there all the same, and went while others stayed: one of
// those that are present was so already when the missed one got a unit. Then the whole cluster was not started anew
// since, only its leader is another one, and there is no beginning in which machines come one by one. When a placement
// was changed last says nothing: that is done to machines that are missed, too.
func (p *planner) vanished(m *machine) bool {
	if p.oldest == 0 {
		for _, x := range p.c.sorted {
			if x.Since > 0 && (p.oldest == 0 || x.Since < p.oldest) {
				p.oldest = x.Since
			}
		}
	}
	return p.oldest > 0 && slices.ContainsFunc(m.places, func(x *place) bool { return x.Create > p.oldest })
}
