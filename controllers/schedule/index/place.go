package index

import (
	"cmp"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Placed is a stored placement.
type Placed struct {
	MachineName, UnitName string
	Value                 v1.Placement
	// Mod and Create are the key's revisions. Of two units in conflict the one that was placed first stays.
	Mod, Create int64
}

// Place is a unit on a machine: as stored, or as planned.
type Place struct {
	Placed
	Unit    *Unit
	Machine *Machine
	former  *Former // the file that it names, if that is known and not the unit's
}

// Changes reports whether the unit's file differs from the one that it runs with there.
func (p *Place) Changes() bool { return p.Value.Hash != p.Unit.Hash }

// SetPlacement adds or updates a stored placement.
func (x *Index) SetPlacement(placed Placed) {
	u, m := x.unit(placed.UnitName), x.machine(placed.MachineName)
	placed.UnitName, placed.MachineName = u.Name, m.ID
	x.touchPlace(u, m)
	if p := x.PlaceOf(u, m); p != nil {
		x.reassign(p, placed.Value.Assigned)
		if p.Value.Hash == placed.Value.Hash {
			p.Placed = placed
			return
		}
		x.wake |= ForDrain // as below: its file may be a former one
		x.leaveFormer(p)
		x.disown(p)
		p.Placed = placed
		x.adopt(p)
		x.enterFormer(p)
		return
	}
	x.wake |= ForDrain // it may take the room for which another unit is asked to leave its machine
	p := &Place{Unit: u, Machine: m, Placed: placed}
	x.adopt(p)
	x.link(p)
}

// reassign tells that a placement holds other ports.
func (x *Index) reassign(p *Place, assigned v1.Assignment) {
	if p.Value.Assigned == assigned {
		return
	}
	if p.Machine.Indexed {
		x.rules.Release(p.Value.Assigned, p.Machine)
		x.rules.Hold(assigned, p.Machine)
	}
	p.Value.Assigned = assigned
	x.wake |= ForRoom | ForDrain
}

// DeletePlacement removes a placement.
func (x *Index) DeletePlacement(machine, unit string) {
	u, m := x.units[unit], x.machines[machine]
	if u == nil || m == nil {
		return
	}
	if p := x.PlaceOf(u, m); p != nil {
		x.touchPlace(u, m)
		x.unlink(p)
		x.disown(p)
		x.touchMachine(m)
		x.wake |= ForRoom | ForDrain | ForThaw
		x.forgetUnit(u)
		x.ForgetMachine(m)
	}
}

// PlaceOf returns the placement of a unit on a machine; nil if there is none.
func (x *Index) PlaceOf(u *Unit, m *Machine) *Place {
	if len(u.Places) <= len(m.Places) {
		for _, p := range u.Places {
			if p.Machine == m {
				return p
			}
		}
		return nil
	}
	for _, p := range m.Places {
		if p.Unit == u {
			return p
		}
	}
	return nil
}

// Keeper returns which of several placements of a unit counts: prefer a present machine, then one that the unit matches, then
// one where it is active, then the oldest placement.
func (u *Unit) Keeper(matches func(*Place) bool) *Place {
	switch len(u.Places) {
	case 0:
		return nil
	case 1:
		return u.Places[0]
	}
	return slices.MinFunc(u.Places, func(a, b *Place) int {
		return cmp.Or(
			First(a.Machine.Present, b.Machine.Present),
			First(matches(a), matches(b)),
			First(a.Machine.Runs(a.Unit), b.Machine.Runs(b.Unit)),
			cmp.Compare(a.Create, b.Create),
			strings.Compare(a.MachineName, b.MachineName))
	})
}

// First orders true before false.
func First(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// ByMachine returns the placements of a unit in the order of machine IDs.
func (u *Unit) ByMachine() []*Place {
	return slices.SortedFunc(slices.Values(u.Places), func(a, b *Place) int { return strings.Compare(a.MachineName, b.MachineName) })
}

// ByAge returns the placements on a machine: the oldest first, those that are only planned last. In Places their order tells when
// the index heard of them, which a new leader does not know: what a plan says must not depend on it.
func (m *Machine) ByAge() []*Place {
	return slices.SortedFunc(slices.Values(m.Places), func(a, b *Place) int {
		return cmp.Or(First(a.Create != 0, b.Create != 0), cmp.Compare(a.Create, b.Create), strings.Compare(a.UnitName, b.UnitName))
	})
}

// link adds a unit to a machine, unlink removes it. They are exact inverses.
func (x *Index) link(p *Place) {
	p.Unit.Places = append(p.Unit.Places, p)
	p.Machine.Places = append(p.Machine.Places, p)
	if p.Machine.Indexed {
		x.occupy(p)
	}
}

func (x *Index) unlink(p *Place) {
	p.Unit.Places = removeLast(p.Unit.Places, p)
	p.Machine.Places = removeLast(p.Machine.Places, p)
	if p.Machine.Indexed {
		x.vacate(p)
	}
}

// removeLast searches from the end: a plan removes what it added last.
func removeLast(list []*Place, p *Place) []*Place {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == p {
			return slices.Delete(list, i, i+1)
		}
	}
	return list
}

func (x *Index) occupyAll(u *Unit) {
	for _, p := range u.Places {
		if p.Machine.Indexed {
			x.occupy(p)
		}
	}
}

func (x *Index) vacateAll(u *Unit) {
	for _, p := range u.Places {
		if p.Machine.Indexed {
			x.vacate(p)
		}
	}
}

// occupy enters a unit on a machine in all sets and counts, with its former file if it runs with that.
func (x *Index) occupy(p *Place) {
	x.enter(p.Unit, p.Machine)
	x.enterFormer(p)
	if p.Value.Assigned != "" {
		x.rules.Hold(p.Value.Assigned, p.Machine)
	}
}

func (x *Index) vacate(p *Place) {
	if p.Value.Assigned != "" {
		x.rules.Release(p.Value.Assigned, p.Machine)
	}
	x.exit(p.Unit, p.Machine)
	x.leaveFormer(p)
}

func (x *Index) enter(u *Unit, m *Machine) {
	if u.On++; u.On == 1 {
		u.Stay++
	}
	if u.Concerns != 0 {
		x.rules.Enter(u, m)
	}
	if u.Family != nil {
		u.Family.enter(m.Slot, x.Words)
	}
	x.reload(m, u.weight())
}

// exit is the inverse of occupy. What a unit held is free from then on, although its process may still be stopping on the
// machine or, if the machine was cut off, run on until it has a replacement. Waiting for the state that the machine reports
// would leave units that take over a port, such as those of a renamed app, unplaced with a warning each time, and forever if
// no machine reports. A unit that starts too early cannot bind, and systemd restarts it: generated units have Restart=always,
// RestartSec= and no start limit. Hand-written units have their own settings.
func (x *Index) exit(u *Unit, m *Machine) {
	u.On--
	if u.Concerns != 0 {
		x.rules.Leave(u, m)
	}
	if u.Family != nil {
		u.Family.exit(m.Slot)
	}
	x.reload(m, -u.weight())
}

// ShareShift reserves bits below the number of units for the requested share of the machine, in sixteenths.
const ShareShift = 4

// reload updates a machine's number of units and its position in the order of load: by the number of units, then by the
// requested share of the machine.
func (x *Index) reload(m *Machine, units int32) {
	from := m.Load
	m.Load = (from>>ShareShift+units)<<ShareShift | m.Share
	if from == m.Load || !m.Schedulable() {
		return
	}
	for _, v := range m.views {
		v.move(m.Slot, from, m.Load)
	}
}
