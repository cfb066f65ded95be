package schedule

import (
	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// SetPlacement tells of a placement that is stored.
func (c *Cluster) SetPlacement(placed Placed) {
	u, m := c.unit(placed.Unit), c.machine(placed.Machine)
	placed.Unit, placed.Machine = u.name, m.ID
	c.touchPlace(u, m)
	if p := c.placeOf(u, m); p != nil {
		if p.Value.Hash == placed.Value.Hash {
			p.Placed = placed
			return
		}
		c.wake |= unmetDrain // as below: the file that it names may be a former one
		c.cast(p, c.release)
		c.disown(p)
		p.Placed = placed
		c.adopt(p)
		c.cast(p, c.claim)
		return
	}
	c.wake |= unmetDrain // it may take the room that another unit is asked to leave its machine for
	p := &place{unit: u, machine: m, Placed: placed}
	c.adopt(p)
	c.link(p)
}

// DeletePlacement tells of a placement that is gone.
func (c *Cluster) DeletePlacement(machine, unit string) {
	u, m := c.units[unit], c.machines[machine]
	if u == nil || m == nil {
		return
	}
	if p := c.placeOf(u, m); p != nil {
		c.touchPlace(u, m)
		c.unlink(p)
		c.disown(p)
		c.touchMachine(m)
		c.wake |= unmetSpace | unmetDrain | unmetFreeze
		c.forgetUnit(u)
		c.forget(m)
	}
}

func (c *Cluster) placeOf(u *unit, m *machine) *place {
	if len(u.places) <= len(m.places) {
		for _, p := range u.places {
			if p.machine == m {
				return p
			}
		}
		return nil
	}
	for _, p := range m.places {
		if p.unit == u {
			return p
		}
	}
	return nil
}

// SetUnplaced tells what is stored of why a unit has no machine; DeleteUnplaced that nothing is.
func (c *Cluster) SetUnplaced(unit string, value v1.Unplaced, mod int64) {
	c.unfit[unit] = &unplacedKey{value, mod}
	c.touch(c.unit(unit))
}

// DeleteUnplaced tells that no reason is stored any more.
func (c *Cluster) DeleteUnplaced(unit string) {
	if c.unfit[unit] == nil {
		return
	}
	delete(c.unfit, unit)
	if u := c.units[unit]; u != nil {
		c.touch(u)
		c.forgetUnit(u)
	}
}

// SetActive tells whether systemd on a machine says that a unit is active.
func (c *Cluster) SetActive(machine, unit string, active bool) {
	m := c.machine(machine)
	if _, was := m.active[unit]; was == active {
		c.forget(m)
		return
	}
	if active {
		if m.active == nil {
			m.active = map[string]struct{}{}
		}
		m.active[unit] = struct{}{}
		c.wake |= unmetDrain
		return
	}
	delete(m.active, unit)
	c.forget(m)
}

// SetStray tells of a key below placements/ that names no machine and unit; DeleteStray that it is gone.
func (c *Cluster) SetStray(name string, mod int64) { c.stray[name] = mod }

// DeleteStray tells that a stray key is gone.
func (c *Cluster) DeleteStray(name string) { delete(c.stray, name) }
