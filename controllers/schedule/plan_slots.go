package schedule

import "slices"

// prepare puts machines that came or changed in the index.
func (c *Cluster) prepare() {
	fresh := 0
	for _, m := range c.waiting {
		if m.present && m.slot < 0 {
			fresh++
		}
	}
	if fresh > 16+len(c.sorted)/8 {
		c.rebuild()
	}
	slices.SortFunc(c.waiting, byID)
	for _, m := range c.waiting {
		m.waiting = false
		if !m.present || m.indexed {
			continue
		}
		if m.slot < 0 && !c.insert(m) {
			c.rebuild()
		}
		if !m.indexed {
			c.attach(m)
		}
	}
	c.waiting = c.waiting[:0]
}

// window is how far insert looks for a gap.
const window = 64

// insert gives a machine a slot between its neighbours; where there is none, it moves the machines up to the next
// gap by one. false: there is no gap nearby.
func (c *Cluster) insert(m *machine) bool {
	i, _ := slices.BinarySearchFunc(c.sorted, m, byID)
	before, after := -1, len(c.slots)
	if i > 0 {
		before = c.sorted[i-1].slot
	}
	if i < len(c.sorted) {
		after = c.sorted[i].slot
	}
	slot := (before + after) / 2
	if after-before < 2 {
		gap, ok := c.gap(before)
		if !ok {
			return false
		}
		for ; gap > after; gap-- {
			c.shift(c.slots[gap-1], gap)
		}
		for ; gap < before; gap++ {
			c.shift(c.slots[gap+1], gap)
		}
		slot = gap
	}
	c.sorted = slices.Insert(c.sorted, i, m)
	m.slot, c.slots[slot] = slot, m
	return true
}

// gap finds the free slot that is nearest to a position.
func (c *Cluster) gap(at int) (slot int, ok bool) {
	for d := 1; d <= window; d++ {
		if s := at + d; s < len(c.slots) && c.slots[s] == nil {
			return s, true
		}
		if s := at - d; s >= 0 && s < len(c.slots) && c.slots[s] == nil {
			return s, true
		}
	}
	return 0, false
}

func (c *Cluster) shift(m *machine, slot int) {
	indexed := m.indexed
	if indexed {
		c.detach(m)
	}
	c.slots[m.slot], c.slots[slot], m.slot = nil, m, slot
	if indexed {
		c.attach(m)
	}
}

// free takes a machine's slot back.
func (c *Cluster) free(m *machine) {
	if m.slot < 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(c.sorted, m, byID)
	c.sorted = slices.Delete(c.sorted, i, i+1)
	c.slots[m.slot], m.slot = nil, -1
}

// rebuild gives all machines new slots with gaps between them. It costs as much as the cluster is large, and happens
// when machines have come that are many compared with those that were there.
func (c *Cluster) rebuild() {
	for _, g := range c.globs.byPattern {
		g.matched.reset()
		g.conflicts.reset()
		g.replaces.reset()
	}
	clear(c.ports)
	clear(c.lacks)
	clear(c.metadata)
	for _, s := range []*machineSet{&c.draining, &c.cordoned, &c.unreadable, &c.stuck} {
		s.reset()
	}
	for _, s := range c.selectors {
		s.reset()
	}
	for _, s := range c.spreads {
		s.reset()
	}
	c.sorted = c.sorted[:0]
	for _, m := range c.machines {
		m.slot, m.indexed = -1, false
		for _, x := range m.places {
			x.unit.on = 0
			if shade := x.shade(); shade != nil {
				shade.on = 0
			}
		}
		if m.present {
			c.sorted = append(c.sorted, m)
		}
	}
	slices.SortFunc(c.sorted, byID)
	n := len(c.sorted)
	c.words = (n+n/4)/64 + 1
	c.slots = make([]*machine, c.words*64)
	for i, m := range c.sorted {
		m.slot = i * len(c.slots) / n
		c.slots[m.slot] = m
		c.attach(m)
	}
}
