package index

import "slices"

// Txn is what a plan enters in the index while it is made: the next decision sees those before it. Undo takes all of it
// out again, so that the index is as it was. What a plan frees stays occupied until that is seen to be written.
type Txn struct {
	x      *Index
	places []*Place
}

// Begin begins a plan: it enters machines that came or changed.
func (x *Index) Begin() *Txn {
	x.prepare()
	x.Epoch++
	return &Txn{x: x}
}

// Grow makes room for n more decisions.
func (t *Txn) Grow(n int) { t.places = slices.Grow(t.places, n) }

// Enter notes that a unit gets a machine.
func (t *Txn) Enter(u *Unit, m *Machine) {
	p := &Place{Unit: u, Machine: m, Placed: Placed{MachineName: m.ID, UnitName: u.Name}}
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
	t.places = nil
}
