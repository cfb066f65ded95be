package index

import (
	"container/heap"
	"slices"
)

// UnitSet is a set of units on machines of the index, such as those that a pattern matches: on which machines they are, how
// many they are, and which come first by name. It answers what is in the way without visiting all machines.
type UnitSet struct {
	Set
	Units int
	// byName is a heap up to sorted; later units are sorted in by the next query. Units that left stay in it while that costs
	// nothing.
	byName byName
	sorted int
}

type byName []entry

// entry is a unit that was on a machine. It has been there without interruption if it still has the same stay.
type entry struct {
	unit *Unit
	stay uint32
}

func (e entry) holds() bool { return e.unit.On > 0 && e.unit.Stay == e.stay }

func (l byName) Len() int           { return len(l) }
func (l byName) Less(i, j int) bool { return Natural(l[i].unit.Name, l[j].unit.Name) < 0 }
func (l byName) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *byName) Push(x any)        { *l = append(*l, x.(entry)) }
func (l *byName) Pop() any {
	last := len(*l) - 1
	e := (*l)[last]
	*l = (*l)[:last]
	return e
}

// Enter adds a machine of a unit.
func (s *UnitSet) Enter(u *Unit, slot, words int) {
	s.Add(slot, words)
	if u.On == 1 {
		s.enlist(u)
	}
}

// Leave is the inverse of Enter.
func (s *UnitSet) Leave(u *Unit, slot int) {
	s.Remove(slot)
	if u.On > 0 {
		return
	}
	s.Units--
	if last := len(s.byName) - 1; last >= 0 && s.byName[last].unit == u { // a plan removes what it added last
		s.byName = s.byName[:last]
		s.sorted = min(s.sorted, last)
	}
}

// EnterAll enters a unit with all of its machines.
func (s *UnitSet) EnterAll(u *Unit, words int) {
	if u.On == 0 {
		return
	}
	for _, p := range u.Places {
		if p.Machine.Indexed {
			s.Add(p.Machine.Slot, words)
		}
	}
	s.enlist(u)
}

func (s *UnitSet) enlist(u *Unit) {
	if n := len(s.byName); n == cap(s.byName) && n >= 2*s.Units { // before growing, drop the units that have left
		s.byName = slices.DeleteFunc(s.byName, func(e entry) bool { return !e.holds() })
		s.sorted = 0
	}
	s.Units++
	s.byName = append(s.byName, entry{u, u.Stay})
}

// FirstUnits returns up to n units, the first by name, skipping some.
func (s *UnitSet) FirstUnits(n int, without func(*Unit) bool) (units []*Unit) {
	part := s.byName
	for ; s.sorted < len(s.byName); s.sorted++ {
		part = s.byName[:s.sorted+1]
		heap.Fix(&part, s.sorted)
	}
	var seen []entry
	for len(s.byName) > 0 && len(units) < n {
		e := heap.Pop(&s.byName).(entry)
		if !e.holds() {
			continue
		}
		seen = append(seen, e)
		if !without(e.unit) {
			units = append(units, e.unit)
		}
	}
	for _, e := range seen {
		heap.Push(&s.byName, e)
	}
	s.sorted = len(s.byName)
	return units
}
