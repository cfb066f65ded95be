package index

import "slices"

// prepare adds new and changed machines to the index.
func (x *Index) prepare() {
	fresh := 0
	for _, m := range x.waiting {
		if m.Present && m.Slot < 0 {
			fresh++
		}
	}
	if fresh > 16+len(x.sorted)/8 {
		x.Rebuild()
	}
	slices.SortFunc(x.waiting, ByID)
	for _, m := range x.waiting {
		m.waiting = false
		if !m.Present || m.Indexed {
			continue
		}
		if m.Slot < 0 && !x.insert(m) {
			x.Rebuild()
		}
		if !m.Indexed {
			x.attach(m)
		}
	}
	x.waiting = x.waiting[:0]
}

// attach enters a machine that has a slot, with all its units.
func (x *Index) attach(m *Machine) {
	m.Indexed, m.Load, m.Share = true, 0, 0
	x.Anywhere.Add(m, x.Words)
	x.rules.Attach(m)
	for _, p := range m.Places {
		x.occupy(p)
	}
}

func (x *Index) detach(m *Machine) {
	for _, p := range m.Places {
		x.vacate(p)
	}
	x.rules.Detach(m)
	for _, v := range m.views {
		v.remove(m)
	}
	m.Indexed, m.views = false, m.views[:0]
}

// window is how far insert looks for a gap.
const window = 64

// insert gives a machine a slot between its neighbours; if there is none, it shifts the machines up to the next gap by one.
// It returns false if there is no gap nearby.
func (x *Index) insert(m *Machine) bool {
	i, _ := slices.BinarySearchFunc(x.sorted, m, ByID)
	before, after := -1, len(x.slots)
	if i > 0 {
		before = x.sorted[i-1].Slot
	}
	if i < len(x.sorted) {
		after = x.sorted[i].Slot
	}
	slot := (before + after) / 2
	if after-before < 2 {
		gap, ok := x.gap(before)
		if !ok {
			return false
		}
		for ; gap > after; gap-- {
			x.shift(x.slots[gap-1], gap)
		}
		for ; gap < before; gap++ {
			x.shift(x.slots[gap+1], gap)
		}
		slot = gap
	}
	x.sorted = slices.Insert(x.sorted, i, m)
	m.Slot, x.slots[slot] = slot, m
	return true
}

// gap returns the nearest free slot.
func (x *Index) gap(at int) (slot int, ok bool) {
	for d := 1; d <= window; d++ {
		if s := at + d; s < len(x.slots) && x.slots[s] == nil {
			return s, true
		}
		if s := at - d; s >= 0 && s < len(x.slots) && x.slots[s] == nil {
			return s, true
		}
	}
	return 0, false
}

func (x *Index) shift(m *Machine, slot int) {
	indexed := m.Indexed
	if indexed {
		x.detach(m)
	}
	x.slots[m.Slot], x.slots[slot], m.Slot = nil, m, slot
	if indexed {
		x.attach(m)
	}
}

// free releases a machine's slot.
func (x *Index) free(m *Machine) {
	if m.Slot < 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(x.sorted, m, ByID)
	x.sorted = slices.Delete(x.sorted, i, i+1)
	x.slots[m.Slot], m.Slot = nil, -1
}

// Rebuild gives all machines new slots with gaps in between. Its cost is proportional to the cluster's size, and it happens
// when many machines have been added compared with those that existed.
func (x *Index) Rebuild() {
	x.sorted = x.sorted[:0]
	for _, m := range x.machines {
		if m.Indexed {
			x.detach(m)
		}
		if m.Slot = -1; m.Present {
			x.sorted = append(x.sorted, m)
		}
	}
	slices.SortFunc(x.sorted, ByID)
	n := len(x.sorted)
	x.Words = (n+n/4)/64 + 1
	x.slots = make([]*Machine, x.Words*64)
	for i, m := range x.sorted {
		m.Slot = i * len(x.slots) / n
		x.slots[m.Slot] = m
	}
	for _, m := range x.sorted {
		x.attach(m)
	}
}

// At returns the machine at a slot.
func (x *Index) At(slot int) *Machine { return x.slots[slot] }

// Spare returns a temporary set.
func (x *Index) Spare() Bits {
	if len(x.spare) != x.Words {
		x.spare = make(Bits, x.Words)
	}
	return x.spare
}
