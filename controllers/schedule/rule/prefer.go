package rule

import (
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// prefer is PreferMetadata=: a unit goes to a machine that meets most of its terms, but to any other rather than to none. It does not move
// when a better machine joins.
type prefer struct {
	base
	wishes map[string]*wish
}

// wish is the terms that units prefer, with the machines by the number of terms that they meet.
type wish struct {
	id    string
	terms []term
	refs  int
	met   []index.Bits // met[i]: machines that meet all but i terms; those that meet none are not there
}

func (r *prefer) join(x *index.Index, n int) {
	r.wishes = map[string]*wish{}
	r.base.join(x, n)
}

// Key is the terms.
func (r *prefer) Key(b []byte, f *unitfile.Fleet) []byte { return demandKey(b, f.PreferMetadata) }

func (r *prefer) of(u *index.Unit) *wish {
	w, _ := u.Bound(r.n).(*wish)
	return w
}

// Bind finds or makes the wish of a unit. A former file has none.
func (r *prefer) Bind(u *index.Unit) {
	if len(u.Fleet.PreferMetadata) == 0 || u.Fleet.Global || u.Of != nil {
		return
	}
	id := r.Key(nil, &u.Fleet)
	w := r.wishes[string(id)]
	if w == nil {
		w = &wish{id: string(id), terms: termsOf(u.Fleet.PreferMetadata)}
		w.met = make([]index.Bits, len(w.terms))
		r.wishes[w.id] = w
		for _, m := range r.x.Machines() {
			if m.Indexed {
				w.attach(m, r.x.Words)
			}
		}
	}
	w.refs++
	u.SetBound(r.n, w)
}

// Unbind drops a wish that no unit has.
func (r *prefer) Unbind(u *index.Unit) {
	w := r.of(u)
	if w == nil {
		return
	}
	u.SetBound(r.n, nil)
	if w.refs--; w.refs == 0 {
		delete(r.wishes, w.id)
	}
}

// Attach counts how many terms of each wish a machine meets.
func (r *prefer) Attach(m *index.Machine) {
	for _, w := range r.wishes {
		w.attach(m, r.x.Words)
	}
}

// Detach undoes Attach.
func (r *prefer) Detach(m *index.Machine) {
	for _, w := range r.wishes {
		if missed := w.missed(m); len(missed) < len(w.terms) {
			w.met[len(missed)].Clear(m.Slot)
		}
	}
}

func (w *wish) attach(m *index.Machine, words int) {
	for i := range w.met {
		if len(w.met[i]) != words { // the index has other slots now, and no machine yet
			w.met[i] = make(index.Bits, words)
		}
	}
	if missed := w.missed(m); len(missed) < len(w.terms) {
		w.met[len(missed)].Set(m.Slot)
	}
}

func (w *wish) missed(m *index.Machine) (terms []string) {
	for _, t := range w.terms {
		if !t.meets(m.Labels) {
			terms = append(terms, t.String())
		}
	}
	return terms
}

// Tiers is the number of counts of met terms.
func (w *wish) Tiers() int { return len(w.met) }

// Tier returns the machines that meet all but i terms.
func (w *wish) Tier(i int) index.Bits { return w.met[i] }

// Filter prefers machines by the wish of the first member that has one.
func (r *prefer) Filter(q *Search) {
	for _, u := range q.Members {
		if w := r.of(u); w != nil && len(w.met[0]) == r.x.Words {
			q.Prefer(w)
			return
		}
	}
}

// Wish names the terms that the machine does not meet.
func (r *prefer) Wish(u *index.Unit, m *index.Machine) string {
	w := r.of(u)
	if w == nil {
		return ""
	}
	missed := w.missed(m)
	if len(missed) == 0 {
		return ""
	}
	return "it would rather be on a machine with metadata " + strings.Join(missed, " and ")
}
