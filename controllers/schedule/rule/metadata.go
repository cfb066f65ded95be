package rule

import (
	"maps"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonMachineMetadata is the reason of MachineMetadata=.
const ReasonMachineMetadata = "MachineMetadata" // the machine's metadata does not match MachineMetadata=

// machineMetadata is MachineMetadata=: for each key the machine has one of the values.
type machineMetadata struct {
	base
	selectors map[string]*selector
	byTerm    map[pair][]*selector // by the pairs of their first term
	machines  map[pair]*index.Set
}

// selector is one requirement, shared by all units that have it, with the machines that meet it.
type selector struct {
	id    string
	terms []term
	refs  int
	view  index.View
}

// pair is a metadata key with one value.
type pair struct{ key, value string }

// term requires one of these values for this key.
type term struct {
	key    string
	values []string
}

func (t term) String() string {
	return t.key + "=" + strings.Join(t.values, " or ")
}

func (t term) meets(labels map[string]string) bool {
	v, ok := labels[t.key]
	return ok && slices.Contains(t.values, v)
}

func (s *selector) meets(labels map[string]string) bool {
	for _, t := range s.terms {
		if !t.meets(labels) {
			return false
		}
	}
	return true
}

func (r *machineMetadata) join(x *index.Index, n int) {
	r.selectors, r.byTerm, r.machines = map[string]*selector{}, map[pair][]*selector{}, map[pair]*index.Set{}
	r.base.join(x, n)
}

// Key is the requirement.
func (r *machineMetadata) Key(b []byte, f *unitfile.Fleet) []byte {
	return demandKey(b, f.MachineMetadata)
}

// demandKey appends a requirement on metadata in a canonical form.
func demandKey(b []byte, demand map[string][]string) []byte {
	if len(demand) == 0 {
		return b
	}
	var few [8]string
	keys := few[:0]
	for key := range demand {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		b = append(append(b, key...), 0)
		for _, v := range demand[key] {
			b = append(append(b, v...), 0)
		}
		b = append(b, 1)
	}
	return b
}

// termsOf returns the terms of a requirement, sorted by key.
func termsOf(demand map[string][]string) (terms []term) {
	for _, key := range slices.Sorted(maps.Keys(demand)) {
		terms = append(terms, term{key, demand[key]})
	}
	return terms
}

func (r *machineMetadata) of(u *index.Unit) *selector {
	s, _ := u.Bound(r.n).(*selector)
	return s
}

// Bind finds or makes the selector of a unit. A former file has none: the new file decides where the unit may be.
func (r *machineMetadata) Bind(u *index.Unit) {
	demand := u.Fleet.MachineMetadata
	if len(demand) == 0 || u.Of != nil {
		return
	}
	id := r.Key(nil, &u.Fleet)
	s := r.selectors[string(id)]
	if s == nil {
		s = &selector{id: string(id), terms: termsOf(demand)}
		r.add(s)
	}
	s.refs++
	u.SetBound(r.n, s)
}

func (r *machineMetadata) add(s *selector) {
	r.selectors[s.id] = s
	for _, v := range s.terms[0].values {
		p := pair{s.terms[0].key, v}
		r.byTerm[p] = append(r.byTerm[p], s)
	}
	for _, m := range r.x.Machines() {
		if m.Indexed && s.meets(m.Labels) {
			s.view.Add(m, r.x.Words)
		}
	}
}

// Unbind drops a selector that no unit has.
func (r *machineMetadata) Unbind(u *index.Unit) {
	s := r.of(u)
	if s == nil {
		return
	}
	u.SetBound(r.n, nil)
	if s.refs--; s.refs > 0 {
		return
	}
	delete(r.selectors, s.id)
	for _, v := range s.terms[0].values {
		p := pair{s.terms[0].key, v}
		if rest := index.Remove(r.byTerm[p], s); len(rest) > 0 {
			r.byTerm[p] = rest
		} else {
			delete(r.byTerm, p)
		}
	}
	r.x.Drop(&s.view)
}

// Attach finds the selectors that a machine meets by its metadata, without trying them all.
func (r *machineMetadata) Attach(m *index.Machine) {
	for key, value := range m.Labels {
		p := pair{key, value}
		for _, s := range r.byTerm[p] {
			if s.meets(m.Labels) {
				s.view.Add(m, r.x.Words)
			}
		}
		set := r.machines[p]
		if set == nil {
			set = &index.Set{}
			r.machines[p] = set
		}
		set.Add(m.Slot, r.x.Words)
	}
}

// Detach undoes Attach; views forget machines themselves.
func (r *machineMetadata) Detach(m *index.Machine) {
	for key, value := range m.Labels {
		p := pair{key, value}
		set := r.machines[p]
		if set.Remove(m.Slot); set.N == 0 {
			delete(r.machines, p)
		}
	}
}

// Mismatch names the first term that the machine does not meet.
func (r *machineMetadata) Mismatch(u *index.Unit, m *index.Machine) (Refusal, bool) {
	s := r.of(u)
	if s == nil || s.meets(m.Labels) {
		return Refusal{}, false
	}
	i := slices.IndexFunc(s.terms, func(t term) bool { return !t.meets(m.Labels) })
	return Refusal{Reason: ReasonMachineMetadata, Message: m.ID + " has no metadata " + s.terms[i].String()}, true
}

// Filter leaves the machines that meet the requirement.
func (r *machineMetadata) Filter(q *Search) {
	for _, u := range q.Members {
		s := r.of(u)
		switch {
		case s == nil:
		case s.view.N == 0:
			q.never = true
		case q.View == &r.x.Anywhere:
			q.View = &s.view
		default:
			q.Require = append(q.Require, s.view.Match)
		}
	}
}

// Explain counts machines for each term.
func (r *machineMetadata) Explain(s *Survey, i int) {
	selector := r.of(s.Members[i])
	if selector == nil {
		return
	}
	for _, t := range selector.terms {
		met := r.x.Spare()
		clear(met)
		for _, value := range t.values {
			if set := r.machines[pair{t.key, value}]; set != nil {
				set.AddTo(met)
			}
		}
		words := " no metadata " + t.String()
		s.Add(ReasonMachineMetadata, "has"+words, "have"+words, i, "", s.Outside(met))
	}
}
