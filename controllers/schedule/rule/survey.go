package rule

import (
	"fmt"
	"math/bits"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// MaxNamed is the number of machines, or of units in the way, that an explanation names.
const MaxNamed = 3

// ReasonNoMachines is the reason where none is there.
const ReasonNoMachines = "NoMachines" // no machine is present

// Survey counts for each rule the machines that it rules out for units that must share one. A machine that several rules rule out is
// counted for each: fixing one must not hide the others.
type Survey struct {
	Members  []*index.Unit
	list     *List
	x        *index.Index
	scope    []*index.Machine // these machines only; nil: all
	except   *index.Machine   // but not this one
	refusals []refusal
}

// Tally is a number of machines with the first few of them.
type Tally struct {
	N     int
	slots []int
}

// Survey explains why no machine fits units that must share one. pin is the machine that others force them to; from is the machine of the
// first of them, nil if it has none.
func (l *List) Survey(members []*index.Unit, pin Pin, from *index.Machine) *Explanation {
	if len(l.x.Machines()) == 0 {
		return plainly(ReasonNoMachines, "no machine is present")
	}
	s := &Survey{list: l, x: l.x, Members: members}
	if pin.by == nil {
		pin = l.Search(members...).only
	}
	if pin.by != nil {
		if pin.Machine == nil || !pin.Machine.Present {
			return plainly(pin.by.absent(pin))
		}
		s.scope = []*index.Machine{pin.Machine}
		s.gather()
		e := s.explanation(pin.Head())
		e.single = true
		return e
	}
	if from != nil && from.Present {
		s.except = from
	}
	s.gather()
	e := s.explanation(s.head())
	e.together = len(s.Members) > 1
	return e
}

// SurveyOf explains why some machines do not fit a unit that should be on all of them; head begins the explanation.
func (l *List) SurveyOf(u *index.Unit, machines []*index.Machine, head string) *Explanation {
	s := &Survey{list: l, x: l.x, Members: []*index.Unit{u}, scope: machines}
	s.gather()
	return s.explanation(head)
}

func (s *Survey) head() string {
	n, other := len(s.x.Machines()), ""
	if s.except != nil {
		n, other = n-1, " other"
	}
	if n == 0 {
		return "no other machine is present"
	}
	return fmt.Sprintf("0 of %d%s %s", n, other, Plural(n, "machine fits", "machines fit"))
}

func (s *Survey) gather() {
	for i := range s.Members {
		for _, r := range s.list.rules {
			r.Explain(s, i)
		}
	}
}

// Add adds a refusal, worded for one machine and for several, with a detail; i is the member that it is about.
func (s *Survey) Add(reason, one, many string, i int, detail string, t Tally) {
	if t.N == 0 {
		return
	}
	r := refusal{words: Plural(t.N, one, many), beside: i, detail: detail}
	r.Reason, r.Count = reason, t.N
	for _, slot := range t.slots {
		r.Machines = append(r.Machines, s.x.At(slot).ID)
	}
	s.refusals = append(s.refusals, r)
}

// In counts the candidates in a set.
func (s *Survey) In(set *index.Set) Tally {
	switch {
	case set.N == 0:
		return Tally{}
	case s.scope != nil:
		return s.Where(nil, func(m *index.Machine) bool { return set.Has(m.Slot) })
	}
	return s.less(Tally{set.N, set.First(MaxNamed + 1)}, set.Has)
}

// Outside counts the candidates that are not in a set.
func (s *Survey) Outside(some index.Bits) (t Tally) {
	if s.scope != nil {
		return s.Where(nil, func(m *index.Machine) bool { return !some.Has(m.Slot) })
	}
	for w, word := range s.x.Anywhere.Match {
		word &^= some[w]
		t.N += bits.OnesCount64(word)
		for ; word != 0 && len(t.slots) <= MaxNamed; word &= word - 1 {
			t.slots = append(t.slots, w<<6+bits.TrailingZeros64(word))
		}
	}
	return s.less(t, func(slot int) bool { return !some.Has(slot) })
}

// Where counts the candidates for which a condition holds.
func (s *Survey) Where(machines []*index.Machine, holds func(*index.Machine) bool) (t Tally) {
	if s.scope != nil {
		machines = s.scope
	}
	for _, m := range machines {
		if m == s.except || !m.Indexed || !holds(m) {
			continue
		}
		if t.N++; t.N <= MaxNamed+1 {
			t.slots = append(t.slots, m.Slot)
		}
	}
	return t
}

// less removes the excepted machine from a tally.
func (s *Survey) less(t Tally, holds func(slot int) bool) Tally {
	if e := s.except; e != nil && e.Indexed && holds(e.Slot) {
		t.N--
		t.slots = slices.DeleteFunc(t.slots, func(slot int) bool { return slot == e.Slot })
	}
	return t
}

// Names returns the first units in the way.
func (s *Survey) Names(k *index.UnitSet, inTheWay func(*index.Unit) bool) string {
	ignored := s.ignored()
	isIgnored := func(u *index.Unit) bool { return slices.Contains(ignored, u) }
	var units []*index.Unit
	n := k.Units
	if s.scope == nil {
		units = k.FirstUnits(MaxNamed, isIgnored)
		for _, u := range ignored {
			if u.On > 0 && inTheWay(u) {
				n--
			}
		}
	} else {
		units = s.inScope(func(u *index.Unit) bool { return inTheWay(u) && !isIgnored(u) })
		n = len(units)
	}
	var list []string
	for _, u := range units[:min(len(units), MaxNamed)] {
		list = append(list, u.Label())
	}
	return firstOf(list, n)
}

// ignored are units that are in no other's way: they go together with the unit, or are where it goes from.
func (s *Survey) ignored() []*index.Unit {
	list := slices.Clone(s.Members)
	for _, u := range s.Members {
		for _, f := range u.Formers {
			if f := f.Unit(); f != nil {
				list = append(list, f)
			}
		}
	}
	if s.except != nil {
		for _, p := range s.except.Places {
			if len(p.Unit.Places) == 1 && !slices.Contains(s.Members, p.Unit) {
				list = append(list, p.Unit)
				if f := p.Former(); f != nil {
					list = append(list, f)
				}
			}
		}
	}
	return list
}

// inScope are the units in the way on the machines that it is about.
func (s *Survey) inScope(inTheWay func(*index.Unit) bool) (units []*index.Unit) {
	for _, m := range s.scope {
		if !m.Indexed {
			continue
		}
		for _, p := range m.Places {
			if inTheWay(p.Unit) {
				units = append(units, p.Unit)
			}
			if f := p.Former(); f != nil && inTheWay(f) {
				units = append(units, f)
			}
		}
	}
	slices.SortFunc(units, func(a, b *index.Unit) int { return index.Natural(a.Name, b.Name) })
	return slices.Compact(units) // a global unit is on many machines
}

func plainly(reason, message string) *Explanation {
	message = Valid(message)
	return &Explanation{head: message, reasons: []v1.Refusal{{Reason: reason, Message: message}}}
}

// explanation sorts the refusals by how many machines they keep off.
func (s *Survey) explanation(head string) *Explanation {
	slices.SortStableFunc(s.refusals, func(a, b refusal) int { return b.Count - a.Count })
	return &Explanation{head: head, refusals: s.refusals}
}
