// Package rule says what each option of [X-Fleet] asks of the machine that a unit goes to: one file an option, and list.go,
// which puts them in order.
//
// A rule reads its option from the unit's file, keeps sets of machines in the index by it, and leaves machines out of a
// search by these sets, so that a search looks at 64 machines at a time. It says which two units it keeps off one machine,
// and explains itself to people. To add an option write its file and add it to the list.
package rule

import (
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Rule is one option. Embed base for the methods that a rule has no need of.
type Rule interface {
	// Key appends what of a file the rule depends on: files with the same key are the same to it. Nothing: the file does not use
	// the option.
	Key(b []byte, f *unitfile.Fleet) []byte
	// Bind ties a unit to what the rule keeps for several units, Unbind undoes it.
	Bind(u *index.Unit)
	Unbind(u *index.Unit)
	// Enter and Leave tell of a unit that the rule concerns, and that is on one more machine, or on one fewer.
	Enter(u *index.Unit, m *index.Machine)
	Leave(u *index.Unit, m *index.Machine)
	// Filter leaves machines out of a search for its members, and may say where they go rather.
	Filter(q *Search)
	// Clash says that two units cannot be on one machine.
	Clash(u, v *index.Unit) (Refusal, bool)
	// Explain counts the machines that the rule keeps a member of a survey off: Members[i].
	Explain(s *Survey, i int)
}

// machineRule is a Rule that keeps sets of machines whatever units they run.
type machineRule interface {
	// Attach tells of a machine that is in the index now, before its units; Detach that it leaves, after them.
	Attach(m *index.Machine)
	Detach(m *index.Machine)
}

// matcher is a Rule that depends on the machine alone, not on what it runs.
type matcher interface {
	// Mismatch says that a unit must not be on a machine.
	Mismatch(u *index.Unit, m *index.Machine) (Refusal, bool)
}

// contender is a Rule that says by its sets that nothing on a machine clashes with a unit there: a look at each is spared.
type contender interface {
	// Contended: something there may clash with it. What is there may have been told to leave.
	Contended(u *index.Unit, m *index.Machine) bool
}

// wisher is a Rule that a unit goes against rather than run nowhere.
type wisher interface {
	// Wish says what a unit on a machine would rather have, in a sentence. "": nothing.
	Wish(u *index.Unit, m *index.Machine) string
}

// shaper is a Rule whose explanation depends on more than Key.
type shaper interface {
	// Shape appends that.
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
