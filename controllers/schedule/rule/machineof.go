package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonMachineOf is the reason of MachineOf=; ReasonMachineGone is for units whose machine is not present.
const (
	ReasonMachineOf   = "MachineOf"   // the unit that it has to be beside (MachineOf=) is elsewhere, or has no machine
	ReasonMachineGone = "MachineGone" // its machine is not present any more, or that of the unit that it is beside
)

// machineOf is MachineOf=: the unit runs where other units run. The planner places units that are tied together as one group; this rule
// handles ties to global units, which run on many machines: it keeps to those machines.
type machineOf struct {
	base
	sites map[*index.Unit]index.Bits // of global units, in this plan
}

// Follows returns the units that a unit must share a machine with.
func Follows(f *unitfile.Fleet) []string { return f.MachineOf }

func (r *machineOf) join(x *index.Index, n int) {
	r.sites = map[*index.Unit]index.Bits{}
	r.base.join(x, n)
}

// Bind marks units that follow others as concerned by the rule.
func (r *machineOf) Bind(u *index.Unit) {
	if len(u.Follows) > 0 {
		u.Concerns |= 1 << r.n
	}
}

// global returns the global units that a unit follows.
func (r *machineOf) global(u *index.Unit) (list []*index.Unit) {
	for _, name := range u.Follows {
		if t := r.x.Unit(name); t != nil && t.Fleet.Global {
			list = append(list, t)
		}
	}
	return list
}

// Shape appends the global units.
func (r *machineOf) Shape(b []byte, u *index.Unit) []byte {
	for _, t := range r.global(u) {
		b = append(append(b, t.Name...), 0)
	}
	return b
}

// Begin begins a plan: the machines of global units are computed once a plan.
func (l *List) Begin() { clear(l.machineOf.sites) }

// Sites returns the machines where a global unit is, or will be by this plan.
func (l *List) Sites(t *index.Unit) index.Bits { return l.machineOf.at(t) }

func (r *machineOf) at(t *index.Unit) index.Bits {
	b := r.sites[t]
	if b == nil {
		b = make(index.Bits, r.x.Words)
		for _, p := range t.Places {
			if p.Machine.Indexed {
				b.Set(p.Machine.Slot)
			}
		}
		r.sites[t] = b
	}
	return b
}

// Filter leaves the machines of the global units.
func (r *machineOf) Filter(q *Search) {
	for _, u := range q.Members {
		for _, t := range r.global(u) {
			q.Require = append(q.Require, r.at(t))
		}
	}
}

// Explain counts the machines without the global units.
func (r *machineOf) Explain(s *Survey, i int) {
	for _, t := range r.global(s.Members[i]) {
		s.Add(ReasonMachineOf, "is without "+t.Name, "are without "+t.Name, i, " (MachineOf=)", s.Outside(r.at(t)))
	}
}

// Beside leaves the machine of the units that the member follows, even if it gets no new units; or else the machine of its followers.
func (q *Search) Beside(u *index.Unit, m *index.Machine, follows bool) {
	p := q.list.Beside(u, m)
	p.closed = follows
	q.pin(p)
}

// Beside returns the machine of the units that a unit follows.
func (l *List) Beside(u *index.Unit, m *index.Machine) Pin {
	return Pin{Machine: m, by: l.machineOf, unit: u}
}

func (r *machineOf) pinned(p Pin) string {
	return "machine " + p.Machine.ID + ", beside what it follows (MachineOf=" + strings.Join(p.unit.Follows, " ") + "), does not fit: it "
}

func (r *machineOf) absent(p Pin) (reason, message string) {
	return ReasonMachineGone, "machine " + p.Machine.ID + ", where it has to be (MachineOf=), is gone"
}

// Why units wait for others, or move with them.

func because(message string) Refusal { return Refusal{Reason: ReasonMachineOf, Message: message} }

// Tied reports whether a reason is about a unit that must share a machine with others.
func Tied(reason string) bool { return reason == ReasonMachineOf }

// WaitsFor says that a unit waits for another one; why is a clause such as "which does not exist".
func WaitsFor(name, why string) Refusal {
	return because("it waits for " + name + " (MachineOf=), " + why)
}

// GoesWith says that a unit moves with another one.
func GoesWith(name string) Refusal { return because("it goes where " + name + " goes (MachineOf=)") }

// NotBeside says that a required unit is not on the machine.
func NotBeside(name, machine string) Refusal {
	return because(name + " is not on " + machine + " (MachineOf=)")
}

// Apart says that a unit follows two units on different machines.
func Apart(a, b string) Refusal {
	return because(fmt.Sprintf("it has to be beside both %s and %s (MachineOf=), which are on different machines", a, b))
}

// HeldWith says that a unit waits together with one that is about to leave a drained machine.
func HeldWith(why string) Refusal {
	return because("it goes where another unit goes (MachineOf=) that waits to move off a machine being drained: " + why)
}

// Together says that two units that must share a machine cannot.
func Together(why Refusal) Refusal {
	return because(why.Message + ", and MachineOf= wants them on one machine")
}

// Circle names units that follow each other in a circle.
func Circle(names []string) Refusal {
	return because("MachineOf= goes in a circle: " + strings.Join(append(slices.Clone(names), names[0]), " -> "))
}
