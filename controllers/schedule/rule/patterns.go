package rule

import (
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// patterns is the table of the unit name patterns of one option, shared by all units that have them.
type patterns struct {
	base
	option    func(f *unitfile.Fleet) []string
	byPattern map[string]*pattern
	byPrefix  map[string][]*pattern // those with a wildcard
	lengths   []int                 // of the prefixes, ascending
	uses      map[int]int           // how many prefixes have that length
	unused    []*pattern            // maybe: they are dropped when the unit that let them go is bound again
}

// pattern is one of them.
type pattern struct {
	unitfile.Glob
	refs    int           // how often units carry it
	matched index.UnitSet // units whose name it matches
	carried index.UnitSet // units that carry it
	dropped bool
}

// named is what the table knows of a unit.
type named struct {
	carries []*pattern
	matched []*pattern // patterns of any unit that match this name, in their order: explanations name them in it
}

var nothing named

func newPatterns(option func(*unitfile.Fleet) []string) patterns {
	return patterns{option: option, byPattern: map[string]*pattern{}, byPrefix: map[string][]*pattern{}, uses: map[int]int{}}
}

func (t *patterns) table() *patterns { return t }

// of returns what the table knows of a unit: the patterns in its file and those that match its name. A former file has both, too.
func (t *patterns) of(u *index.Unit) (carries, matched []*pattern) {
	carries = t.bound(u).carries
	if u.Of != nil {
		u = u.Of
	}
	return carries, t.bound(u).matched
}

func (t *patterns) bound(u *index.Unit) *named {
	if n, ok := u.Bound(t.n).(*named); ok {
		return n
	}
	return &nothing
}

func (t *patterns) bind(u *index.Unit) *named {
	n, ok := u.Bound(t.n).(*named)
	if !ok {
		n = &named{}
		u.SetBound(t.n, n)
	}
	return n
}

func (t *patterns) release(u *index.Unit, n *named) {
	if len(n.carries)+len(n.matched) == 0 && n != &nothing {
		u.SetBound(t.n, nil)
	}
}

// Key is the patterns.
func (t *patterns) Key(b []byte, f *unitfile.Fleet) []byte {
	for _, p := range t.option(f) {
		b = append(append(b, p...), 0)
	}
	return b
}

// Shape appends the patterns of other units that match this one.
func (t *patterns) Shape(b []byte, u *index.Unit) []byte {
	for _, p := range t.bound(u).matched {
		b = append(append(b, p.Pattern...), 0)
	}
	return b
}

// named records a new unit with the patterns that match it.
func (t *patterns) named(u *index.Unit) {
	if found := t.matching(u.Name); len(found) > 0 {
		slices.SortFunc(found, byText)
		t.bind(u).matched = found
	}
}

// Bind finds or makes the patterns of a unit.
func (t *patterns) Bind(u *index.Unit) {
	list := t.option(&u.Fleet)
	if len(list) == 0 {
		return
	}
	n := t.bind(u)
	for _, text := range list {
		p := t.byPattern[text]
		if p == nil {
			parsed, err := unitfile.ParseGlob(text)
			if err != nil {
				continue // it matches nothing; the unit file's problems say so
			}
			p = &pattern{Glob: parsed}
			t.add(p)
		}
		if !slices.Contains(n.carries, p) {
			p.refs++
			n.carries = append(n.carries, p)
		}
	}
	t.release(u, n)
}

// Unbind undoes Bind.
func (t *patterns) Unbind(u *index.Unit) {
	n := t.bound(u)
	if len(n.carries) == 0 {
		return
	}
	for _, p := range n.carries {
		if p.refs--; p.refs == 0 {
			t.unused = append(t.unused, p)
		}
	}
	n.carries = nil
	t.release(u, n)
}

// sweep drops patterns that no unit has.
func (t *patterns) sweep() {
	for _, p := range t.unused {
		if p.refs > 0 || p.dropped {
			continue
		}
		t.drop(p)
		for _, u := range t.x.WithPrefix(p.Prefix) {
			if n := t.bound(u); n != &nothing {
				n.matched = slices.DeleteFunc(n.matched, func(other *pattern) bool { return other == p })
				t.release(u, n)
			}
		}
	}
	t.unused = t.unused[:0]
}

// Enter adds the machine to the sets of the patterns.
func (t *patterns) Enter(u *index.Unit, m *index.Machine) {
	n := t.bound(u)
	for _, p := range n.matched {
		p.matched.Enter(u, m.Slot, t.x.Words)
	}
	for _, p := range n.carries {
		if !t.again(u, p) {
			p.carried.Enter(u, m.Slot, t.x.Words)
		}
	}
}

// Leave undoes Enter.
func (t *patterns) Leave(u *index.Unit, m *index.Machine) {
	n := t.bound(u)
	for _, p := range n.matched {
		p.matched.Leave(u, m.Slot)
	}
	for _, p := range n.carries {
		if !t.again(u, p) {
			p.carried.Leave(u, m.Slot)
		}
	}
}

// again reports whether a pattern of a former file is still in the unit's file.
func (t *patterns) again(u *index.Unit, p *pattern) bool {
	return u.Of != nil && slices.Contains(t.bound(u.Of).carries, p)
}

// contended reports whether the machine has another unit that the unit's patterns concern.
func (t *patterns) contended(u *index.Unit, m *index.Machine) bool {
	n := t.bound(u)
	others := func(s *index.UnitSet, itself []*pattern, p *pattern) bool {
		k := s.Count(m.Slot)
		return k > 1 || k == 1 && !slices.Contains(itself, p)
	}
	return slices.ContainsFunc(n.carries, func(p *pattern) bool { return others(&p.matched, n.matched, p) }) ||
		slices.ContainsFunc(n.matched, func(p *pattern) bool { return others(&p.carried, n.carries, p) })
}

func (t *patterns) add(p *pattern) {
	t.byPattern[p.Pattern] = p
	for _, u := range t.x.WithPrefix(p.Prefix) {
		if !u.Dropped() && p.Match(u.Name) {
			n := t.bind(u)
			i, _ := slices.BinarySearchFunc(n.matched, p, byText)
			n.matched = slices.Insert(n.matched, i, p)
			p.matched.EnterAll(u, t.x.Words)
		}
	}
	if p.Exact {
		return
	}
	t.byPrefix[p.Prefix] = append(t.byPrefix[p.Prefix], p)
	n := len(p.Prefix)
	if t.uses[n]++; t.uses[n] == 1 {
		i, _ := slices.BinarySearch(t.lengths, n)
		t.lengths = slices.Insert(t.lengths, i, n)
	}
}

func (t *patterns) drop(p *pattern) {
	p.dropped = true
	delete(t.byPattern, p.Pattern)
	if p.Exact {
		return
	}
	rest := slices.DeleteFunc(t.byPrefix[p.Prefix], func(other *pattern) bool { return other == p })
	if t.byPrefix[p.Prefix] = rest; len(rest) == 0 {
		delete(t.byPrefix, p.Prefix)
	}
	n := len(p.Prefix)
	if t.uses[n]--; t.uses[n] == 0 {
		i, _ := slices.BinarySearch(t.lengths, n)
		t.lengths = slices.Delete(t.lengths, i, i+1)
	}
}

// matching finds the patterns that match a name without trying them all: by their literal prefix.
func (t *patterns) matching(name string) []*pattern {
	var found []*pattern
	if p := t.byPattern[name]; p != nil && p.Exact && p.Prefix == name {
		found = append(found, p)
	}
	for _, n := range t.lengths {
		if n > len(name) {
			break
		}
		for _, p := range t.byPrefix[name[:n]] {
			if p.Match(name) {
				found = append(found, p)
			}
		}
	}
	return found
}

func byText(a, b *pattern) int { return strings.Compare(a.Pattern, b.Pattern) }

// shared returns the first of a that is also in b. Both are short: the patterns of one unit.
func shared(a, b []*pattern) *pattern {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return x
			}
		}
	}
	return nil
}
