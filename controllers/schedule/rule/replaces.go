package rule

import (
	"fmt"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonReplaces is why a machine is left out because of Replaces=, ReasonReplaced why a unit leaves it.
const (
	ReasonReplaces = "Replaces" // the machine runs a unit that makes no room for it (Replaces=)
	ReasonReplaced = "Replaced" // another unit takes its place (Replaces=)
)

// replaces is Replaces=: the unit preempts the units that it names, which leave its machine. Of two units that name each other only
// one has a machine at a time, and neither preempts the other: that would never end. For the same reason none makes room where more of them
// name each other in a circle.
type replaces struct{ patterns }

func (r *replaces) join(x *index.Index, n int) {
	r.patterns = newPatterns(func(f *unitfile.Fleet) []string { return f.Replaces })
	r.base.join(x, n)
}

// pattern returns the pattern by which u replaces v; nil if it does not.
func (r *replaces) pattern(u, v *index.Unit) *pattern {
	uCarries, uMatched := r.of(u)
	vCarries, vMatched := r.of(v)
	if shared(vCarries, uMatched) != nil {
		return nil
	}
	return shared(uCarries, vMatched)
}

// rival returns a unit with a machine that u replaces and that replaces u; nil if there is none.
func (r *replaces) rival(u *index.Unit) *index.Unit {
	n := r.bound(u)
	if len(n.matched) == 0 {
		return nil
	}
	for _, p := range n.carries {
		others := p.matched.FirstUnits(1, func(v *index.Unit) bool {
			return v == u || shared(r.bound(v).carries, n.matched) == nil
		})
		if len(others) > 0 {
			return others[0]
		}
	}
	return nil
}

// Clash reports that one of the two replaces the other.
func (r *replaces) Clash(u, v *index.Unit) (Refusal, bool) {
	p := r.pattern(u, v)
	if p == nil {
		u, v = v, u
		p = r.pattern(u, v)
	}
	if p == nil {
		return Refusal{}, false
	}
	return Refusal{Reason: ReasonReplaced, Message: fmt.Sprintf("%s replaces %s (Replaces=%s)", u.Label(), v.Label(), p.Pattern)}, true
}

// Contended looks at the sets of its patterns.
func (r *replaces) Contended(u *index.Unit, m *index.Machine) bool { return r.contended(u, m) }

// Filter asks for a check of each machine: no set tells whether two units replace each other.
func (r *replaces) Filter(q *Search) {
	for _, u := range q.Members {
		n := r.bound(u)
		pairs := len(n.carries) > 0
		for _, p := range n.matched {
			pairs = pairs || p.carried.N > 0
		}
		if r.rival(u) != nil {
			q.never = true
			return
		}
		if pairs {
			q.checks = append(q.checks, r)
			return
		}
	}
}

func (r *replaces) allows(q *Search, m *index.Machine) bool {
	for _, u := range q.Members {
		if r.taken(u, m) {
			return false
		}
	}
	return true
}

// taken reports whether a unit on the machine replaces u or is replaced by it.
func (r *replaces) taken(u *index.Unit, m *index.Machine) bool {
	for _, p := range m.Places {
		if p.Unit == u {
			continue
		}
		if r.pattern(u, p.Unit) != nil || r.pattern(p.Unit, u) != nil || p.Former() != nil && r.pattern(p.Former(), u) != nil {
			return true
		}
	}
	return false
}

// Explain counts the machines with a unit that makes no room, or all if there is a rival.
func (r *replaces) Explain(s *Survey, i int) {
	u := s.Members[i]
	n := r.bound(u)
	if len(n.carries)+len(n.matched) == 0 {
		return
	}
	if rival := r.rival(u); rival != nil {
		s.Add(ReasonReplaces, "is barred", "are barred", i, " while "+rival.Name+" is placed: each of the two replaces the other (Replaces=)",
			s.Where(r.x.Machines(), func(*index.Machine) bool { return true }))
		return
	}
	may := r.x.Spare()
	clear(may)
	for _, p := range n.carries {
		p.matched.AddTo(may)
	}
	for _, p := range n.matched {
		p.carried.AddTo(may)
	}
	var machines []*index.Machine
	for slot := range may.All {
		machines = append(machines, r.x.At(slot))
	}
	s.Add(ReasonReplaces, "runs a unit that makes no room", "run a unit that makes no room", i, " (Replaces=)",
		s.Where(machines, func(m *index.Machine) bool { return r.taken(u, m) }))
}

// Preemptor reports whether a unit preempts others.
func (l *List) Preemptor(u *index.Unit) bool { return len(l.replaces.bound(u).carries) > 0 }

// Preempts reports whether u preempts v; Preemption explains it.
func (l *List) Preempts(u, v *index.Unit) bool {
	return l.replaces.pattern(u, v) != nil && !l.replaces.returns(v, u, map[*index.Unit]bool{})
}

// returns reports whether v is a unit that u replaces, or one that those replace, and so on. seen are units that it is not.
func (r *replaces) returns(u, v *index.Unit, seen map[*index.Unit]bool) bool {
	seen[u] = true
	for _, p := range r.bound(u).carries {
		for _, next := range r.x.WithPrefix(p.Prefix) {
			if seen[next] || next.Dropped() || next.Gone() || !p.Match(next.Name) || r.pattern(u, next) == nil {
				continue
			}
			if next == v || r.returns(next, v, seen) {
				return true
			}
		}
	}
	return false
}

// Preemption is why a unit has to leave for u.
func (l *List) Preemption(u *index.Unit) Refusal {
	return Refusal{Reason: ReasonReplaced, Message: u.Name + " takes its place (Replaces=)"}
}

// PreemptSites yields the machines with units that u may preempt; a machine with several may be yielded several times.
func (l *List) PreemptSites(u *index.Unit) (machines []*index.Machine) {
	for _, p := range l.replaces.bound(u).carries {
		for _, slot := range p.matched.First(len(l.x.Machines())) {
			machines = append(machines, l.x.At(slot))
		}
	}
	return machines
}
