package index

import "slices"

// Txn is what a plan enters in the index while it is made: the next decision sees those before it. Undo takes all of it
// out again, so that the index is as it was. What a plan frees stays occupied until that is seen to be written.
type Txn struct {
	x      *Index
	places []*Place
	room   []Place // for the next ones: a plan of a new cluster enters all units
}

// Begin begins a plan: it enters machines that came or changed.
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

// Enter notes that a unit gets a machine.
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

// Without asks what would be if some placements were not.
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

// Undo takes back all that was entered.
func (t *Txn) Undo() {
	for _, p := range slices.Backward(t.places) {
		t.x.unlink(p)
	}
	t.places, t.room = nil, nil
}
