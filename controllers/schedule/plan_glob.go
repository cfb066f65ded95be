package schedule

import (
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// glob is one pattern of Conflicts= or Replaces=, shared by all units that carry it.
type glob struct {
	unitfile.Glob
	refs int // how often units carry it

	matched   crowd      // units whose name it matches
	conflicts crowd      // units that carry it in Conflicts=
	replaces  machineSet // machines with a unit that carries it in Replaces=

	epoch   uint64 // scratch of a plan: who of a group carries it
	carrier *unit
	several bool
}

// globs finds the globs that match a name without trying them all: by their literal prefix.
type globs struct {
	byPattern map[string]*glob
	byPrefix  map[string][]*glob // those with a wildcard
	lengths   []int              // of the prefixes, ascending
	uses      map[int]int        // how many prefixes have that length
}

func newGlobs() globs {
	return globs{byPattern: map[string]*glob{}, byPrefix: map[string][]*glob{}, uses: map[int]int{}}
}

func (t *globs) add(g *glob) {
	t.byPattern[g.Pattern] = g
	if g.Exact {
		return
	}
	t.byPrefix[g.Prefix] = append(t.byPrefix[g.Prefix], g)
	n := len(g.Prefix)
	if t.uses[n]++; t.uses[n] == 1 {
		i, _ := slices.BinarySearch(t.lengths, n)
		t.lengths = slices.Insert(t.lengths, i, n)
	}
}

func (t *globs) remove(g *glob) {
	delete(t.byPattern, g.Pattern)
	if g.Exact {
		return
	}
	rest := slices.DeleteFunc(t.byPrefix[g.Prefix], func(other *glob) bool { return other == g })
	if t.byPrefix[g.Prefix] = rest; len(rest) == 0 {
		delete(t.byPrefix, g.Prefix)
	}
	n := len(g.Prefix)
	if t.uses[n]--; t.uses[n] == 0 {
		i, _ := slices.BinarySearch(t.lengths, n)
		t.lengths = slices.Delete(t.lengths, i, i+1)
	}
}

func (t *globs) matching(name string) []*glob {
	var found []*glob
	if g := t.byPattern[name]; g != nil && g.Exact && g.Prefix == name {
		found = append(found, g)
	}
	for _, n := range t.lengths {
		if n > len(name) {
			break
		}
		for _, g := range t.byPrefix[name[:n]] {
			if g.Match(name) {
				found = append(found, g)
			}
		}
	}
	return found
}

// names finds the units whose names begin with a prefix.
type names struct {
	sorted []*unit // dropped ones included, until they are too many
	fresh  []*unit // not sorted in yet
	dead   int
}

func (n *names) add(u *unit) { n.fresh = append(n.fresh, u) }

func (n *names) drop() {
	if n.dead++; n.dead > 1000+len(n.sorted)/2 {
		n.compact()
	}
}

func (n *names) compact() {
	dropped := func(u *unit) bool { return u.dropped }
	n.sorted, n.fresh, n.dead = slices.DeleteFunc(n.sorted, dropped), slices.DeleteFunc(n.fresh, dropped), 0
}

// withPrefix costs no more than what it finds, plus sorting in what is new.
func (n *names) withPrefix(prefix string) []*unit {
	n.settle()
	from, _ := slices.BinarySearchFunc(n.sorted, prefix, func(u *unit, p string) int { return strings.Compare(u.name, p) })
	to := from
	for to < len(n.sorted) && strings.HasPrefix(n.sorted[to].name, prefix) {
		to++
	}
	return n.sorted[from:to]
}

func (n *names) settle() {
	switch len(n.fresh) {
	case 0:
	case 1:
		i, _ := slices.BinarySearchFunc(n.sorted, n.fresh[0], byName)
		n.sorted = slices.Insert(n.sorted, i, n.fresh[0])
	default:
		n.compact()
		n.sorted = append(n.sorted, n.fresh...)
		slices.SortFunc(n.sorted, byName)
	}
	n.fresh = n.fresh[:0]
}
