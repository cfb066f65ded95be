// Package index keeps machines, units and placements as they are stored, in such a way that finding a machine for a unit
// costs the same however many units are placed. It is told of changes in any order, each at a cost in proportion to that
// change. It knows no option of unit files: what units ask of machines is entered and taken out by its Rules.
package index

import (
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Rules enter what units ask for in sets of their own, and take it out again. Each method is undone by its counterpart.
type Rules interface {
	// Same says that a unit would ask for the same with another spec.
	Same(u *Unit, spec *UnitSpec) bool
	// Named tells of a unit that is new by its name; nothing else is known of it yet.
	Named(u *Unit)
	// Bind ties a unit to what it shares with others, by its spec. It is on no machine of the index then.
	Bind(u *Unit)
	// Unbind undoes Bind. Bind follows, or Forget.
	Unbind(u *Unit)
	// Forget tells that a unit, or its former file, is known no more.
	Forget(u *Unit)
	// Enter tells that a unit is on one more machine of the index, Leave that it is on one fewer.
	Enter(u *Unit, m *Machine)
	Leave(u *Unit, m *Machine)
	// Attach tells of a machine that has a slot now, before its units are entered; Detach that it has none, after they left.
	Attach(m *Machine)
	Detach(m *Machine)
}

// Index is what plans are made on. It has no lock: one goroutine at a time.
type Index struct {
	// Words is how long bitmaps are: 64 slots a word. Slots are in the order of machine IDs, with gaps for machines to come.
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
	// followers are the units that have to be beside a unit, whether or not that exists.
	followers map[string][]*Unit

	slots   []*Machine
	spare   Bits
	sorted  []*Machine // those that have a slot
	waiting []*Machine // present and not in the index yet

	dirty         []*Unit
	dirtyMachines []*Machine
	pending       map[*Unit]Wait
	wake          Wait
	absent        map[*Machine]struct{} // machines that are known and not present
	stray         map[string]int64
	unplaced      map[string]*Unplaced
	unexplained   []*Place // they name a file that is not known
	frozen        bool
}

// Wait is what has to change before a unit is looked at again.
type Wait uint8

// What units wait for.
const (
	ForRoom  Wait = 1 << iota // no machine fits
	ForDrain                  // another unit of its family has to be active first, or its app to let it go
	ForThaw                   // moves are frozen
	ForTime                   // time has to pass
)

// Unplaced is what is stored of why a unit has no machine.
type Unplaced struct {
	Value v1.Unplaced
	Mod   int64
}

// New returns an empty index. newRules makes the rules, which keep a reference to it.
func New(newRules func(*Index) Rules) *Index {
	x := &Index{
		units: map[string]*Unit{}, machines: map[string]*Machine{}, families: map[string]*Family{}, globals: map[*Unit]struct{}{},
		followers: map[string][]*Unit{}, pending: map[*Unit]Wait{}, absent: map[*Machine]struct{}{}, stray: map[string]int64{},
		unplaced: map[string]*Unplaced{},
	}
	x.rules = newRules(x)
	return x
}

// Rules are those that the index was made with.
func (x *Index) Rules() Rules { return x.rules }

// Idle says that a plan would find nothing to look at.
func (x *Index) Idle() bool {
	return len(x.dirty) == 0 && len(x.dirtyMachines) == 0 && len(x.waiting) == 0 && len(x.stray) == 0 &&
		(x.wake == 0 || len(x.pending) == 0)
}

// Dirty are the units that something has changed for, DirtyMachines the machines whose global units have to be looked at.
func (x *Index) Dirty() []*Unit { return x.dirty }

// DirtyMachines are in no order.
func (x *Index) DirtyMachines() []*Machine { return x.dirtyMachines }

// Woken gives the units for which what they wait for may have changed; frozen is whether moves are frozen now.
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

// Frozen says whether moves were frozen by the last plan that was committed.
func (x *Index) Frozen() bool { return x.frozen }

// Pending is a unit that waits.
type Pending struct {
	Unit *Unit
	For  Wait
}

// Commit notes that a plan is being carried out: nothing is dirty any more. looked says whether the plan looked at a unit.
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
		x.pending[p.Unit] = p.For
	}
	x.wake, x.frozen = 0, frozen
}

// Retry has the next plan look at a unit again: what was planned for it could not be written. Others may have been
// refused for the room that it would have taken.
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

// touchPlace marks a unit because of one of its placements: of a global unit only what is on that machine.
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

// SetUnplaced tells what is stored of why a unit has no machine; DeleteUnplaced that nothing is.
func (x *Index) SetUnplaced(unit string, value v1.Unplaced, mod int64) {
	x.unplaced[unit] = &Unplaced{value, mod}
	x.touch(x.unit(unit))
}

// DeleteUnplaced tells that no reason is stored any more.
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

// Unplaced is what is stored of why a unit has no machine; nil: nothing.
func (x *Index) Unplaced(unit string) *Unplaced { return x.unplaced[unit] }

// SetStray tells of a key below placements/ that names no machine and unit; DeleteStray that it is gone.
func (x *Index) SetStray(name string, mod int64) { x.stray[name] = mod }

// DeleteStray tells that a stray key is gone.
func (x *Index) DeleteStray(name string) { delete(x.stray, name) }

// Strays are the stray keys with their ModRevision.
func (x *Index) Strays() map[string]int64 { return x.stray }

// ByName orders units by name, ByID machines by ID.
func ByName(a, b *Unit) int { return strings.Compare(a.Name, b.Name) }

// ByID orders machines by ID.
func ByID(a, b *Machine) int { return strings.Compare(a.ID, b.ID) }
