package rule

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ReasonMachineOf is the reason of MachineOf=; ReasonMachineGone that of units whose machine is not present.
const (
	ReasonMachineOf   = "MachineOf"   // the unit that it has to be beside (MachineOf=) is elsewhere, or has no machine
	ReasonMachineGone = "MachineGone" // its machine is not present any more, or that of the unit that it is beside
)

// machineOf is MachineOf=: the unit runs where others run. Units that it ties together go to one machine together: that is
// the planner's. The rule is about global units, which run on many: it keeps to their machines.
type machineOf struct {
	base
	sites map[*index.Unit]index.Bits // of global units, in this plan
}

// Follows are the units that a unit has to be beside.
func Follows(f *unitfile.Fleet) []string { return f.MachineOf }

func (r *machineOf) join(x *index.Index, n int) {
	r.sites = map[*index.Unit]index.Bits{}
	r.base.join(x, n)
}

// Bind has the rule asked of units that follow others.
func (r *machineOf) Bind(u *index.Unit) {
	if len(u.Follows) > 0 {
		u.Concerns |= 1 << r.n
	}
}

// global are the global units that a unit follows.
func (r *machineOf) global(u *index.Unit) (list []*index.Unit) {
	for _, name := range u.Follows {
		if t := r.x.Unit(name); t != nil && t.Fleet.Global {
			list = append(list, t)
		}
	}
	return list
}

// Shape is the global units.
func (r *machineOf) Shape(b []byte, u *index.Unit) []byte {
	for _, t := range r.global(u) {
		b = append(append(b, t.Name...), 0)
	}
	return b
}

// Begin begins a plan: where it has global units is found out once.
func (l *List) Begin() { clear(l.machineOf.sites) }

// Sites is where a global unit is, or will be by this plan.
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

// Filter keeps to the machines of the global units.
func (r *machineOf) Filter(q *Search) {
	for _, u := range q.Members {
		for _, t := range r.global(u) {
			q.Require = append(q.Require, r.at(t))
		}
	}
}

// Explain counts the machines without them.
func (r *machineOf) Explain(s *Survey, i int) {
	for _, t := range r.global(s.Members[i]) {
		s.Add(ReasonMachineOf, "is without "+t.Name, "are without "+t.Name, i, " (MachineOf=)", s.Outside(r.at(t)))
	}
}

// Beside leaves the machine where the units are that one follows, also where that gets nothing new; or where others are that
// follow it.
func (q *Search) Beside(u *index.Unit, m *index.Machine, follows bool) {
	p := q.list.Beside(u, m)
	p.closed = follows
	q.pin(p)
}

// Beside is the machine where the units are that one follows.
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

// Tied says that a reason is that of a unit that has to be beside others.
func Tied(reason string) bool { return reason == ReasonMachineOf }

// WaitsFor says that a unit waits for another one; why is such as "which does not exist".
func WaitsFor(name, why string) Refusal {
	return because("it waits for " + name + " (MachineOf=), " + why)
}

// GoesWith says that a unit moves with another one.
func GoesWith(name string) Refusal { return because("it goes where " + name + " goes (MachineOf=)") }

// NotBeside says that a unit that has to be there is not on a machine.
func NotBeside(name, machine string) Refusal {
	return because(name + " is not on " + machine + " (MachineOf=)")
}

// Apart says that a unit has to be beside two that are not on one machine.
func Apart(a, b string) Refusal {
	return because(fmt.Sprintf("it has to be beside both %s and %s (MachineOf=), which are on different machines", a, b))
}

// HeldWith says that a unit waits with one that waits to move off a machine being drained.
func HeldWith(why string) Refusal {
	return because("it goes where another unit goes (MachineOf=) that waits to move off a machine being drained: " + why)
}

// Together says that two units that have to be on one machine cannot.
func Together(why Refusal) Refusal {
	return because(why.Message + ", and MachineOf= wants them on one machine")
}

// Circle names units that follow each other.
func Circle(names []string) Refusal {
	return because("MachineOf= goes in a circle: " + strings.Join(append(slices.Clone(names), names[0]), " -> "))
}
