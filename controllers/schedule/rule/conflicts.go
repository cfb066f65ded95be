package rule

import (
	"fmt"
	"slices"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonConflicts is the reason of Conflicts=.
const ReasonConflicts = "Conflicts" // it conflicts with a unit that was there first (Conflicts=)

// conflicts is Conflicts=: units that match the patterns never share a machine with the unit that has them, whichever was first.
type conflicts struct{ patterns }

func (r *conflicts) join(x *index.Index, n int) {
	r.patterns = newPatterns(func(f *unitfile.Fleet) []string { return f.Conflicts })
	r.base.join(x, n)
}

// Filter leaves out machines with a conflicting unit.
func (r *conflicts) Filter(q *Search) {
	for _, u := range q.Members {
		n := r.bound(u)
		for _, p := range n.carries {
			q.Without(&p.matched.Set)
		}
		for _, p := range n.matched {
			q.Without(&p.carried.Set)
		}
	}
}

// Clash names the pattern and the unit that has it.
func (r *conflicts) Clash(u, v *index.Unit) (Refusal, bool) {
	uCarries, uMatched := r.of(u)
	vCarries, vMatched := r.of(v)
	p, carrier := shared(uCarries, vMatched), u
	if p == nil {
		p, carrier = shared(vCarries, uMatched), v
	}
	if p == nil {
		return Refusal{}, false
	}
	return Refusal{Reason: ReasonConflicts, Message: fmt.Sprintf("%s conflicts with %s (Conflicts=%s of %s)", u.Label(), v.Label(), p.Pattern, carrier.Name)}, true
}

// Contended looks at the sets of the unit's patterns.
func (r *conflicts) Contended(u *index.Unit, m *index.Machine) bool { return r.contended(u, m) }

// Explain names the units that conflict.
func (r *conflicts) Explain(s *Survey, i int) {
	const one, many = "runs a unit that conflicts", "run a unit that conflicts"
	n := r.bound(s.Members[i])
	for _, p := range n.carries {
		if t := s.In(&p.matched.Set); t.N > 0 {
			names := s.Names(&p.matched, func(v *index.Unit) bool { return slices.Contains(r.bound(v).matched, p) })
			s.Add(ReasonConflicts, one, many, i, fmt.Sprintf(" (Conflicts=%s: %s)", p.Pattern, names), t)
		}
	}
	for _, p := range n.matched {
		if slices.Contains(n.carries, p) && p.carried.N == p.matched.N {
			continue // the same machines once more
		}
		if t := s.In(&p.carried.Set); t.N > 0 {
			names := s.Names(&p.carried, func(v *index.Unit) bool { return slices.Contains(r.bound(v).carries, p) && !r.again(v, p) })
			s.Add(ReasonConflicts, one, many, i, fmt.Sprintf(" (Conflicts=%s of %s)", p.Pattern, names), t)
		}
	}
}
