package schedule

import (
	"math/bits"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// ask is what units that go to one machine together ask of it. Every constraint is a set of machines to leave out or to
// keep to, so that finding one is a few operations on words for 64 machines at a time.
type ask struct {
	c       *Cluster
	members []*unit
	view    *view         // the machines to choose from, by load
	require []bitmap      // only these
	exclude []bitmap      // none of these
	few     []*machineSet // none of these either: sets with few machines
	pairs   bool          // Replaces= has to be looked at unit by unit
	need    request
	only    *machine // MachineID= or MachineOf= leaves one machine
	pinned  bool     // by MachineOf= to where the group is already: also where no new units go
	never   bool     // no machine can fit
	spread  *spread
}

// askFor gathers what members ask for. Sets that it refers to change with the plan: it is for use at once.
func (p *planner) askFor(members []*unit) *ask {
	a := &p.ask
	*a = ask{c: p.c, members: members, view: &p.c.anywhere.view, require: a.require[:0], exclude: a.exclude[:0], few: a.few[:0]}
	for _, u := range members {
		for _, g := range u.conflicts {
			a.without(&g.matched.machineSet)
		}
		for _, g := range u.matched {
			a.without(&g.conflicts.machineSet)
			a.pairs = a.pairs || g.replaces.n > 0
		}
		a.pairs = a.pairs || len(u.replaces) > 0
		for _, port := range u.Fleet.Ports {
			if s := p.c.ports[port]; s != nil {
				a.without(&s.machineSet)
			}
		}
		a.need = request{CPU: a.need.CPU + u.Fleet.CPU, Memory: a.need.Memory + u.Fleet.Memory}
		a.demand(u.selector)
		if a.spread == nil {
			a.spread = u.spread
		}
		if id := u.Fleet.MachineID; id != "" {
			a.pin(p.c.machines[id])
		}
		for _, t := range u.Fleet.MachineOf {
			if target := p.c.units[t]; target != nil && target.Fleet.Global {
				a.require = append(a.require, p.machinesOf(target))
			}
		}
	}
	if b := p.c.lacks[a.need]; b != nil {
		a.exclude = append(a.exclude, b)
	}
	if len(members) > 1 && p.quarrel(members) != "" {
		a.never = true
	}
	return a
}

func (a *ask) without(s *machineSet) {
	switch {
	case s.n == 0:
	case s.bits != nil:
		a.exclude = append(a.exclude, s.bits)
	default:
		a.few = append(a.few, s)
	}
}

func (a *ask) demand(s *selector) {
	switch {
	case len(s.terms) == 0:
	case s.n == 0:
		a.never = true
	case a.view == &a.c.anywhere.view:
		a.view = &s.view
	default:
		a.require = append(a.require, s.match)
	}
}

func (a *ask) pin(m *machine) {
	if m == nil || a.only != nil && a.only != m {
		a.never = true
	}
	a.only = m
}

// find returns the machine to take: with the fewest units of the same kind in its zone where that is asked for, then
// with the fewest units, then with the smallest share of it requested, then with the smallest ID. nil: none fits.
func (a *ask) find() *machine {
	switch {
	case a.never:
		return nil
	case a.only != nil:
		if a.fits(a.only) {
			return a.only
		}
		return nil
	case a.spread != nil:
		for _, l := range a.spread.levels {
			a.require = append(a.require, l.bits)
			m := a.least()
			a.require = a.require[:len(a.require)-1]
			if m != nil {
				return m
			}
		}
	}
	return a.least()
}

// fits looks at one machine alone.
func (a *ask) fits(m *machine) bool {
	if !m.indexed || a.never || a.only != nil && a.only != m || !(a.pinned && m.Problem == "" || m.schedulable()) {
		return false
	}
	for _, u := range a.members {
		if !u.selector.match.has(m.slot) {
			return false
		}
	}
	for _, b := range a.require {
		if !b.has(m.slot) {
			return false
		}
	}
	for _, b := range a.exclude {
		if b.has(m.slot) {
			return false
		}
	}
	return a.passes(m)
}

// passes looks at what sets of words do not say.
func (a *ask) passes(m *machine) bool {
	for _, s := range a.few {
		if s.has(m.slot) {
			return false
		}
	}
	if a.need != (v1.Capacity{}) && !m.fits(a.need) {
		a.c.learn(a.need, m)
		return false
	}
	if a.pairs {
		for _, u := range a.members {
			if rivalOn(u, m) != nil {
				return false
			}
		}
	}
	return true
}

// tryBuckets is how many loads are tried one by one before all that may fit is gathered first.
const tryBuckets = 4

func (a *ask) least() *machine {
	buckets := a.view.buckets
	for i, b := range buckets {
		if i == tryBuckets {
			return a.leastOf(buckets[i:])
		}
		for b.low < len(b.bits) && b.bits[b.low] == 0 {
			b.low++
		}
		for w := b.low; w < len(b.bits); w++ {
			if word := b.bits[w]; word != 0 {
				if m := a.first(w, a.filter(w, word)); m != nil {
					return m
				}
			}
		}
	}
	return nil
}

func (a *ask) filter(w int, word uint64) uint64 {
	for _, b := range a.require {
		word &= b[w]
	}
	for _, b := range a.exclude {
		word &^= b[w]
	}
	return word
}

func (a *ask) first(w int, word uint64) *machine {
	for ; word != 0; word &= word - 1 {
		if m := a.c.slots[w<<6+bits.TrailingZeros64(word)]; a.passes(m) {
			return m
		}
	}
	return nil
}

// leastOf finds the least loaded machine where loads differ much: few machines that may fit are compared one by one.
func (a *ask) leastOf(buckets []*bucket) *machine {
	allowed := a.c.scratch()
	n := 0
	for w, word := range a.view.all {
		allowed[w] = a.filter(w, word)
		n += bits.OnesCount64(allowed[w])
	}
	if n > len(allowed)*len(buckets) {
		for _, b := range buckets {
			for w := b.low; w < len(b.bits); w++ {
				if m := a.first(w, b.bits[w]&allowed[w]); m != nil {
					return m
				}
			}
		}
		return nil
	}
	var best *machine
	for w, word := range allowed {
		for ; word != 0; word &= word - 1 {
			m := a.c.slots[w<<6+bits.TrailingZeros64(word)]
			if (best == nil || m.load < best.load) && a.passes(m) {
				best = m
			}
		}
	}
	return best
}

func (c *Cluster) scratch() bitmap {
	if len(c.spareBits) != c.words {
		c.spareBits = make(bitmap, c.words)
	}
	return c.spareBits
}

// rivalOn returns a unit on the machine that replaces u or is replaced by it.
func rivalOn(u *unit, m *machine) *unit {
	var rival *unit
	for _, p := range m.places {
		if v := p.unit; v != u && (replaces(u, v) || replaces(v, u) || p.replaced(u)) && (rival == nil || v.name < rival.name) {
			rival = v
		}
	}
	return rival
}

// replaces: u takes the place of v. Two that would replace each other are let be.
func replaces(u, v *unit) bool {
	return shared(u.replaces, v.matched) != nil && shared(v.replaces, u.matched) == nil
}

// conflict returns the glob that keeps two units apart, and the one that carries it.
func conflict(u, v *unit) (g *glob, carrier *unit) {
	if g := shared(u.conflicts, v.matched); g != nil {
		return g, u
	}
	if g := shared(v.conflicts, u.matched); g != nil {
		return g, v
	}
	return nil, nil
}

// shared returns the first of a that is also in b. Both are short: the globs of one unit.
func shared(a, b []*glob) *glob {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return x
			}
		}
	}
	return nil
}
