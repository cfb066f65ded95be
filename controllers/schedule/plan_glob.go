package schedule

import (
	"path"
	"slices"
	"strings"
)

// glob is one pattern of Conflicts= or Replaces=, shared by all units that carry it.
type glob struct {
	pattern string
	prefix  string // the literal text before the first wildcard
	exact   bool   // no wildcard: matches one name
	refs    int    // units that carry it

	matched   machineSet // machines with a unit whose name it matches
	conflicts machineSet // machines with a unit that carries it in Conflicts=
	replaces  machineSet // machines with a unit that carries it in Replaces=
}

func newGlob(pattern string) *glob {
	g := &glob{pattern: pattern, prefix: pattern, exact: true}
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		g.prefix, g.exact = pattern[:i], false
	}
	return g
}

func (g *glob) match(name string) bool {
	if g.exact {
		return g.pattern == name
	}
	if !strings.HasPrefix(name, g.prefix) {
		return false
	}
	ok, err := path.Match(g.pattern, name)
	return ok && err == nil
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
	t.byPattern[g.pattern] = g
	if g.exact {
		return
	}
	t.byPrefix[g.prefix] = append(t.byPrefix[g.prefix], g)
	n := len(g.prefix)
	if t.uses[n]++; t.uses[n] == 1 {
		i, _ := slices.BinarySearch(t.lengths, n)
		t.lengths = slices.Insert(t.lengths, i, n)
	}
}

func (t *globs) remove(g *glob) {
	delete(t.byPattern, g.pattern)
	if g.exact {
		return
	}
	rest := slices.DeleteFunc(t.byPrefix[g.prefix], func(other *glob) bool { return other == g })
	if t.byPrefix[g.prefix] = rest; len(rest) == 0 {
		delete(t.byPrefix, g.prefix)
	}
	n := len(g.prefix)
	if t.uses[n]--; t.uses[n] == 0 {
		i, _ := slices.BinarySearch(t.lengths, n)
		t.lengths = slices.Delete(t.lengths, i, i+1)
	}
}

func (t *globs) matching(name string) []*glob {
	var found []*glob
	if g := t.byPattern[name]; g != nil && g.exact {
		found = append(found, g)
	}
	for _, n := range t.lengths {
		if n > len(name) {
			break
		}
		for _, g := range t.byPrefix[name[:n]] {
			if g.match(name) {
				found = append(found, g)
			}
		}
	}
	return found
}

// names finds the units whose names begin with a prefix.
type names struct {
	sorted []*unit
	fresh  []*unit // not sorted in yet
}

func (n *names) add(u *unit) { n.fresh = append(n.fresh, u) }

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
	if len(n.fresh) == 0 {
		return
	}
	byName := func(a, b *unit) int { return strings.Compare(a.name, b.name) }
	if len(n.fresh) == 1 {
		u := n.fresh[0]
		i, _ := slices.BinarySearchFunc(n.sorted, u, byName)
		n.sorted = slices.Insert(n.sorted, i, u)
	} else {
		live := n.sorted[:0]
		for _, u := range n.sorted {
			if !u.dropped {
				live = append(live, u)
			}
		}
		n.sorted = append(live, n.fresh...)
		slices.SortStableFunc(n.sorted, byName)
	}
	n.fresh = n.fresh[:0]
}
