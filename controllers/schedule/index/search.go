package index

import "math/bits"

// Search finds the best machine of a view that is in all of some sets and in none of others, with a few operations on words for 64
// machines at a time. The sets that it refers to change with the index: use it at once.
type Search struct {
	Index   *Index
	View    *View
	Require []Bits
	Exclude []Bits
	Few     []*Set  // excluded as well: sets with few machines
	Allows  Allows  // further conditions; nil: none
	Family  *Family // nil: none
}

// Allows decides about a single machine.
type Allows interface{ Allows(m *Machine) bool }

// Without excludes the machines of a set.
func (s *Search) Without(set *Set) {
	switch {
	case set.N == 0:
	case set.bits != nil:
		s.Exclude = append(s.Exclude, set.bits)
	default:
		s.Few = append(s.Few, set)
	}
}

// Has reports whether a machine could be found, whatever its load, and whether or not it may get new units.
func (s *Search) Has(m *Machine) bool {
	if !s.View.Match.Has(m.Slot) {
		return false
	}
	for _, b := range s.Require {
		if !b.Has(m.Slot) {
			return false
		}
	}
	for _, b := range s.Exclude {
		if b.Has(m.Slot) {
			return false
		}
	}
	return s.passes(m)
}

func (s *Search) passes(m *Machine) bool {
	for _, set := range s.Few {
		if set.Has(m.Slot) {
			return false
		}
	}
	return s.Allows == nil || s.Allows.Allows(m)
}

// tryBuckets is how many loads are tried one by one before all candidates are collected.
const tryBuckets = 4

// Best returns, of the machines that may get new units, the one with the fewest units of the family, then the least loaded one, with the
// smallest ID among equals; nil if there is none.
func (s *Search) Best() *Machine {
	if !s.Family.Placed() {
		return s.least()
	}
	return s.fewest(s.Family.above)
}

func (s *Search) least() *Machine {
	buckets := s.View.buckets
	for i, b := range buckets {
		if i == tryBuckets {
			return s.leastOf(buckets[i:])
		}
		for b.low < len(b.bits) && b.bits[b.low] == 0 {
			b.low++
		}
		for w := b.low; w < len(b.bits); w++ {
			if word := b.bits[w]; word != 0 {
				if m := s.first(w, s.filter(w, word)); m != nil {
					return m
				}
			}
		}
	}
	return nil
}

func (s *Search) filter(w int, word uint64) uint64 {
	for _, b := range s.Require {
		word &= b[w]
	}
	for _, b := range s.Exclude {
		word &^= b[w]
	}
	return word
}

func (s *Search) first(w int, word uint64) *Machine {
	for ; word != 0; word &= word - 1 {
		if m := s.Index.slots[w<<6+bits.TrailingZeros64(word)]; s.passes(m) {
			return m
		}
	}
	return nil
}

// leastOf finds the least loaded machine if loads differ much: the few candidates are compared one by one.
func (s *Search) leastOf(buckets []*bucket) *Machine {
	allowed := s.Index.Spare()
	n := 0
	for w, word := range s.View.open {
		allowed[w] = s.filter(w, word)
		n += bits.OnesCount64(allowed[w])
	}
	if n > len(allowed)*len(buckets) {
		for _, b := range buckets {
			for w := b.low; w < len(b.bits); w++ {
				if m := s.first(w, b.bits[w]&allowed[w]); m != nil {
					return m
				}
			}
		}
		return nil
	}
	var best *Machine
	for w, word := range allowed {
		for ; word != 0; word &= word - 1 {
			m := s.Index.slots[w<<6+bits.TrailingZeros64(word)]
			if (best == nil || m.Load < best.Load) && s.passes(m) {
				best = m
			}
		}
	}
	return best
}
