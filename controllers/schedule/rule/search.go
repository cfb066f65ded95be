package rule

import (
	"math/bits"

	"github.com/fleet-starter/fleet/controllers/schedule/index"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Search finds one machine for units that must share one.
type Search struct {
	index.Search
	Members []*index.Unit
	need    v1.Capacity // of all members
	assign  int         // ports that all members need
	only    Pin         // one machine is left
	never   bool        // no machine can fit
	prefer  []Preference
	checks  []check
	list    *List
}

// check is a rule that has to test machines one by one.
type check interface {
	allows(q *Search, m *index.Machine) bool
}

// Preference is sets of machines, best first. A later set is used only if no machine of the earlier ones fits.
type Preference interface {
	Tiers() int
	Tier(i int) index.Bits
}

// Pin leaves only one machine.
type Pin struct {
	Machine *index.Machine // nil: it is not known
	by      pinner
	unit    *index.Unit // which has to be there
	closed  bool        // also where that gets nothing new
}

// pinner is a rule that leaves only one machine and explains that.
type pinner interface {
	// pinned begins the explanation of why that machine does not fit; absent explains, with the reason, why it is not present.
	pinned(p Pin) string
	absent(p Pin) (reason, message string)
}

// Head begins the explanation of why the machine does not fit.
func (p Pin) Head() string { return p.by.pinned(p) }

// Search begins a search, which is valid until the next one begins.
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
	q.Family = familyOf(members)
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

// familyOf returns the family of the first of some units that has one.
func familyOf(members []*index.Unit) *index.Family {
	for _, u := range members {
		if u.Family != nil {
			return u.Family
		}
	}
	return nil
}

// pin leaves only one machine.
func (q *Search) pin(p Pin) {
	if p.Machine == nil || q.only.by != nil && q.only.Machine != p.Machine {
		q.never = true
	}
	if q.only.by == nil {
		q.only = p
	}
	q.only.closed = q.only.closed || p.closed
}

// Prefer adds a preference. Earlier preferences come first.
func (q *Search) Prefer(p Preference) { q.prefer = append(q.prefer, p) }

// Allows runs the checks that no set can decide.
func (q *Search) Allows(m *index.Machine) bool {
	for _, c := range q.checks {
		if !c.allows(q, m) {
			return false
		}
	}
	return true
}

// Find returns the best machine: one that a member names, then by preference, then with the fewest units of the first member's template,
// then with the fewest units, then with the smallest requested share, then with the smallest ID. It returns nil if none fits.
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
	for _, u := range q.Members {
		if m := q.list.x.Machine(u.Prefer); m != nil && q.Fits(m) {
			return m
		}
	}
	return q.best(q.prefer)
}

func (q *Search) best(by []Preference) *index.Machine {
	if len(by) == 0 {
		return q.Best()
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

// Fits reports whether one given machine fits.
func (q *Search) Fits(m *index.Machine) bool {
	if !m.Indexed || q.never || q.only.by != nil && q.only.Machine != m {
		return false
	}
	closed := q.only.closed && m.Problem == ""
	return (closed || m.Schedulable()) && q.Has(m)
}
