package schedule

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// refused is a unit that has no machine, or not the one it should have.
type refused struct {
	unit    *index.Unit
	members []*index.Unit // the units to place together; nil: that was not attempted
}

// refuse records that there is no machine for a unit. The explanation is computed at the end, from the whole plan's result.
// The unit may stay where it is, unless that is worse than nowhere.
func (p *planner) refuse(u *index.Unit, members []*index.Unit) {
	v := of(u)
	p.refused = append(p.refused, refused{u, members})
	switch {
	case v.outcome == broken:
		return
	case v.keep == nil:
		p.wait(u, index.ForRoom)
	case v.mustLeave():
		v.at = nil
		p.unplace(v.keep, v.reason, v.message)
		p.wait(u, index.ForRoom)
	default:
		p.stayForNow(u, index.ForRoom)
	}
}

func (p *planner) explainAll() {
	for _, r := range p.refused {
		if r.members != nil && p.released {
			continue // there will be room: the next plan decides
		}
		v := of(r.unit)
		if _, waits := p.held[v.keep]; waits && v.outcome != broken {
			p.explainHeld(v.keep)
			continue
		}
		if v.done.ahead.nowhere && v.outcome != move {
			p.explainAhead(r.unit)
			continue
		}
		reason := ReasonNoMachineFits
		if v.outcome == broken {
			reason = ReasonUnitFile
		}
		p.setUnplaced(r.unit, reason, p.explain(r, v))
	}
}

func (p *planner) setUnplaced(u *index.Unit, reason string, why *v1.Unplaced) {
	if key := p.x.Unplaced(u.Name); key == nil || !sameUnplaced(&key.Value, why) {
		p.act(Action{Kind: SetUnplaced, Unit: u.Name, Unplaced: why, Reason: reason, Message: why.Message})
	}
}

func sameUnplaced(a, b *v1.Unplaced) bool {
	return a.Message == b.Message && a.Next == b.Next && slices.EqualFunc(a.Reasons, b.Reasons, func(x, y v1.Refusal) bool {
		return x.Reason == y.Reason && x.Message == y.Message && x.Count == y.Count && slices.Equal(x.Machines, y.Machines)
	})
}

// explain computes the explanation.
func (p *planner) explain(r refused, v *verdict) *v1.Unplaced {
	switch {
	case v.outcome == broken:
		return plainly(v, rule.Refusal{Reason: v.reason, Message: v.message})
	case v.obstacle != (rule.Refusal{}):
		return plainly(v, v.obstacle)
	case len(r.members) > 1:
		if why, bad := p.rules.Incompatible(r.members); bad {
			return plainly(v, rule.Together(why))
		}
	}
	key := p.shape(r, v)
	e := p.explained[key]
	if e == nil {
		var from *index.Machine
		if v.keep != nil {
			from = v.keep.Machine
		}
		e = p.rules.Survey(r.members, v.pin, from)
		p.explained[key] = e
	}
	return e.For(v.prefix(), r.members)
}

func plainly(v *verdict, why rule.Refusal) *v1.Unplaced {
	message := rule.Valid(why.Message)
	return &v1.Unplaced{Message: v.prefix() + message, Reasons: []v1.Refusal{{Reason: why.Reason, Message: message}}}
}

// shape is what an explanation depends on besides the machines: usually the same for all instances of a template.
func (p *planner) shape(r refused, v *verdict) string {
	var b []byte
	add := func(s string) { b = append(append(b, s...), 0) }
	if v.pin.Machine != nil {
		add(v.pin.Head())
	}
	for _, u := range r.members {
		if keep := of(u).keep; keep != nil {
			add(keep.MachineName)
		}
		if len(r.members) > 1 {
			add(u.FamilyName())
		}
		b = p.rules.Shape(b, u)
	}
	return string(b)
}
