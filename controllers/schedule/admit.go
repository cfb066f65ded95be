package schedule

import (
	"cmp"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// admitAll admits the units of a machine, one after the other: those that are not up for decision, then those that preempt
// others, then those whose file is unchanged, then in order of placement. A unit that does not fit beside the admitted ones
// is evicted: preferably one that grew, and is restarted anyway, rather than an unchanged one.
func (p *planner) admitAll(m *index.Machine) {
	var places, in []*index.Place
	for _, x := range m.Places {
		if u := x.Unit; !u.Gone() && (u.Fleet.Global || u.Keeper(p.matches) == x) && !p.leavesAnyway(x) {
			places = append(places, x)
		}
	}
	slices.SortFunc(places, func(a, b *index.Place) int {
		return cmp.Or(index.First(of(a.Unit).outcome == broken, of(b.Unit).outcome == broken),
			index.First(p.rules.Preemptor(a.Unit), p.rules.Preemptor(b.Unit)),
			index.First(!a.Changes(), !b.Changes()), cmp.Compare(a.Create, b.Create), strings.Compare(a.UnitName, b.UnitName))
	})
	room := p.rules.Room(m)
	for _, x := range places {
		if of(x.Unit).outcome == broken {
			room.Add(x.Unit)
			in = append(in, x)
			continue
		}
		why, out := p.clash(x, in)
		if !out {
			why, out = p.rules.Short(x)
		}
		if !out {
			var fits bool
			why, fits = room.Take(x.Unit, nil)
			out = !fits
		}
		if out {
			p.evict(x, why)
			continue
		}
		in = append(in, x)
	}
	p.holdBack(in, m)
}

func (p *planner) evict(x *index.Place, why rule.Refusal) {
	if p.evicted == nil {
		p.evicted = map[*index.Place]rule.Refusal{}
	}
	p.evicted[x] = why
}

func (p *planner) leavesAnyway(x *index.Place) bool {
	v := of(x.Unit)
	return p.seen(x.Unit) && v.keep == x && v.at == nil && v.mustLeave()
}

// clash returns with which units on a machine one of them cannot run.
func (p *planner) clash(x *index.Place, in []*index.Place) (rule.Refusal, bool) {
	for _, y := range in {
		why, bad := p.rules.Clash(x.Unit, y.Unit)
		if !bad {
			why, bad = p.rules.SharePort(x, y)
		}
		if bad {
			why.Message += "; " + y.UnitName + " was on " + y.MachineName + " first"
			return why, true
		}
	}
	return rule.Refusal{}, false
}

// While a placement names its unit's former file, that is what runs there, and both files count.

// held is why a placement keeps its former file although the unit may stay: other units there still run with theirs.
type held struct {
	rule.Refusal
	by *index.Place // nil: the sum of their requests
}

// obstructs returns why a unit cannot run beside a placement, because of the file that the placement still names.
func (p *planner) obstructs(x *index.Place, u *index.Unit) (rule.Refusal, bool) {
	former := x.Former()
	if former == nil || x.Unit == u {
		return rule.Refusal{}, false
	}
	why, bad := p.rules.Clash(former, u)
	if bad {
		_, also := p.rules.Clash(u, x.Unit)
		bad = !also
	}
	return why, bad
}

// holdBack finds the units that may stay on a machine but have to wait with their new files until others there have theirs,
// or have left. If two would wait for each other, the later one is evicted.
func (p *planner) holdBack(in []*index.Place, m *index.Machine) {
	room := p.rules.Room(m)
	for _, x := range m.Places {
		room.Add(x.Runs())
	}
	stays := make(map[*index.Place]bool, len(in))
	for _, x := range in {
		stays[x] = true
	}
	// Those that leave come first: waiting for them is enough.
	others := slices.DeleteFunc(slices.Clone(m.Places), func(x *index.Place) bool { return stays[x] })
	slices.SortFunc(others, func(a, b *index.Place) int { return strings.Compare(a.UnitName, b.UnitName) })
	others = append(others, in...)
	for _, x := range in {
		if !x.Changes() || of(x.Unit).outcome == broken {
			continue
		}
		if h, waits := p.heldBy(x, room, others, stays); waits {
			p.hold(x, h)
		}
	}
	for _, x := range slices.Backward(in) {
		if h := p.held[x]; p.waitsForItself(x) {
			delete(p.held, x)
			p.evict(x, h.Refusal)
		}
	}
}

// waitsForItself reports whether a placement would, directly or not, wait for itself.
func (p *planner) waitsForItself(x *index.Place) bool {
	by := p.held[x].by
	for range len(p.held) {
		if by == x {
			return true
		}
		by = p.held[by].by
	}
	return false
}

// hold makes a placement keep its former file.
func (p *planner) hold(x *index.Place, h held) {
	if p.held == nil {
		p.held = map[*index.Place]held{}
	}
	p.held[x] = h
}

// heldBy returns what a placement has to wait for with its new file: the first of the others, everything on the machine. room
// is what is left beside the files that run there until then.
func (p *planner) heldBy(x *index.Place, room *rule.Room, others []*index.Place, stays map[*index.Place]bool) (held, bool) {
	for _, y := range others {
		if why, bad := p.obstructs(y, x.Unit); bad {
			return held{why, y}, true
		}
		if y == x || stays[y] {
			continue
		}
		if why, bad := p.rules.Clash(x.Unit, y.Runs()); bad {
			why.Message = y.UnitName + ", which it cannot be beside, has not left " + y.MachineName + " yet"
			return held{why, y}, true
		}
	}
	if why, fits := room.Take(x.Unit, x.Runs()); !fits {
		return held{why, nil}, true
	}
	return held{}, false
}

// firstHeld returns the first placement of a global unit that waits for its new file.
func (p *planner) firstHeld(u *index.Unit) *index.Place {
	if len(p.held) == 0 {
		return nil
	}
	list := u.ByMachine()
	i := slices.IndexFunc(list, func(x *index.Place) bool { _, waits := p.held[x]; return waits })
	if i < 0 {
		return nil
	}
	return list[i]
}

// explainHeld says why a unit has not got its new file, unless others get theirs with this plan: then the next plan may give
// it.
func (p *planner) explainHeld(x *index.Place) {
	if p.released {
		return
	}
	h := p.held[x]
	message := rule.Valid(h.Message)
	p.setUnplaced(x.Unit, ReasonNoMachineFits, &v1.Unplaced{
		Message: rule.Valid("it stays on "+x.MachineName+" with its former file for now: ") + message,
		Reasons: []v1.Refusal{{Reason: h.Reason, Message: message}},
	})
}
