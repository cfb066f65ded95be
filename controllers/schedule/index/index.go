// Package index holds machines, units and placements so that the cost of finding a machine for a unit does not depend on the
// number of placed units. Changes may arrive in any order, each at a cost in proportion to that change. The package knows no
// options of unit files: its Rules enter and remove what units ask of machines.
package index

import (
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Rules maintain their own sets of what units ask for. Each method has an inverse.
type Rules interface {
	// Same reports whether a unit would ask for the same with another spec.
	Same(u *Unit, spec *UnitSpec) bool
	// Named is called for a new unit, of which only the name is known.
	Named(u *Unit)
	// Bind ties a unit to what it shares with others, according to its spec. It is on no machine of the index at that time.
	Bind(u *Unit)
	// Unbind is the inverse of Bind. It is followed by Bind or Forget.
	Unbind(u *Unit)
	// Forget is called when a unit, or its former file, is dropped.
	Forget(u *Unit)
	// Enter is called when a unit is on one more machine of the index, Leave when it is on one fewer.
	Enter(u *Unit, m *Machine)
	Leave(u *Unit, m *Machine)
	// Hold is called when a placement holds automatic ports on a machine of the index, Release when it does not any more.
	Hold(assigned v1.Assignment, m *Machine)
	Release(assigned v1.Assignment, m *Machine)
	// Attach is called when a machine gets a slot, before its units are entered; Detach when it loses it, after they left.
	Attach(m *Machine)
	Detach(m *Machine)
}

// Index is the data that plans are made on. It has no lock: use it from one goroutine at a time.
type Index struct {
	// Words is the length of bitmaps, with 64 slots per word. Slots are in the order of machine IDs, with gaps for new
	// machines.
	Words int
	// Anywhere is all machines.
	Anywhere View
	// Epoch counts plans.
	Epoch uint64

	rules    Rules
	units    map[string]*Unit
	machines map[string]*Machine
	names    names
	families map[string]*Family
	globals  map[*Unit]struct{}
	// followers are the units that have to be with a unit, whether or not that exists.
	followers map[string][]*Unit

	slots   []*Machine
	spare   Bits
	sorted  []*Machine // those with a slot
	waiting []*Machine // present but not in the index yet

	dirty         []*Unit
	dirtyMachines []*Machine
	pending       map[*Unit]Wait
	wake          Wait
	absent        map[*Machine]struct{} // known machines that are not present
	stray         map[string]int64
	unplaced      map[string]*Unplaced
	unexplained   []*Place // they name an unknown file
	frozen        bool
}

// Wait is what has to change before a unit is planned again.
type Wait uint8

// What units wait for.
const (
	ForRoom  Wait = 1 << iota // no machine fits
	ForDrain                  // another unit of its family has to be active first, or its app has to let it go
	ForThaw                   // moves are frozen
	ForTime                   // time has to pass
)

// Unplaced is the stored explanation why a unit has no machine.
type Unplaced struct {
	Value v1.Unplaced
	Mod   int64
}

// New returns an empty index. newRules creates its rules, which keep a reference to it.
func New(newRules func(*Index) Rules) *Index {
	x := &Index{
		units: map[string]*Unit{}, machines: map[string]*Machine{}, families: map[string]*Family{}, globals: map[*Unit]struct{}{},
		followers: map[string][]*Unit{}, pending: map[*Unit]Wait{}, absent: map[*Machine]struct{}{}, stray: map[string]int64{},
		unplaced: map[string]*Unplaced{},
	}
	x.rules = newRules(x)
	return x
}

// Rules returns the rules that the index was created with.
func (x *Index) Rules() Rules { return x.rules }

// Idle reports whether a plan would have nothing to do.
func (x *Index) Idle() bool {
	return len(x.dirty) == 0 && len(x.dirtyMachines) == 0 && len(x.waiting) == 0 && len(x.stray) == 0 &&
		(x.wake == 0 || len(x.pending) == 0)
}

// Dirty are the units affected by changes.
func (x *Index) Dirty() []*Unit { return x.dirty }

// DirtyMachines are the machines whose global units have to be planned, in no particular order.
func (x *Index) DirtyMachines() []*Machine { return x.dirtyMachines }

// Woken yields the units for which what they wait for may have changed; frozen is whether moves are frozen now.
func (x *Index) Woken(frozen bool) func(yield func(*Unit) bool) {
	wake := x.wake | ForTime
	if x.frozen != frozen {
		wake |= ForThaw
	}
	return func(yield func(*Unit) bool) {
		for u, why := range x.pending {
			if why&wake != 0 && !yield(u) {
				return
			}
		}
	}
}

// Frozen reports whether the last committed plan froze moves.
func (x *Index) Frozen() bool { return x.frozen }

// Refreeze sets what Frozen reports, for an index that continues another one.
func (x *Index) Refreeze(frozen bool) { x.frozen = frozen }

// Pending is a waiting unit.
type Pending struct {
	Unit *Unit
	For  Wait
}

// Commit records that a plan is being carried out: nothing is dirty any more. looked reports whether the plan included a
// unit.
func (x *Index) Commit(pending []Pending, frozen bool, looked func(*Unit) bool) {
	for _, u := range x.dirty {
		u.dirty = false
	}
	for _, m := range x.dirtyMachines {
		m.dirty = false
	}
	x.dirty, x.dirtyMachines = x.dirty[:0], x.dirtyMachines[:0]
	for u, why := range x.pending {
		if why == 0 || looked(u) {
			delete(x.pending, u)
		}
	}
	for _, p := range pending {
		x.pending[p.Unit] |= p.For // a global unit may wait for one thing on this machine, for another on that
	}
	x.wake, x.frozen = 0, frozen
}

// Retry makes the next plan include a unit whose decision could not be written. Other units may have been refused because of
// the room that it would have taken.
func (x *Index) Retry(name string) {
	x.wake |= ForRoom | ForDrain
	if u := x.units[name]; u != nil {
		x.touchGroup(u)
	}
}

func (x *Index) touch(u *Unit) {
	if !u.dirty {
		u.dirty = true
		x.dirty = append(x.dirty, u)
	}
}

// touchGroup marks a unit and those that have to be on its machine.
func (x *Index) touchGroup(u *Unit) {
	x.touch(u)
	for _, f := range x.followers[u.Name] {
		x.touch(f)
	}
}

// touchPlace marks a unit because of one of its placements: for a global unit only that machine.
func (x *Index) touchPlace(u *Unit, m *Machine) {
	if u.Fleet.Global && !u.Gone() {
		x.touchMachine(m)
	} else {
		x.touch(u)
	}
	for _, f := range x.followers[u.Name] {
		x.touch(f)
	}
}

func (x *Index) touchMachine(m *Machine) {
	if !m.dirty {
		m.dirty = true
		x.dirtyMachines = append(x.dirtyMachines, m)
	}
}

// SetUnplaced sets the stored explanation why a unit has no machine.
func (x *Index) SetUnplaced(unit string, value v1.Unplaced, mod int64) {
	x.unplaced[unit] = &Unplaced{value, mod}
	x.touch(x.unit(unit))
}

// DeleteUnplaced removes it.
func (x *Index) DeleteUnplaced(unit string) {
	if x.unplaced[unit] == nil {
		return
	}
	delete(x.unplaced, unit)
	if u := x.units[unit]; u != nil {
		x.touch(u)
		x.forgetUnit(u)
	}
}

// Unplaced returns the stored explanation why a unit has no machine; nil if there is none.
func (x *Index) Unplaced(unit string) *Unplaced { return x.unplaced[unit] }

// SetStray adds a key below placements/ that names no machine and unit.
func (x *Index) SetStray(name string, mod int64) { x.stray[name] = mod }

// DeleteStray removes a stray key.
func (x *Index) DeleteStray(name string) { delete(x.stray, name) }

// Strays returns the stray keys with their ModRevision.
func (x *Index) Strays() map[string]int64 { return x.stray }

// ByName orders units by name.
func ByName(a, b *Unit) int { return strings.Compare(a.Name, b.Name) }

// ByID orders machines by ID.
func ByID(a, b *Machine) int { return strings.Compare(a.ID, b.ID) }
