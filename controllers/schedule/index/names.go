package index

import (
	"cmp"
	"slices"
	"strings"
)

// names finds the units whose names begin with a prefix.
type names struct {
	sorted []*Unit // includes dropped units, until there are too many
	fresh  []*Unit // not sorted in yet
	dead   int
}

func (n *names) add(u *Unit) { n.fresh = append(n.fresh, u) }

func (n *names) drop() {
	if n.dead++; n.dead > 1000+len(n.sorted)/2 {
		n.compact()
	}
}

func (n *names) compact() {
	dropped := func(u *Unit) bool { return u.dropped }
	n.sorted, n.fresh, n.dead = slices.DeleteFunc(n.sorted, dropped), slices.DeleteFunc(n.fresh, dropped), 0
}

// withPrefix costs no more than its result, plus sorting in new names.
func (n *names) withPrefix(prefix string) []*Unit {
	n.settle()
	from, _ := slices.BinarySearchFunc(n.sorted, prefix, func(u *Unit, p string) int { return strings.Compare(u.Name, p) })
	to := from
	for to < len(n.sorted) && strings.HasPrefix(n.sorted[to].Name, prefix) {
		to++
	}
	return n.sorted[from:to]
}

func (n *names) settle() {
	switch len(n.fresh) {
	case 0:
	case 1:
		i, _ := slices.BinarySearchFunc(n.sorted, n.fresh[0], ByName)
		n.sorted = slices.Insert(n.sorted, i, n.fresh[0])
	default:
		n.compact()
		n.sorted = append(n.sorted, n.fresh...)
		slices.SortFunc(n.sorted, ByName)
	}
	n.fresh = n.fresh[:0]
}

// Natural orders names like people do: app@2 before app@10.
func Natural(a, b string) int {
	same := 0 // the common prefix, up to a differing number
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	for same > 0 && digits(a[same-1:same]) > 0 {
		same--
	}
	x, y := a[same:], b[same:]
	for x != "" && y != "" {
		i, j := digits(x), digits(y)
		if i == 0 || j == 0 {
			if x[0] != y[0] {
				return cmp.Compare(x[0], y[0])
			}
			x, y = x[1:], y[1:]
			continue
		}
		m, n := strings.TrimLeft(x[:i], "0"), strings.TrimLeft(y[:j], "0")
		if c := cmp.Or(cmp.Compare(len(m), len(n)), strings.Compare(m, n)); c != 0 {
			return c
		}
		x, y = x[i:], y[j:]
	}
	return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(a, b))
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
