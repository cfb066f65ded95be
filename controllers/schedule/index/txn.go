package index

import "slices"

// Txn is what a plan enters in the index while it is made, so that each decision sees the previous ones. Undo removes all of
// it again. What a plan frees stays occupied until the write has been seen.
type Txn struct {
	x      *Index
	places []*Place
	room   []Place // for the next ones: a plan of a new cluster enters all units
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

// Enter records that a unit gets a machine.
func (t *Txn) Enter(u *Unit, m *Machine) {
	if len(t.room) == 0 {
		t.room = make([]Place, 16)
	}
	p := &t.room[0]
	t.room = t.room[1:]
	p.Unit, p.Machine, p.MachineName, p.UnitName = u, m, m.ID, u.Name
	t.x.link(p)
	t.places = append(t.places, p)
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

// Undo removes everything entered.
func (t *Txn) Undo() {
	for _, p := range slices.Backward(t.places) {
		t.x.unlink(p)
	}
	t.places, t.room = nil, nil
}
