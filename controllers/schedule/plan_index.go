package schedule

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// link and unlink make a unit a unit of a machine, or not. They undo each other exactly.
func (c *Cluster) link(p *place) {
	p.unit.places = append(p.unit.places, p)
	p.machine.places = append(p.machine.places, p)
	if p.machine.indexed {
		c.occupy(p.unit, p.machine)
	}
}

func (c *Cluster) unlink(p *place) {
	p.unit.places = removeLast(p.unit.places, p)
	p.machine.places = removeLast(p.machine.places, p)
	if p.machine.indexed {
		c.vacate(p.unit, p.machine)
	}
}

// removeLast looks from the end: a plan takes back what it added last.
func removeLast(list []*place, p *place) []*place {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == p {
			return slices.Delete(list, i, i+1)
		}
	}
	return list
}

func (c *Cluster) occupyAll(u *unit) {
	for _, p := range u.places {
		if p.machine.indexed {
			c.occupy(u, p.machine)
		}
	}
}

func (c *Cluster) vacateAll(u *unit) {
	for _, p := range u.places {
		if p.machine.indexed {
			c.vacate(u, p.machine)
		}
	}
}

// occupy enters in all sets and counts that a unit is on a machine.
func (c *Cluster) occupy(u *unit, m *machine) {
	for _, g := range u.matched {
		g.matched.add(m.slot, c.words)
	}
	for _, g := range u.conflicts {
		g.conflicts.add(m.slot, c.words)
	}
	for _, g := range u.replaces {
		g.replaces.add(m.slot, c.words)
	}
	for _, port := range u.Fleet.Ports {
		s := c.ports[port]
		if s == nil {
			s = &machineSet{}
			c.ports[port] = s
		}
		s.add(m.slot, c.words)
	}
	if u.spread != nil {
		u.spread.count(m, 1)
	}
	m.used.CPU += u.Fleet.CPU
	m.used.Memory += u.Fleet.Memory
	c.reload(m, 1)
}

func (c *Cluster) vacate(u *unit, m *machine) {
	for _, g := range u.matched {
		g.matched.remove(m.slot)
	}
	for _, g := range u.conflicts {
		g.conflicts.remove(m.slot)
	}
	for _, g := range u.replaces {
		g.replaces.remove(m.slot)
	}
	for _, port := range u.Fleet.Ports {
		s := c.ports[port]
		if s.remove(m.slot); s.n == 0 {
			delete(c.ports, port)
		}
	}
	if u.spread != nil {
		u.spread.count(m, -1)
	}
	m.used.CPU -= u.Fleet.CPU
	m.used.Memory -= u.Fleet.Memory
	if u.Fleet.CPU != 0 || u.Fleet.Memory != 0 {
		c.givenBack(m)
	}
	c.reload(m, -1)
}

// request is an amount of resources, such as a unit's.
type request = v1.Capacity

// fits says whether a machine has that much left. What a machine does not say it has is not limited.
func (m *machine) fits(r request) bool {
	return (r.CPU == 0 || m.Capacity.CPU == 0 || m.used.CPU+r.CPU <= m.Capacity.CPU) &&
		(r.Memory == 0 || m.Capacity.Memory == 0 || m.used.Memory+r.Memory <= m.Capacity.Memory)
}

// maxLacks bounds the memory of what was found out about requests.
const maxLacks = 256

// learn remembers that a request does not fit on a machine, so that a thousand full machines are not tried for each
// further unit.
func (c *Cluster) learn(r request, m *machine) bitmap {
	b := c.lacks[r]
	if b == nil {
		if len(c.lacks) >= maxLacks {
			clear(c.lacks)
		}
		b = make(bitmap, c.words)
		c.lacks[r] = b
	}
	b.set(m.slot)
	return b
}

func (c *Cluster) givenBack(m *machine) {
	for _, b := range c.lacks {
		b.clear(m.slot)
	}
}

// loadShift leaves room below the number of units for the share of the machine that they request, in sixteenths.
const loadShift = 4

// reload changes a machine's number of units and its place in the order of load: by the number of units, then by the
// share of the machine that they request.
func (c *Cluster) reload(m *machine, units int32) {
	from := m.load
	m.load = (from>>loadShift+units)<<loadShift | m.share()
	if from == m.load || !m.schedulable() {
		return
	}
	for _, s := range m.selector {
		s.view.move(m.slot, from, m.load)
	}
}

func (m *machine) share() int32 {
	share := int64(0)
	if m.Capacity.CPU > 0 {
		share = m.used.CPU << loadShift / m.Capacity.CPU
	}
	if m.Capacity.Memory > 0 {
		share = max(share, m.used.Memory<<loadShift/m.Capacity.Memory)
	}
	return int32(min(max(share, 0), 1<<loadShift-1))
}

// attach enters a machine that has a slot, with all that it runs, in the index.
func (c *Cluster) attach(m *machine) {
	m.indexed, m.load, m.used, m.selector = true, 0, v1.Capacity{}, m.selector[:0]
	c.eachSelector(m, func(s *selector) {
		m.selector = append(m.selector, s)
		s.attach(m, c.words)
	})
	for _, s := range c.spreads {
		s.attach(m, c.words)
	}
	for _, p := range m.places {
		c.occupy(p.unit, m)
	}
}

func (c *Cluster) detach(m *machine) {
	for _, p := range m.places {
		c.vacate(p.unit, m)
	}
	for _, s := range c.spreads {
		s.detach(m)
	}
	for _, s := range m.selector {
		s.detach(m)
	}
	c.givenBack(m)
	m.indexed, m.selector = false, m.selector[:0]
}

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
	for _, s := range c.selectors {
		s.reset()
	}
	for _, s := range c.spreads {
		s.reset()
	}
	c.sorted = c.sorted[:0]
	for _, m := range c.machines {
		m.slot, m.indexed = -1, false
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
