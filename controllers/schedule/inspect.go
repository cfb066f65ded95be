package schedule

import (
	"slices"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// inspect decides for every unit whether it may stay where it is.
func (p *planner) inspect() {
	for _, m := range p.x.DirtyMachines() {
		for _, x := range m.Places {
			if x.Unit.Fleet.Global && !x.Unit.Gone() {
				p.contest(x)
			}
		}
	}
	units, machines := 0, 0
	for units < len(p.work) || machines < len(p.contested) {
		for ; units < len(p.work); units++ {
			p.inspectUnit(p.work[units])
		}
		for ; machines < len(p.contested); machines++ {
			for _, x := range p.contested[machines].Places {
				p.add(x.Unit)
			}
		}
	}
	for _, m := range p.contested {
		p.admitAll(m)
	}
	for place, why := range p.evicted {
		if v := of(place.Unit); v.keep == place && (v.at != nil || !why.Soft && v.outcome != evict) {
			how := evict
			if why.Soft {
				how = move
			}
			v.cannotStay(how, why)
		}
	}
}

func (p *planner) inspectUnit(u *index.Unit) {
	v := of(u)
	switch {
	case u.Gone():
		v.outcome = leave
		return
	case u.Problem != "" && v.outcome != broken:
		v.outcome, v.reason, v.message = broken, ReasonUnitFile, u.Problem
	case u.Fleet.Global && v.outcome != broken:
		v.outcome = global
		for _, x := range u.Places {
			p.contest(x)
		}
		return
	}
	v.keep = u.Keeper(p.matches)
	if v.keep == nil {
		return
	}
	v.at = v.keep.Machine
	if v.outcome == broken {
		p.contest(v.keep)
		return
	}
	v.outcome = stay
	p.inspectPlace(u, v)
}

// inspectPlace decides whether a unit that has a machine may stay there.
func (p *planner) inspectPlace(u *index.Unit, v *verdict) {
	m := v.keep.Machine
	switch {
	case !m.Present:
		p.inspectAbsent(v)
		return
	case m.Problem != "":
		return
	}
	p.contest(v.keep)
	why, bad := p.rules.Mismatch(u, m)
	switch {
	case m.Config.Drain && p.frozen:
		v.stayFor(index.ForThaw)
	case m.Config.Drain:
		v.cannotStay(move, rule.Refusal{Reason: ReasonDrain, Message: m.ID + " is being drained"})
		v.alone = true
	case bad && u.Owner == "": // nothing lets it go, and the original takes it off at once
		v.cannotStay(evict, why)
		v.alone = true
	case bad:
		v.cannotStay(move, why)
		v.alone = true
	}
}

// inspectAbsent decides for a unit whose machine is missed. While it stays it keeps its file: whether a new one fits there is
// decided when the machine is back.
func (p *planner) inspectAbsent(v *verdict) {
	m := v.keep.Machine
	if p.frozen && !m.Config.Drain {
		v.stayFor(index.ForThaw)
		v.done.keepFile = true
		return
	}
	if left := p.awaited(m); left > 0 {
		v.stayFor(index.ForTime)
		v.done.keepFile = true
		p.after(left)
		return
	}
	v.cannotStay(move, rule.Refusal{Reason: ReasonMachineGone, Message: "its machine " + m.ID + " is gone"})
}

// matches reports whether the unit may be on the machine, ignoring other units.
func (p *planner) matches(x *index.Place) bool {
	_, bad := p.rules.Mismatch(x.Unit, x.Machine)
	return !bad && !x.Machine.Config.Drain
}

// contest marks a machine for admission if a unit on it clashes with another one: who has to leave depends on all of them.
func (p *planner) contest(x *index.Place) {
	m, u := x.Machine, x.Unit
	if !m.Indexed || m.Mark == p.x.Epoch {
		return
	}
	_, clash := p.rules.Short(x)
	clash = clash || p.rules.Overfull(u, m)
	if !clash && p.rules.Contended(x) {
		clash = slices.ContainsFunc(m.Places, func(y *index.Place) bool {
			if y == x {
				return false
			}
			if _, bad := p.rules.Clash(u, y.Unit); bad && (!y.Unit.Gone() || x.Changes()) {
				return true
			}
			if _, bad := p.rules.SharePort(x, y); bad {
				return true
			}
			_, bad := p.obstructs(y, u)
			return bad
		})
	}
	if clash {
		m.Mark = p.x.Epoch
		p.contested = append(p.contested, m)
	}
}
