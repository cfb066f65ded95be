package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// placeGlobals plans global units: a changed unit on every machine, all units on a changed machine.
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

// placeOnAll plans one of them.
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
	if nowhere := len(u.Places) == 0 && len(changed) > 0; !full || whole || nowhere || p.firstHeld(u) != nil || p.x.Unplaced(u.Name) != nil {
		p.explainGlobal(u)
	}
}

// tidy checks one placement of a global unit: whether it should exist, and with this value.
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
		p.unplace(x, ReasonExcepted, "its app takes it off "+m.ID)
	case mismatch:
		p.unplace(x, why.Reason, why.Message)
	case out && !evicted.Soft:
		p.unplace(x, evicted.Reason, evicted.Message)
	case out && x.Changes():
		p.hold(x, held{Refusal: evicted})
		p.update(u, x)
	case x.Changes() && p.othersFirst(u, x):
		p.wait(u, index.ForDrain) // until it is active there
		p.update(u, x)
	default:
		p.renew(u, x)
	}
}

// renew updates a placement, and remembers that it gets the unit's new file.
func (p *planner) renew(u *index.Unit, x *index.Place) {
	p.update(u, x)
	if _, waits := p.held[x]; x.Changes() && !waits {
		if p.renewed == nil {
			p.renewed = map[*index.Place]bool{}
		}
		p.renewed[x] = true
	}
}

// othersFirst keeps a unit of no app, which runs, at its former file while the unit starts with the new one elsewhere: one machine
// at a time, and no other one if it does not start. The roll-out of an app decides for itself.
func (p *planner) othersFirst(u *index.Unit, x *index.Place) bool {
	if u.Owner != "" || u.DesiredState != v1.Launched || !x.Machine.Runs(u) {
		return false
	}
	for _, y := range u.ByMachine() {
		if y == x || !y.Machine.Present || y.Changes() && !p.renewed[y] || y.Machine.RunsNow(u) {
			continue
		}
		p.hold(x, held{rule.Refusal{Reason: ReasonHashChanged, Message: "it is not active with its new file on " + y.MachineName + " yet"}, y})
		return true
	}
	return false
}

// tidyAbsent keeps a placement on a missed machine for a while: what runs there should still be wanted when it returns.
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

// excepts reports whether a global unit's app takes it off that machine.
func excepts(u *index.Unit, m *index.Machine) bool {
	return names(u.Except, m)
}

// keepsFormer reports whether the roll-out of a global unit's app has not come to that machine yet.
func keepsFormer(u *index.Unit, m *index.Machine) bool { return names(u.Former, m) }

// names reports whether a machine is in a list that is separated by commas.
func names(list string, m *index.Machine) bool {
	return list != "" && slices.Contains(strings.Split(list, ","), m.ID)
}

// wants reports whether a global unit should be on the machine.
func (p *planner) wants(u *index.Unit, m *index.Machine) bool {
	if !m.Schedulable() || excepts(u, m) {
		return false
	}
	_, bad := p.rules.Mismatch(u, m)
	return !bad
}

// placeGlobal places a global unit on a machine. It returns false if it should be there and has no room.
func (p *planner) placeGlobal(u *index.Unit, m *index.Machine) bool {
	if !p.wants(u, m) {
		return true
	}
	if !p.rules.Search(u).Fits(m) {
		return false
	}
	to := p.enter(u, m, nil)
	p.act(Action{Kind: Place, Unit: u.Name, Machine: m.ID, Placement: to, Reason: ReasonPlaced,
		Message: "a global unit runs on every machine that matches"})
	return true
}

// explainGlobal says on which matching machines a global unit has no room, or that none matches.
func (p *planner) explainGlobal(u *index.Unit) {
	match := 0
	var without []*index.Machine
	for _, m := range p.x.Machines() {
		switch {
		case p.x.PlaceOf(u, m) != nil: // even one that gets no new units: it stays there
			match++
		case p.wants(u, m):
			match++
			without = append(without, m)
		}
	}
	if match > 0 && len(without) == 0 || match == 0 && len(p.x.Machines()) == 0 {
		if x := p.firstHeld(u); x != nil {
			p.explainHeld(x)
		} else if p.seen(u) || !slices.ContainsFunc(u.Places, func(x *index.Place) bool { return x.Changes() && x.Machine.Present }) {
			p.clear(u) // otherwise the explanation of one that waits for its new file is still valid: nothing was checked
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
