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
		c.occupy(p)
	}
}

func (c *Cluster) unlink(p *place) {
	p.unit.places = removeLast(p.unit.places, p)
	p.machine.places = removeLast(p.machine.places, p)
	if p.machine.indexed {
		c.vacate(p)
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
			c.occupy(p)
		}
	}
}

func (c *Cluster) vacateAll(u *unit) {
	for _, p := range u.places {
		if p.machine.indexed {
			c.vacate(p)
		}
	}
}

// occupy enters in all sets and counts that a unit is on a machine, with its former file where it runs with that.
func (c *Cluster) occupy(p *place) {
	c.claim(p.unit, p.machine)
	if shade := p.shade(); shade != nil {
		c.claim(shade, p.machine)
	}
}

func (c *Cluster) vacate(p *place) {
	c.release(p.unit, p.machine)
	if shade := p.shade(); shade != nil {
		c.release(shade, p.machine)
	}
}

func (c *Cluster) claim(u *unit, m *machine) {
	if u.on++; u.on == 1 {
		u.stay++
	}
	for _, g := range u.matched {
		g.matched.arrive(u, m.slot, c.words)
	}
	for _, g := range u.conflicts {
		g.conflicts.arrive(u, m.slot, c.words)
	}
	for _, g := range u.replaces {
		g.replaces.add(m.slot, c.words)
	}
	for _, port := range u.Fleet.Ports {
		s := c.ports[port]
		if s == nil {
			s = &crowd{}
			c.ports[port] = s
		}
		s.arrive(u, m.slot, c.words)
	}
	if u.spread != nil {
		u.spread.count(m, 1)
	}
	m.used.CPU += u.Fleet.CPU
	m.used.Memory += u.Fleet.Memory
	c.reload(m, u.weight())
}

// release takes back what claim entered. A port is free with that, although the unit's process may still be stopping on
// the machine, or, where the machine was cut off, runs on until it has a replacement. Waiting for the state that the
// machine reports would leave units that take over a port, such as those of an app with a new name, unplaced with a
// warning each time, and for ever where nobody reports. What starts too early cannot bind, and systemd starts it again:
// generated units have Restart=always, RestartSec= and no start limit. Units of people have what they wrote.
func (c *Cluster) release(u *unit, m *machine) {
	u.on--
	for _, g := range u.matched {
		g.matched.depart(u, m.slot)
	}
	for _, g := range u.conflicts {
		g.conflicts.depart(u, m.slot)
	}
	for _, g := range u.replaces {
		g.replaces.remove(m.slot)
	}
	for _, port := range u.Fleet.Ports {
		c.ports[port].depart(u, m.slot)
	}
	if u.spread != nil {
		u.spread.count(m, -1)
	}
	m.used.CPU -= u.Fleet.CPU
	m.used.Memory -= u.Fleet.Memory
	if u.Fleet.CPU != 0 || u.Fleet.Memory != 0 {
		c.givenBack(m)
	}
	c.reload(m, -u.weight())
}

// weight is what a unit counts among those of its machine: a former file is none of them.
func (u *unit) weight() int32 {
	if u.shadeOf != nil {
		return 0
	}
	return 1
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
	for key, value := range m.meta {
		s := c.metadata[pair{key, value}]
		if s == nil {
			s = &machineSet{}
			c.metadata[pair{key, value}] = s
		}
		s.add(m.slot, c.words)
	}
	for _, s := range c.closed(m) {
		s.add(m.slot, c.words)
	}
	for _, p := range m.places {
		c.occupy(p)
	}
}

func (c *Cluster) detach(m *machine) {
	for _, p := range m.places {
		c.vacate(p)
	}
	for _, s := range c.spreads {
		s.detach(m)
	}
	for _, s := range m.selector {
		s.detach(m)
	}
	for key, value := range m.meta {
		s := c.metadata[pair{key, value}]
		if s.remove(m.slot); s.n == 0 {
			delete(c.metadata, pair{key, value})
		}
	}
	for _, s := range c.closed(m) {
		s.remove(m.slot)
	}
	c.givenBack(m)
	m.indexed, m.selector = false, m.selector[:0]
}

// closed are the sets of machines that get nothing new which a machine belongs to, one for each reason.
func (c *Cluster) closed(m *machine) (sets []*machineSet) {
	if m.config.Drain {
		sets = append(sets, &c.draining)
	} else if m.config.Cordoned {
		sets = append(sets, &c.cordoned)
	}
	if m.Problem != "" {
		sets = append(sets, &c.unreadable)
	}
	if m.Stuck {
		sets = append(sets, &c.stuck)
	}
	return sets
}
