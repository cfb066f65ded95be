package index

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Txn is what a plan enters in the index while it is made, so that each decision sees the previous ones. Undo removes all of
// it again. What a plan frees stays occupied until the write has been seen.
type Txn struct {
	x       *Index
	places  []*Place
	room    []Place // for the next ones: a plan of a new cluster enters all units
	formers []*Former
	held    []held
}

// held are ports that a placement is about to get in addition to those that it has.
type held struct {
	assigned v1.Assignment
	machine  *Machine
}

// Begin begins a plan: it adds new and changed machines.
func (x *Index) Begin() *Txn {
	x.prepare()
	x.Epoch++
	return &Txn{x: x}
}

// Grow makes room for n more decisions.
func (t *Txn) Grow(n int) {
	t.places = slices.Grow(t.places, n)
	t.room = make([]Place, n)
}

// Hold records that a placement gets ports.
func (t *Txn) Hold(assigned v1.Assignment, m *Machine) {
	if assigned != "" && m.Indexed {
		t.x.rules.Hold(assigned, m)
		t.held = append(t.held, held{assigned, m})
	}
}

// Enter records that a unit gets a machine, and ports there.
func (t *Txn) Enter(u *Unit, m *Machine, assigned v1.Assignment) {
	p := t.place(u, m)
	p.Value.Assigned = assigned
	t.x.link(p)
}

// EnterFormer records that a unit gets a machine, where it goes on with another file than its own. Both count.
func (t *Txn) EnterFormer(u *Unit, m *Machine, hash string, fleet unitfile.Fleet) {
	p := t.place(u, m)
	p.Value.Hash, p.former = hash, t.x.newFormer(u, hash, fleet)
	t.formers = append(t.formers, p.former)
	t.x.link(p)
}

func (t *Txn) place(u *Unit, m *Machine) *Place {
	if len(t.room) == 0 {
		t.room = make([]Place, 16)
	}
	p := &t.room[0]
	t.room = t.room[1:]
	p.Unit, p.Machine, p.MachineName, p.UnitName = u, m, m.ID, u.Name
	t.places = append(t.places, p)
	return p
}

// Without evaluates what as if some placements did not exist.
func (t *Txn) Without(places []*Place, what func() bool) bool {
	for _, p := range places {
		t.x.unlink(p)
	}
	defer func() {
		for _, p := range slices.Backward(places) {
			t.x.link(p)
		}
	}()
	return what()
}

// With evaluates what with one more unit, which is on no machine: the rules know it meanwhile, the index does not.
func (t *Txn) With(spec UnitSpec, what func(u *Unit)) {
	u := &Unit{UnitSpec: spec, Known: true}
	t.x.rules.Bind(u)
	t.x.rules.Named(u) // now that its own patterns are known, too
	defer func() {
		t.x.rules.Unbind(u)
		t.x.rules.Forget(u)
	}()
	what(u)
}

// Undo removes everything entered.
func (t *Txn) Undo() {
	for _, p := range slices.Backward(t.places) {
		t.x.unlink(p)
	}
	for _, f := range t.formers {
		t.x.dropFormer(f)
	}
	for _, h := range t.held {
		t.x.rules.Release(h.assigned, h.machine)
	}
	t.places, t.room, t.formers, t.held = nil, nil, nil, nil
}
