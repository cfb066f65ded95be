package rule

import (
	"math/bits"

	"github.com/fleet-starter/fleet/controllers/schedule/index"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Search is a search for one machine for units that go together.
type Search struct {
	index.Search
	Members []*index.Unit
	need    v1.Capacity // of all members
	only    Pin         // one machine is left
	never   bool        // no machine can fit
	prefer  []Preference
	checks  []check
	list    *List
}

// check is a rule that has to look at machines one by one.
type check interface {
	allows(q *Search, m *index.Machine) bool
}

// Preference is sets of machines, the best first: a machine of a later one is taken where those before have none that fits.
type Preference interface {
	Tiers() int
	Tier(i int) index.Bits
}

// Pin leaves one machine.
type Pin struct {
	Machine *index.Machine // nil: it is not known
	by      pinner
	unit    *index.Unit // which has to be there
	closed  bool        // also where that gets nothing new
}

// pinner is a rule that leaves one machine, and says so to people.
type pinner interface {
	// pinned begins the explanation of why the machine does not fit; absent is that of why it is not there, with the reason.
	pinned(p Pin) string
	absent(p Pin) (reason, message string)
}

// Head begins the explanation of why the machine does not fit.
func (p Pin) Head() string { return p.by.pinned(p) }

// Search begins a search. It is for use at once: the next one takes its place.
func (l *List) Search(members ...*index.Unit) *Search {
	q := &l.search
	*q = Search{
		Search:  index.Search{Index: l.x, View: &l.x.Anywhere, Require: q.Require[:0], Exclude: q.Exclude[:0], Few: q.Few[:0]},
		Members: members, prefer: q.prefer[:0], checks: q.checks[:0], list: l,
	}
	var set uint32
	for _, u := range members {
		set |= u.Concerns
	}
	for ; set != 0; set &= set - 1 {
		l.rules[bits.TrailingZeros32(set)].Filter(q)
	}
	if len(q.checks) > 0 {
		q.Search.Allows = q
	}
	if len(members) > 1 {
		if _, bad := l.Incompatible(members); bad {
			q.never = true
		}
	}
	return q
}

// pin leaves one machine.
func (q *Search) pin(p Pin) {
	if p.Machine == nil || q.only.by != nil && q.only.Machine != p.Machine {
		q.never = true
	}
	if q.only.by == nil {
		q.only = p
	}
	q.only.closed = q.only.closed || p.closed
}

// Prefer has machines taken by a preference. Those that were given before are more important.
func (q *Search) Prefer(p Preference) { q.prefer = append(q.prefer, p) }

// Allows looks at what sets do not say.
func (q *Search) Allows(m *index.Machine) bool {
	for _, c := range q.checks {
		if !c.allows(q, m) {
			return false
		}
	}
	return true
}

// Find returns the machine to take: by what is preferred, then with the fewest units, then with the smallest share of it
// requested, then with the smallest ID. nil: none fits.
func (q *Search) Find() *index.Machine {
	switch {
	case q.never:
		return nil
	case q.only.by != nil:
		if q.Fits(q.only.Machine) {
			return q.only.Machine
		}
		return nil
	}
	return q.best(q.prefer)
}

func (q *Search) best(by []Preference) *index.Machine {
	if len(by) == 0 {
		return q.Least()
	}
	for i := range by[0].Tiers() {
		q.Require = append(q.Require, by[0].Tier(i))
		m := q.best(by[1:])
		q.Require = q.Require[:len(q.Require)-1]
		if m != nil {
			return m
		}
	}
	return q.best(by[1:])
}

// Fits looks at one machine alone.
func (q *Search) Fits(m *index.Machine) bool {
	if !m.Indexed || q.never || q.only.by != nil && q.only.Machine != m {
		return false
	}
	closed := q.only.closed && m.Problem == ""
	return (closed || m.Schedulable()) && q.Has(m)
}
