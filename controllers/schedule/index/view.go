package index

import "slices"

// View is a set of machines, with those that may get new units ordered by load, to find the least loaded one. Machines with
// the same load share a bucket. There are few buckets, because the least loaded machine always gets the next unit.
type View struct {
	Match Bits // all of them
	N     int

	open    Bits // those that may get new units
	opened  int
	buckets []*bucket // by load, none is empty
	spare   []*bucket
}

type bucket struct {
	load int32
	bits Bits
	n    int
	low  int // no word before this one has a bit set
}

// Add adds a machine until that leaves the index.
func (v *View) Add(m *Machine, words int) {
	m.views = append(m.views, v)
	if v.N == 0 && len(v.Match) != words { // the index has new slots
		*v = View{Match: make(Bits, words), open: make(Bits, words)}
	}
	v.Match.Set(m.Slot)
	v.N++
	if m.Schedulable() {
		v.open.Set(m.Slot)
		v.opened++
		v.insert(m.Slot, m.Load)
	}
}

func (v *View) remove(m *Machine) {
	v.Match.Clear(m.Slot)
	v.N--
	if m.Schedulable() {
		v.open.Clear(m.Slot)
		v.opened--
		v.drop(m.Slot, m.Load)
	}
}

// Drop makes the view's machines forget it.
func (x *Index) Drop(v *View) {
	for slot := range v.Match.All {
		m := x.slots[slot]
		m.views = Remove(m.views, v)
	}
}

func (v *View) move(slot int, from, to int32) {
	v.drop(slot, from)
	v.insert(slot, to)
}

func (v *View) find(load int32) (int, bool) {
	return slices.BinarySearchFunc(v.buckets, load, func(b *bucket, load int32) int { return int(b.load) - int(load) })
}

func (v *View) insert(slot int, load int32) {
	i, ok := v.find(load)
	if !ok {
		v.buckets = slices.Insert(v.buckets, i, v.bucket(load))
	}
	b := v.buckets[i]
	b.bits.Set(slot)
	b.n++
	b.low = min(b.low, slot>>6)
}

func (v *View) drop(slot int, load int32) {
	i, _ := v.find(load)
	b := v.buckets[i]
	b.bits.Clear(slot)
	if b.n--; b.n == 0 {
		v.buckets = slices.Delete(v.buckets, i, i+1)
		v.spare = append(v.spare, b)
	}
}

func (v *View) bucket(load int32) *bucket {
	if n := len(v.spare); n > 0 {
		b := v.spare[n-1]
		v.spare = v.spare[:n-1]
		b.load, b.low = load, len(b.bits)
		return b
	}
	return &bucket{load: load, bits: make(Bits, len(v.open)), low: len(v.open)}
}
