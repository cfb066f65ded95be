package schedule

import (
	"math/bits"
	"slices"
)

// bitmap is a set of machines by slot. Slots are in the order of machine IDs, so its first bit is the smallest ID.
type bitmap []uint64

func (b bitmap) set(slot int)      { b[slot>>6] |= 1 << (slot & 63) }
func (b bitmap) clear(slot int)    { b[slot>>6] &^= 1 << (slot & 63) }
func (b bitmap) has(slot int) bool { return slot>>6 < len(b) && b[slot>>6]&(1<<(slot&63)) != 0 }

// all gives the slots in their order.
func (b bitmap) all(yield func(slot int) bool) {
	for w, word := range b {
		for ; word != 0; word &= word - 1 {
			if !yield(w<<6 + bits.TrailingZeros64(word)) {
				return
			}
		}
	}
}

// sparse is how many machines a machineSet lists before it becomes a bitmap: a glob that matches one unit
// must not cost a bit for every machine.
const sparse = 8

// machineSet is the set of machines on which something is true at least once, such as "a unit that this glob matches
// runs here". What was added twice has to be removed twice.
type machineSet struct {
	list  []int32       // slots, while they are few and bits is nil
	bits  bitmap        // once they were many
	again map[int32]int // how often more than once
	n     int
}

func (s *machineSet) add(slot, words int) {
	if s.has(slot) {
		if s.again == nil {
			s.again = map[int32]int{}
		}
		s.again[int32(slot)]++
		return
	}
	s.n++
	switch {
	case s.bits != nil:
		s.bits.set(slot)
	case len(s.list) < sparse:
		s.list = append(s.list, int32(slot))
	default:
		s.bits = make(bitmap, words)
		for _, other := range s.list {
			s.bits.set(int(other))
		}
		s.bits.set(slot)
		s.list = nil
	}
}

func (s *machineSet) remove(slot int) {
	if n := s.again[int32(slot)]; n > 0 {
		if n == 1 {
			delete(s.again, int32(slot))
		} else {
			s.again[int32(slot)] = n - 1
		}
		return
	}
	s.n--
	if s.bits != nil {
		s.bits.clear(slot)
		return
	}
	i := slices.Index(s.list, int32(slot))
	s.list[i] = s.list[len(s.list)-1]
	s.list = s.list[:len(s.list)-1]
}

func (s *machineSet) has(slot int) bool {
	if s.bits != nil {
		return s.bits.has(slot)
	}
	return slices.Contains(s.list, int32(slot))
}

// count is how often something is true on a machine.
func (s *machineSet) count(slot int) int {
	if !s.has(slot) {
		return 0
	}
	return 1 + s.again[int32(slot)]
}

func (s *machineSet) reset() { *s = machineSet{} }

// addTo adds its machines to a bitmap.
func (s *machineSet) addTo(b bitmap) {
	for w, word := range s.bits {
		b[w] |= word
	}
	for _, slot := range s.list {
		b.set(int(slot))
	}
}

// first lists up to n slots, the smallest IDs first.
func (s *machineSet) first(n int) []int {
	var slots []int
	if s.bits == nil {
		for _, slot := range s.list {
			slots = append(slots, int(slot))
		}
		slices.Sort(slots)
		return slots[:min(n, len(slots))]
	}
	for w, word := range s.bits {
		for ; word != 0 && len(slots) < n; word &= word - 1 {
			slots = append(slots, w<<6+bits.TrailingZeros64(word))
		}
	}
	return slots
}

// view keeps machines in the order of their load: the index that the least loaded machine is found with. Machines of one
// load share a bucket, and the buckets are few, because the least loaded machine is the one that gets the next unit.
type view struct {
	all     bitmap
	n       int
	buckets []*bucket // by load, none is empty
	spare   []*bucket
}

type bucket struct {
	load int32
	bits bitmap
	n    int
	low  int // no word before this one has a bit
}

func (v *view) put(slot int, load int32, words int) {
	if v.all == nil {
		v.all = make(bitmap, words)
	}
	v.all.set(slot)
	v.n++
	v.insert(slot, load)
}

func (v *view) take(slot int, load int32) {
	v.all.clear(slot)
	v.n--
	v.drop(slot, load)
}

func (v *view) move(slot int, from, to int32) {
	v.drop(slot, from)
	v.insert(slot, to)
}

func (v *view) find(load int32) (int, bool) {
	return slices.BinarySearchFunc(v.buckets, load, func(b *bucket, load int32) int { return int(b.load) - int(load) })
}

func (v *view) insert(slot int, load int32) {
	i, ok := v.find(load)
	if !ok {
		v.buckets = slices.Insert(v.buckets, i, v.bucket(load))
	}
	b := v.buckets[i]
	b.bits.set(slot)
	b.n++
	b.low = min(b.low, slot>>6)
}

func (v *view) drop(slot int, load int32) {
	i, _ := v.find(load)
	b := v.buckets[i]
	b.bits.clear(slot)
	if b.n--; b.n == 0 {
		v.buckets = slices.Delete(v.buckets, i, i+1)
		v.spare = append(v.spare, b)
	}
}

func (v *view) bucket(load int32) *bucket {
	if n := len(v.spare); n > 0 {
		b := v.spare[n-1]
		v.spare = v.spare[:n-1]
		b.load, b.low = load, len(b.bits)
		return b
	}
	return &bucket{load: load, bits: make(bitmap, len(v.all)), low: len(v.all)}
}
