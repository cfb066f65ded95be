package index

import (
	"math/bits"
	"slices"
)

// Bits is a set of machines by slot. Slots are in the order of machine IDs, so its first bit is the smallest ID.
type Bits []uint64

// Set adds a slot.
func (b Bits) Set(slot int) { b[slot>>6] |= 1 << (slot & 63) }

// Clear removes a slot.
func (b Bits) Clear(slot int) { b[slot>>6] &^= 1 << (slot & 63) }

// Has reports whether a slot is in the set.
func (b Bits) Has(slot int) bool { return slot>>6 < len(b) && b[slot>>6]&(1<<(slot&63)) != 0 }

// All yields the slots in order.
func (b Bits) All(yield func(slot int) bool) {
	for w, word := range b {
		for ; word != 0; word &= word - 1 {
			if !yield(w<<6 + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}

// sparse is how many machines a Set lists before it becomes a bitmap: a pattern that matches one unit must not cost a bit for
// every machine.
const sparse = 8

// Set is a multiset of machines on which something is true, such as "a unit that this pattern matches runs here". What was
// added twice has to be removed twice.
type Set struct {
	N     int           // number of machines
	list  []int32       // slots, while they are few and bits is nil
	bits  Bits          // once there were many
	again map[int32]int // additional occurrences
}

// Add adds a slot, for an index of that many words.
func (s *Set) Add(slot, words int) {
	if s.Has(slot) {
		if s.again == nil {
			s.again = map[int32]int{}
		}
		s.again[int32(slot)]++
		return
	}
	if s.N == 0 && len(s.bits) != words {
		s.bits = nil // the index has new slots
	}
	s.N++
	switch {
	case s.bits != nil:
		s.bits.Set(slot)
	case len(s.list) < sparse:
		s.list = append(s.list, int32(slot))
	default:
		s.bits = make(Bits, words)
		for _, other := range s.list {
			s.bits.Set(int(other))
		}
		s.bits.Set(slot)
		s.list = nil
	}
}

// Remove undoes Add.
func (s *Set) Remove(slot int) {
	if n := s.again[int32(slot)]; n > 0 {
		if n == 1 {
			delete(s.again, int32(slot))
		} else {
			s.again[int32(slot)] = n - 1
		}
		return
	}
	s.N--
	if s.bits != nil {
		s.bits.Clear(slot)
		return
	}
	i := slices.Index(s.list, int32(slot))
	s.list[i] = s.list[len(s.list)-1]
	s.list = s.list[:len(s.list)-1]
}

// Has reports whether a slot is in the set.
func (s *Set) Has(slot int) bool {
	if s.bits != nil {
		return s.bits.Has(slot)
	}
	return slices.Contains(s.list, int32(slot))
}

// Count is how often a slot was added.
func (s *Set) Count(slot int) int {
	if !s.Has(slot) {
		return 0
	}
	return 1 + s.again[int32(slot)]
}

// AddTo adds its machines to a bitmap.
func (s *Set) AddTo(b Bits) {
	for w, word := range s.bits {
		b[w] |= word
	}
	for _, slot := range s.list {
		b.Set(int(slot))
	}
}

// First lists up to n slots, the smallest IDs first.
func (s *Set) First(n int) []int {
	var slots []int
	if s.bits == nil {
		for _, slot := range s.list {
			slots = append(slots, int(slot))
		}
		slices.Sort(slots)
		return slots[:min(n, len(slots))]
	}
	for slot := range s.bits.All {
		if len(slots) == n {
			break
		}
		slots = append(slots, slot)
	}
	return slots
}
