package schedule

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// An app gives an instance another file when the machine where it starts next has prepared that start: see v1.Next. Usually it is
// the machine where the instance runs. If the next file does not fit there, the instance moves when it gets that file: then the
// machine that it will move to is asked, as before other moves. If the file fits nowhere no machine is asked, and the app takes
// nothing away.

// ahead is where a unit that stays for now starts with its next file.
type ahead struct {
	elsewhere bool   // not on its machine
	on        string // the machine that is to prepare the start; "": its own, or none
	nowhere   bool
}

// nextOn returns the start that a machine which the unit is on is to prepare. One that the unit comes to is asked afterwards.
func nextOn(u *index.Unit, m *index.Machine) v1.Preparation {
	v := of(u)
	if u.NextFleet != nil && !u.Fleet.Global && (v.done.ahead.elsewhere || v.keep == nil || v.keep.Machine != m) {
		return v1.Preparation{}
	}
	return u.Next
}

// lookAhead finds the machine where a unit will start with its next file, and asks it to prepare that if it is another one.
func (p *planner) lookAhead(u *index.Unit) {
	v := of(u)
	if u.NextFleet == nil || u.Fleet.Global || !v.keep.Machine.Indexed || v.keep.Machine.Problem != "" {
		return
	}
	p.wait(u, index.ForRoom|index.ForDrain) // others may take the room, or leave some
	p.asNext(u, func(next *index.Unit) {
		why, leaves := p.leavesWith(next, v.keep)
		if !leaves {
			return
		}
		s := p.searchAhead(u, next)
		m := p.targetOf(s.Search, s.movers)
		v.done.ahead = ahead{elsewhere: true, nowhere: m == nil}
		if m == nil || m.ID == v.done.prepares { // it prepares a move of the unit as it is first
			return
		}
		v.done.ahead.on = m.ID
		if asked := u.PreparingOn(m.ID); asked == nil || asked.Next.Preparation != u.Next {
			p.askToPrepare(u, m, u.Next, why.Message+": it moves with its next file when "+m.ID+" has pulled the image")
		}
	})
}

// asNext evaluates what with the unit as it will be with its next file, on no machine.
func (p *planner) asNext(u *index.Unit, what func(next *index.Unit)) {
	spec := u.UnitSpec
	spec.Hash, spec.RequestedAt, spec.Fleet, spec.Follows = u.Next.Hash, u.Next.RequestedAt, *u.NextFleet, rule.Follows(u.NextFleet)
	p.txn.With(spec, func(next *index.Unit) {
		next.Preparing = u.Preparing
		what(next)
	})
}

// leavesWith reports why a unit will have to leave its machine with its next file: it is admitted there after all others, which
// have theirs. What preempts others will stay.
func (p *planner) leavesWith(next *index.Unit, x *index.Place) (rule.Refusal, bool) {
	m := x.Machine
	if p.rules.Preemptor(next) {
		return rule.Refusal{}, false
	}
	if why, bad := p.rules.Mismatch(next, m); bad {
		return why, true
	}
	for _, name := range next.Follows {
		if t := p.x.Unit(name); t == nil || !p.isOn(t, m) {
			return rule.NotBeside(name, m.ID), true
		}
	}
	room := p.rules.Room(m)
	for _, y := range m.ByAge() {
		if y == x || y.Unit.Gone() {
			continue
		}
		if why, bad := p.rules.Clash(next, y.Unit); bad {
			return why, true
		}
		room.Add(y.Unit)
	}
	why, fits := room.Take(next, nil)
	return why, !fits
}

// isOn reports whether a unit is on a machine.
func (p *planner) isOn(u *index.Unit, m *index.Machine) bool { return p.x.PlaceOf(u, m) != nil }

// searchAhead is the search for the machine where a unit goes with its next file, together with its followers.
type searchAhead struct {
	*rule.Search
	movers   []*index.Unit
	pin      rule.Pin     // the machine of those that it will follow
	obstacle rule.Refusal // there is none
}

func (p *planner) searchAhead(u, next *index.Unit) searchAhead {
	s := searchAhead{movers: []*index.Unit{next}}
	for _, f := range p.x.Followers(u.Name) {
		if tied(f) && f.Problem == "" {
			s.movers = append(s.movers, f)
		}
	}
	slices.SortFunc(s.movers[1:], index.ByName)
	s.Search = p.rules.Search(s.movers...)
	for _, name := range next.Follows {
		switch t := p.x.Unit(name); {
		case t != nil && t.Fleet.Global:
		case t == nil || len(t.Places) == 0:
			s.obstacle = rule.WaitsFor(name, "which has no machine")
			s.Beside(next, nil, true)
		default:
			at := t.Keeper(p.matches).Machine
			s.pin = p.rules.Beside(next, at)
			s.Beside(next, at, true)
		}
	}
	return s
}

// explainAhead says why a unit's next file fits nowhere.
func (p *planner) explainAhead(u *index.Unit) {
	if p.released {
		return // there will be room: the next plan decides
	}
	v := of(u)
	p.asNext(u, func(next *index.Unit) {
		here, _ := p.leavesWith(next, v.keep)
		prefix := "its next file fits nowhere, so it stays on " + v.keep.MachineName + " as it is (" + rule.Valid(here.Message) + "): "
		s := p.searchAhead(u, next)
		why := &v1.Unplaced{Message: prefix + s.obstacle.Message, Reasons: []v1.Refusal{{Reason: s.obstacle.Reason, Message: s.obstacle.Message}}}
		if s.obstacle == (rule.Refusal{}) {
			why = p.rules.Survey(s.movers, s.pin, v.keep.Machine).For(prefix, s.movers)
		}
		why.Next = true
		p.setUnplaced(u, ReasonNoMachineFits, why)
	})
}
