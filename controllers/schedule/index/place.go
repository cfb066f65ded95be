package index

import (
	"cmp"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Placed is a placement as it is stored.
type Placed struct {
	MachineName, UnitName string
	Value                 v1.Placement
	// Mod and Create are the key's revisions. Of two units in conflict the one that was placed first stays.
	Mod, Create int64
}

// Place is a unit on a machine: as it is stored, or as a plan in the making has it.
type Place struct {
	Placed
	Unit    *Unit
	Machine *Machine
	former  *Former // the file that it names, where that is known and not the unit's
}

// Changes says that the unit has another file than the one that it runs with there.
func (p *Place) Changes() bool { return p.Value.Hash != p.Unit.Hash }

// SetPlacement tells of a placement that is stored.
func (x *Index) SetPlacement(placed Placed) {
	u, m := x.unit(placed.UnitName), x.machine(placed.MachineName)
	placed.UnitName, placed.MachineName = u.Name, m.ID
	x.touchPlace(u, m)
	if p := x.PlaceOf(u, m); p != nil {
		if p.Value.Hash == placed.Value.Hash {
			p.Placed = placed
			return
		}
		x.wake |= ForDrain // as below: the file that it names may be a former one
		x.leaveFormer(p)
		x.disown(p)
		p.Placed = placed
		x.adopt(p)
		x.enterFormer(p)
		return
	}
	x.wake |= ForDrain // it may take the room that another unit is asked to leave its machine for
	p := &Place{Unit: u, Machine: m, Placed: placed}
	x.adopt(p)
	x.link(p)
}

// DeletePlacement tells of a placement that is gone.
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

// PlaceOf is the placement of a unit on a machine; nil: there is none.
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

// Keeper returns which of several placements of a unit counts: on a machine that is present, that the unit matches, where it is
// active, the one that was there first.
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

// First orders what is true before what is not.
func First(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// ByMachine are the placements of a unit in the order of machine IDs.
func (u *Unit) ByMachine() []*Place {
	return slices.SortedFunc(slices.Values(u.Places), func(a, b *Place) int { return strings.Compare(a.MachineName, b.MachineName) })
}

// link and unlink make a unit a unit of a machine, or not. They undo each other exactly.
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

// removeLast looks from the end: a plan takes back what it added last.
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

// occupy enters in all sets and counts that a unit is on a machine, with its former file where it runs with that.
func (x *Index) occupy(p *Place) {
	x.enter(p.Unit, p.Machine)
	x.enterFormer(p)
}

func (x *Index) vacate(p *Place) {
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
	x.reload(m, u.weight())
}

// exit takes back what enter entered. What a unit held is free with that, although its process may still be stopping on
// the machine, or, where the machine was cut off, runs on until it has a replacement. Waiting for the state that the
// machine reports would leave units that take over a port, such as those of an app with a new name, unplaced with a
// warning each time, and for ever where no machine reports. What starts too early cannot bind, and systemd starts it again:
// generated units have Restart=always, RestartSec= and no start limit. Units of people have what they wrote.
func (x *Index) exit(u *Unit, m *Machine) {
	u.On--
	if u.Concerns != 0 {
		x.rules.Leave(u, m)
	}
	x.reload(m, -u.weight())
}

// ShareShift leaves room below the number of units for the share of the machine that they request, in sixteenths.
const ShareShift = 4

// reload changes a machine's number of units and its place in the order of load: by the number of units, then by the
// share of the machine that they request.
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
