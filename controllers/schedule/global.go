package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// placeGlobals decides for global units: where the unit changed, on every machine; else where the machine changed.
func (p *planner) placeGlobals() {
	globals := slices.SortedFunc(maps.Keys(p.x.Globals()), index.ByName)
	if len(globals) == 0 {
		return
	}
	changed := slices.SortedFunc(slices.Values(p.x.DirtyMachines()), index.ByID)
	for _, u := range globals {
		if !u.Gone() && u.Problem == "" {
			p.placeOnAll(u, changed)
		}
	}
}

// placeOnAll decides for one of them.
func (p *planner) placeOnAll(u *index.Unit, changed []*index.Machine) {
	machines, whole := changed, p.seen(u)
	if whole {
		machines = p.x.Machines()
		for _, x := range u.ByMachine() {
			p.tidy(u, x)
		}
	} else {
		for _, m := range machines {
			if x := p.x.PlaceOf(u, m); x != nil {
				p.tidy(u, x)
			}
		}
	}
	full := true
	for _, m := range machines {
		if p.x.PlaceOf(u, m) == nil {
			full = p.placeGlobal(u, m) && full
		}
	}
	if !full {
		p.wait(u, index.ForRoom)
	}
	if !full || whole || p.firstHeld(u) != nil || p.x.Unplaced(u.Name) != nil {
		p.explainGlobal(u)
	}
}

// tidy looks at one placement of a global unit: whether it should be there, and like this.
func (p *planner) tidy(u *index.Unit, x *index.Place) {
	m := x.Machine
	why, mismatch := p.rules.Mismatch(u, m)
	evicted, out := p.evicted[x]
	switch {
	case !m.Present:
		p.tidyAbsent(u, x)
	case m.Problem != "":
		p.update(u, x)
	case excepts(u, m):
		p.unplace(x, ReasonExcepted, "its app makes room on "+m.ID)
	case mismatch:
		p.unplace(x, why.Reason, why.Message)
	case out && !evicted.Soft:
		p.unplace(x, evicted.Reason, evicted.Message)
	case out && x.Changes():
		p.hold(x, held{Refusal: evicted})
		p.update(u, x)
	default:
		p.update(u, x)
	}
}

// tidyAbsent leaves a placement on a machine that is missed for a while: what runs there should still be wanted when
// it returns.
func (p *planner) tidyAbsent(u *index.Unit, x *index.Place) {
	left := p.left(x.Machine, p.in.Limits.ForgetAfter)
	switch {
	case x.Machine.Config.Drain || left <= 0 && !p.frozen:
		p.unplace(x, ReasonMachineGone, "its machine "+x.MachineName+" is gone")
	case left <= 0:
		p.wait(u, index.ForThaw)
	default:
		p.after(left)
		p.wait(u, index.ForTime)
	}
}

// excepts: the app of a global unit takes it off that machine.
func excepts(u *index.Unit, m *index.Machine) bool {
	return u.Except != "" && slices.Contains(strings.Split(u.Except, ","), m.ID)
}

// wants: a global unit should be on the machine.
func (p *planner) wants(u *index.Unit, m *index.Machine) bool {
	if !m.Schedulable() || excepts(u, m) {
		return false
	}
	_, bad := p.rules.Mismatch(u, m)
	return !bad
}

// placeGlobal gives a machine its placement of a global unit. false: it should have one and has no room.
func (p *planner) placeGlobal(u *index.Unit, m *index.Machine) bool {
	if !p.wants(u, m) {
		return true
	}
	if !p.rules.Search(u).Fits(m) {
		return false
	}
	p.txn.Enter(u, m)
	p.act(Action{Kind: Place, Unit: u.Name, Machine: m.ID, Placement: p.placement(u, m), Reason: ReasonPlaced,
		Message: "a global unit runs on every machine that matches"})
	return true
}

// explainGlobal says on which machines that match a global unit has no room, or that none matches.
func (p *planner) explainGlobal(u *index.Unit) {
	match := 0
	var without []*index.Machine
	for _, m := range p.x.Machines() {
		if !p.wants(u, m) {
			continue
		}
		match++
		if p.x.PlaceOf(u, m) == nil {
			without = append(without, m)
		}
	}
	if match > 0 && len(without) == 0 || match == 0 && len(p.x.Machines()) == 0 {
		if x := p.firstHeld(u); x != nil {
			p.explainHeld(x)
		} else if p.seen(u) || !slices.ContainsFunc(u.Places, func(x *index.Place) bool { return x.Changes() && x.Machine.Present }) {
			p.clear(u) // else what was said of one that waits for its new file is so still, nothing looked at it
		}
		return
	}
	if p.released {
		return
	}
	head := "no machine matches"
	if match > 0 {
		head = fmt.Sprintf("%d of the %d machines that match %s no room", len(without), match, rule.Plural(len(without), "has", "have"))
	}
	why := p.rules.SurveyOf(u, without, head).For("", []*index.Unit{u})
	p.setUnplaced(u, ReasonNoMachineFits, why)
}
