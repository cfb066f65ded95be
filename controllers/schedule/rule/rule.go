// Package rule says what each option of [X-Fleet] asks of the machine that a unit goes to: one file an option, and list.go,
// which puts them in order.
//
// A rule reads its option from the unit's file, keeps sets of machines for it, and filters a search by these sets, so that a search tests
// 64 machines at a time. It also reports which two units cannot share a machine, and explains its refusals. To add an option, write
// its file and add it to the list.
package rule

import (
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Rule is one option. Embed base for the methods that a rule does not need.
type Rule interface {
	// Key appends the part of a file that the rule depends on: to the rule, files with the same key are the same. It appends nothing if
	// the file does not use the option.
	Key(b []byte, f *unitfile.Fleet) []byte
	// Bind connects a unit with what the rule keeps for several units; Unbind undoes it.
	Bind(u *index.Unit)
	Unbind(u *index.Unit)
	// Enter and Leave tell that a unit which the rule concerns is on one more machine, or on one fewer.
	Enter(u *index.Unit, m *index.Machine)
	Leave(u *index.Unit, m *index.Machine)
	// Filter leaves machines out of a search for a group of units, and may prefer some.
	Filter(q *Search)
	// Clash reports why two units cannot share a machine.
	Clash(u, v *index.Unit) (Refusal, bool)
	// Explain counts the machines that the rule rules out for Members[i] of a survey.
	Explain(s *Survey, i int)
}

// machineRule is a Rule that keeps sets of machines independent of their units.
type machineRule interface {
	// Attach tells of a machine that was added to the index, before its units; Detach of one that is removed, after them.
	Attach(m *index.Machine)
	Detach(m *index.Machine)
}

// matcher is a Rule that depends only on the machine, not on what runs there.
type matcher interface {
	// Mismatch reports why a unit must not be on a machine.
	Mismatch(u *index.Unit, m *index.Machine) (Refusal, bool)
}

// contender is a Rule whose sets can tell that nothing on a machine clashes with a unit, so that its units need not be compared.
type contender interface {
	// Contended reports whether a unit there, perhaps one that is about to leave, may clash with u.
	Contended(u *index.Unit, m *index.Machine) bool
}

// wisher is a Rule that only prefers machines.
type wisher interface {
	// Wish returns in a sentence what a unit on a machine would prefer; "" for nothing.
	Wish(u *index.Unit, m *index.Machine) string
}

// shaper is a Rule whose explanation depends on more than its Key.
type shaper interface {
	// Shape appends the rest.
	Shape(b []byte, u *index.Unit) []byte
}

// Refusal is why a unit cannot be on a machine.
type Refusal struct {
	Reason  string // the option's name, or the constant for one that has to leave
	Message string // a sentence for people, without a full stop
	Soft    bool   // it may stay where it is when it fits nowhere else
}

// base is a rule that does nothing.
type base struct {
	x *index.Index
	n int // its place in the list
}

func (base) Key(b []byte, _ *unitfile.Fleet) []byte      { return b }
func (base) Bind(*index.Unit)                            {}
func (base) Unbind(*index.Unit)                          {}
func (base) Enter(*index.Unit, *index.Machine)           {}
func (base) Leave(*index.Unit, *index.Machine)           {}
func (base) Filter(*Search)                              {}
func (base) Clash(_, _ *index.Unit) (r Refusal, ok bool) { return r, false }
func (base) Explain(*Survey, int)                        {}
func (b *base) join(x *index.Index, n int)               { b.x, b.n = x, n }
