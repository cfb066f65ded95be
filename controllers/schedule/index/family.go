package index

import (
	"math/bits"
	"sort"
)

// Family is the set of a template's instances: a drain moves them one after the other, and a new one goes where the fewest are.
type Family struct {
	Name  string
	Units []*Unit
	Mark  uint64 // scratch space for a plan

	// above[n] is the machines with more than n of the units; the last one has some.
	above []Set
}

// Placed reports whether any of the units has a machine. No family has none.
func (f *Family) Placed() bool { return f != nil && len(f.above) > 0 }

// count is how many of the units are on the machine at a slot.
func (f *Family) count(slot int) int {
	return sort.Search(len(f.above), func(n int) bool { return !f.above[n].Has(slot) })
}

func (f *Family) enter(slot, words int) {
	n := f.count(slot)
	if n == len(f.above) {
		if n < cap(f.above) {
			f.above = f.above[:n+1] // with the memory of one that has become empty
		} else {
			f.above = append(f.above, Set{})
		}
	}
	f.above[n].Add(slot, words)
}

func (f *Family) exit(slot int) {
	n := f.count(slot) - 1
	if f.above[n].Remove(slot); f.above[n].N == 0 {
		f.above = f.above[:n] // no machine has more
	}
}

// fewest returns the least loaded of the machines with the fewest units of the family.
func (s *Search) fewest(above []Set) *Machine {
	require, exclude, few := len(s.Require), len(s.Exclude), len(s.Few)
	defer func() { s.Require, s.Exclude, s.Few = s.Require[:require], s.Exclude[:exclude], s.Few[:few] }()
	for n := sort.Search(len(above), func(n int) bool { return s.leaves(&above[n]) }); n <= len(above); n++ {
		s.Require, s.Exclude, s.Few = s.Require[:require], s.Exclude[:exclude], s.Few[:few]
		if n > 0 && above[n-1].bits != nil { // others have been tried
			s.Require = append(s.Require, above[n-1].bits)
		}
		if n < len(above) {
			s.Without(&above[n])
		}
		if m := s.least(); m != nil {
			return m
		}
	}
	return nil
}

// leaves reports whether the search's sets leave a machine that is not in one more set.
func (s *Search) leaves(without *Set) bool {
	if without.N >= s.Index.Anywhere.N {
		return false
	}
	for w, word := range s.View.open {
		word = s.filter(w, word)
		if without.bits != nil {
			word &^= without.bits[w]
		}
		for ; word != 0; word &= word - 1 {
			if without.bits != nil || !without.Has(w<<6+bits.TrailingZeros64(word)) {
				return true
			}
		}
	}
	return false
}
