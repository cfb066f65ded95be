package rule

import (
	"bytes"
	"math/bits"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// List is the rules, in the order in which they explain themselves.
type List struct {
	x     *index.Index
	rules []Rule
	// The rules that implement an optional interface:
	machines   []machineRule
	matchers   []matcher
	contenders []contender
	wishers    []wisher
	shapers    []shaper
	names      []*patterns
	resources  *resources
	replaces   *replaces
	machineOf  *machineOf
	autoPorts  *autoPorts
	machineID  *machineID
	// urgent are the rules whose units have the least choice and are placed first, most urgent first.
	urgent []int

	search Search
	keys   [2][]byte
}

// New returns the rules for an index, one line each.
func New(x *index.Index) index.Rules {
	l := &List{x: x, resources: &resources{}, replaces: &replaces{}, machineOf: &machineOf{}, autoPorts: &autoPorts{}}
	metadata, machineID := &machineMetadata{}, &machineID{}
	l.machineID = machineID
	l.add(&conflicts{})
	fixed := &ports{auto: l.autoPorts}
	l.autoPorts.fixed = fixed
	l.add(fixed)
	l.add(l.autoPorts)
	l.add(machineID)
	l.add(metadata)
	l.add(l.machineOf)
	l.add(l.replaces)
	l.add(&spreadOver{})
	l.add(&prefer{})
	l.add(l.resources)
	l.add(&closed{})
	l.urgent = []int{l.replaces.n, machineID.n, metadata.n}
	return l
}

// Of returns the rules of an index made with New.
func Of(x *index.Index) *List { return x.Rules().(*List) }

func (l *List) add(r interface {
	Rule
	join(x *index.Index, n int)
}) {
	r.join(l.x, len(l.rules))
	l.rules = append(l.rules, r)
	collect(&l.machines, r)
	collect(&l.matchers, r)
	collect(&l.contenders, r)
	collect(&l.wishers, r)
	collect(&l.shapers, r)
	if n, ok := r.(interface{ table() *patterns }); ok {
		l.names = append(l.names, n.table())
	}
}

func collect[T any](list *[]T, r Rule) {
	if x, ok := r.(T); ok {
		*list = append(*list, x)
	}
}

// Same reports whether another spec asks for the same placement as the unit's.
func (l *List) Same(u *index.Unit, spec *index.UnitSpec) bool {
	a, b := l.keys[0][:0], l.keys[1][:0]
	for _, r := range l.rules {
		a, b = append(r.Key(a, &u.Fleet), 0xff), append(r.Key(b, &spec.Fleet), 0xff)
	}
	l.keys = [2][]byte{a, b}
	return bytes.Equal(a, b)
}

// Shape appends everything but the machines that the explanation of why a unit fits nowhere depends on. It is usually the same for all
// instances of a template, which then share one explanation.
func (l *List) Shape(b []byte, u *index.Unit) []byte {
	for _, r := range l.rules {
		b = append(r.Key(b, &u.Fleet), 0xff)
	}
	for _, r := range l.shapers {
		b = append(r.Shape(b, u), 0xff)
	}
	return b
}

// Named tells the pattern tables of a new unit.
func (l *List) Named(u *index.Unit) {
	for _, t := range l.names {
		t.named(u)
	}
}

// Bind lets each rule read its option.
func (l *List) Bind(u *index.Unit) {
	var uses uint32
	b := l.keys[0][:0]
	for n, r := range l.rules {
		if len(r.Key(b, &u.Fleet)) > len(b) {
			uses |= 1 << n
		}
	}
	u.Concerns |= uses
	u.Rank = int8(len(l.urgent))
	for i, n := range l.urgent {
		if uses&(1<<n) != 0 {
			u.Rank = int8(i)
			break
		}
	}
	for _, r := range l.rules {
		r.Bind(u)
	}
	l.sweep()
}

// Unbind undoes Bind.
func (l *List) Unbind(u *index.Unit) {
	for _, r := range l.rules {
		r.Unbind(u)
	}
	u.Concerns = 0
	for _, b := range u.Bindings {
		u.Concerns |= 1 << b.Rule
	}
}

// Forget drops what was kept for this unit alone.
func (l *List) Forget(*index.Unit) { l.sweep() }

func (l *List) sweep() {
	for _, t := range l.names {
		t.sweep()
	}
}

// Enter tells the rules that concern a unit that it is now on one more machine.
func (l *List) Enter(u *index.Unit, m *index.Machine) {
	for set := u.Concerns; set != 0; set &= set - 1 {
		l.rules[bits.TrailingZeros32(set)].Enter(u, m)
	}
}

// Leave undoes Enter.
func (l *List) Leave(u *index.Unit, m *index.Machine) {
	for set := u.Concerns; set != 0; set &= set - 1 {
		l.rules[bits.TrailingZeros32(set)].Leave(u, m)
	}
}

// Attach tells the rules of a machine that was added to the index.
func (l *List) Attach(m *index.Machine) {
	for _, r := range l.machines {
		r.Attach(m)
	}
}

// Detach undoes Attach.
func (l *List) Detach(m *index.Machine) {
	for _, r := range l.machines {
		r.Detach(m)
	}
}

// Mismatch reports why a unit must not be on a machine, whatever runs there.
func (l *List) Mismatch(u *index.Unit, m *index.Machine) (Refusal, bool) {
	for _, r := range l.matchers {
		if why, bad := r.Mismatch(u, m); bad {
			return why, true
		}
	}
	return Refusal{}, false
}

// Clash reports why two units cannot share a machine.
func (l *List) Clash(u, v *index.Unit) (Refusal, bool) {
	for set := concerns(u) & concerns(v); set != 0; set &= set - 1 {
		if why, bad := l.rules[bits.TrailingZeros32(set)].Clash(u, v); bad {
			return why, true
		}
	}
	return Refusal{}, false
}

// concerns is the set of rules that concern a unit; for a former file, also those of the unit itself.
func concerns(u *index.Unit) uint32 {
	if u.Of != nil {
		return u.Concerns | u.Of.Concerns
	}
	return u.Concerns
}

// Wish returns what a unit on a machine would prefer; "" for nothing.
func (l *List) Wish(u *index.Unit, m *index.Machine) string {
	if u.Concerns == 0 {
		return ""
	}
	var list []string
	for _, r := range l.wishers {
		if wish := r.Wish(u, m); wish != "" {
			list = append(list, wish)
		}
	}
	return strings.Join(list, "; ")
}

// Contended reports whether anything on its machine may clash with a placement.
func (l *List) Contended(x *index.Place) bool {
	if l.autoPorts.contends(x) {
		return true
	}
	if x.Unit.Concerns == 0 {
		return false
	}
	for _, r := range l.contenders {
		if r.Contended(x.Unit, x.Machine) {
			return true
		}
	}
	return false
}

// Incompatible returns two of the units that cannot share a machine.
func (l *List) Incompatible(units []*index.Unit) (Refusal, bool) {
	for i, u := range units {
		for _, v := range units[:i] {
			if why, bad := l.Clash(v, u); bad {
				return why, true
			}
		}
	}
	return Refusal{}, false
}
