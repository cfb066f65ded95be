package schedule

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// refused is a unit that has no machine, or not the one it should have.
type refused struct {
	unit    *unit
	members []*unit // who would have gone together; nil: it was not even tried
}

// refuse notes that there is no machine for a unit. Why is found out at the end, of what the whole plan makes of the
// cluster. Where it is it may stay, unless that is worse than nowhere.
func (p *planner) refuse(u *unit, members []*unit) {
	v := &u.plan
	p.refused = append(p.refused, refused{u, members})
	switch {
	case v.problem != "":
		return
	case v.keep == nil:
		p.wait(u, unmetSpace)
	case v.hard:
		v.at = nil
		p.unplace(v.keep, v.reason, v.message)
		p.wait(u, unmetSpace)
	default:
		p.linger(u, unmetSpace)
	}
}

func (p *planner) explainAll() {
	for _, r := range p.refused {
		if r.members != nil && p.released {
			continue // there will be room: the next plan knows more
		}
		if _, waits := p.held[r.unit.plan.keep]; waits && r.unit.plan.problem == "" {
			p.explainHeld(r.unit.plan.keep)
			continue
		}
		why := p.explain(r)
		reason := ReasonNoMachineFits
		if r.unit.plan.problem != "" {
			reason = ReasonUnitFile
		}
		p.setUnplaced(r.unit, reason, why)
	}
}

func (p *planner) setUnplaced(u *unit, reason string, why *v1.Unplaced) {
	if key := p.c.unfit[u.name]; key == nil || !sameUnplaced(&key.value, why) {
		p.act(Action{Kind: SetUnplaced, Unit: u.name, Unplaced: why, Reason: reason, Message: why.Message})
	}
}

func sameUnplaced(a, b *v1.Unplaced) bool {
	return a.Message == b.Message && slices.EqualFunc(a.Reasons, b.Reasons, func(x, y v1.Refusal) bool {
		return x.Reason == y.Reason && x.Message == y.Message && x.Count == y.Count && slices.Equal(x.Machines, y.Machines)
	})
}

// explain says why.
func (p *planner) explain(r refused) *v1.Unplaced {
	v := &r.unit.plan
	switch {
	case r.unit.Problem != "":
		return p.plainly(v, ReasonUnitFile, v.problem)
	case v.problem != "": // a circle
		return p.plainly(v, ReasonMachineOf, v.problem)
	case v.blocked != "":
		return p.plainly(v, ReasonMachineOf, v.blocked)
	case len(r.members) > 1:
		if why := p.quarrel(r.members); why != "" {
			return p.plainly(v, ReasonMachineOf, why)
		}
	}
	key := p.shape(r)
	f := p.explained[key]
	if f == nil {
		f = p.survey(r)
		p.explained[key] = f
	}
	return f.of(r)
}

func (p *planner) plainly(v *verdict, reason, message string) *v1.Unplaced {
	message = strings.ToValidUTF8(message, "\ufffd") // as it will be read back: JSON knows no other text
	return &v1.Unplaced{Message: v.prefix() + message, Reasons: []v1.Refusal{{Reason: reason, Message: message}}}
}

// prefix says that a unit runs all the same.
func (v *verdict) prefix() string {
	switch {
	case v.keep == nil || v.hard:
		return ""
	case v.problem != "":
		return "it stays on " + v.keep.machine.ID + " as it was: "
	}
	return "it stays on " + v.keep.machine.ID + " for now (" + v.message + "): "
}

// shape is what an explanation depends on, beside the cluster: the same for all instances of a template, mostly.
func (p *planner) shape(r refused) string {
	var b []byte
	add := func(s string) { b = append(append(b, s...), 0) }
	if r.unit.plan.beside != nil {
		add(r.unit.plan.beside.ID)
		add(strings.Join(r.unit.Fleet.MachineOf, " "))
	}
	for _, u := range r.members {
		if u.plan.keep != nil {
			add(u.plan.keep.machine.ID)
		}
		if len(r.members) > 1 {
			add(u.familyName())
		}
		for _, list := range [][]*glob{u.conflicts, u.replaces, u.matched} {
			for _, g := range list {
				add(g.Pattern)
			}
			b = append(b, 1)
		}
		b = fmt.Appendf(b, "%v %d %d ", u.Fleet.Ports, u.Fleet.CPU, u.Fleet.Memory)
		add(u.selector.id)
		add(u.Fleet.MachineID)
		add(strings.Join(u.followsGlobal(p.c), " "))
	}
	return string(b)
}

func (u *unit) followsGlobal(c *Cluster) []string {
	var list []string
	for _, name := range u.Fleet.MachineOf {
		if t := c.units[name]; t != nil && t.Fleet.Global {
			list = append(list, name)
		}
	}
	return list
}
