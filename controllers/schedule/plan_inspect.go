package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// inspect finds out of every unit whether it may stay where it is.
func (p *planner) inspect() {
	for _, m := range p.c.dirtyMachines {
		for _, x := range m.places {
			if x.unit.Fleet.Global && !x.unit.gone() {
				p.rub(x)
			}
		}
	}
	units, machines := 0, 0
	for units < len(p.work) || machines < len(p.readmit) {
		for ; units < len(p.work); units++ {
			p.inspectUnit(p.work[units])
		}
		for ; machines < len(p.readmit); machines++ {
			for _, x := range p.readmit[machines].places {
				p.add(x.unit)
			}
		}
	}
	for _, m := range p.readmit {
		p.readmitAll(m)
	}
	for place, loss := range p.losers {
		if v := &place.unit.plan; v.keep == place && (v.at != nil || loss.hard && !v.hard) {
			v.at, v.reason, v.message, v.hard = nil, loss.reason, loss.message, loss.hard
		}
	}
}

func (p *planner) inspectUnit(u *unit) {
	v := &u.plan
	v.leaving = !u.known || u.DesiredState == v1.Inactive
	if v.problem == "" { // else its MachineOf= goes in a circle
		v.problem = u.Problem
	}
	if v.leaving {
		return
	}
	if u.Fleet.Global && u.Problem == "" {
		for _, x := range u.places {
			p.rub(x)
		}
		return
	}
	v.keep = keeper(u.places)
	if v.keep == nil {
		return
	}
	m := v.keep.machine
	v.at = m
	switch {
	case v.problem != "":
		p.rub(v.keep)
	case !m.present:
		if p.frozenNow && !m.config.Drain {
			// Whether a new file fits there is decided when the machine is back: until then it keeps the former one.
			v.stays, v.holds = unmetFreeze, true
			break
		}
		if left := p.awaited(m); left > 0 {
			v.stays, v.holds = unmetTime, true
			p.after(left)
			break
		}
		p.cannotStay(v, false, ReasonMachineGone, "its machine "+m.ID+" is gone")
	case m.Problem != "":
	case u.Fleet.MachineID != "" && u.Fleet.MachineID != m.ID:
		p.cannotStay(v, true, ReasonMachineID, "MachineID="+u.Fleet.MachineID+" is not "+m.ID)
	case !u.selector.meets(m.meta):
		p.cannotStay(v, true, ReasonMachineMetadata, fmt.Sprintf("%s has no metadata %s", m.ID, missed(u.selector, m.meta)))
	default:
		p.rub(v.keep)
		if m.config.Drain {
			if p.frozenNow {
				v.stays = unmetFreeze
				break
			}
			p.cannotStay(v, false, ReasonDrain, m.ID+" is being drained")
		}
	}
}

func (p *planner) cannotStay(v *verdict, hard bool, reason, message string) {
	v.at, v.hard, v.reason, v.message = nil, hard, reason, message
}

func missed(s *selector, meta map[string]string) string {
	for _, t := range s.terms {
		if !t.meets(meta) {
			return t.String()
		}
	}
	return ""
}

// keeper returns which of several placements of a unit counts: on a machine that is present, where it is active, the
// one that was there first.
func keeper(places []*place) *place {
	if len(places) == 0 {
		return nil
	}
	return slices.MinFunc(places, func(a, b *place) int {
		return cmp.Or(
			before(a.machine.present, b.machine.present),
			before(a.matches(), b.matches()),
			before(a.machine.runs(a.unit), b.machine.runs(b.unit)),
			cmp.Compare(a.Create, b.Create),
			strings.Compare(a.Machine, b.Machine))
	})
}

// matches says that the unit may be on the machine, whatever else is there.
func (x *place) matches() bool {
	id := x.unit.Fleet.MachineID
	return (id == "" || id == x.machine.ID) && x.unit.selector.meets(x.machine.meta) && !x.machine.config.Drain
}

func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (m *machine) runs(u *unit) bool {
	_, ok := m.active[u.name]
	return ok
}

// rub has a machine looked at as a whole where a unit on it rubs against another one: who has to leave depends on all.
func (p *planner) rub(x *place) {
	m, u := x.machine, x.unit
	if !m.indexed || m.readmit == p.c.epoch {
		return
	}
	clash := (u.Fleet.CPU > 0 || u.Fleet.Memory > 0) && m.overfull()
	if !clash && len(u.conflicts)+len(u.matched)+len(u.Fleet.Ports) > 0 && p.c.mayClash(u, m) {
		clash = slices.ContainsFunc(m.places, func(y *place) bool {
			reason, _ := y.obstructs(u)
			return y != x && ((!y.unit.gone() || x.changes()) && clashes(u, y.unit) || reason != "")
		})
	}
	if clash {
		m.readmit = p.c.epoch
		p.readmit = append(p.readmit, m)
	}
}

// mayClash says whether there is more on the machine of a unit, of what it rubs against, than the unit itself. The index
// knows that without a look at each of the units there.
func (c *Cluster) mayClash(u *unit, m *machine) bool {
	others := func(s *machineSet, itself bool) bool {
		n := s.count(m.slot)
		return n > 1 || n == 1 && !itself
	}
	return slices.ContainsFunc(u.conflicts, func(g *glob) bool { return others(&g.matched.machineSet, slices.Contains(u.matched, g)) }) ||
		slices.ContainsFunc(u.replaces, func(g *glob) bool { return others(&g.matched.machineSet, slices.Contains(u.matched, g)) }) ||
		slices.ContainsFunc(u.matched, func(g *glob) bool {
			return others(&g.conflicts.machineSet, slices.Contains(u.conflicts, g)) || others(&g.replaces, slices.Contains(u.replaces, g))
		}) ||
		slices.ContainsFunc(u.Fleet.Ports, func(port int) bool { return others(&c.ports[port].machineSet, true) })
}

func (m *machine) overfull() bool {
	return m.Capacity.CPU > 0 && m.used.CPU > m.Capacity.CPU || m.Capacity.Memory > 0 && m.used.Memory > m.Capacity.Memory
}

func (u *unit) gone() bool { return !u.known || u.DesiredState == v1.Inactive }

func clashes(u, v *unit) bool {
	if g, _ := conflict(u, v); g != nil {
		return true
	}
	return sharedPort(u, v) != 0 || replaces(u, v) || replaces(v, u)
}

func sharedPort(u, v *unit) int {
	for _, x := range u.Fleet.Ports {
		if slices.Contains(v.Fleet.Ports, x) {
			return x
		}
	}
	return 0
}

// loss is why a unit has to leave its machine to others there.
type loss struct {
	reason, message string
	hard            bool
}

// readmitAll lets the units of a machine in again, one after the other: who is left alone, who replaces others, whose file
// is still the same, then who was there first. Who does not fit beside those that are in has to leave: rather one that
// grew, and is restarted anyway, than one that nobody touched.
func (p *planner) readmitAll(m *machine) {
	var places, in []*place
	for _, x := range m.places {
		if u := x.unit; !u.gone() && (u.Fleet.Global || keeper(u.places) == x) && !p.leavesAnyway(x) {
			places = append(places, x)
		}
	}
	slices.SortFunc(places, func(a, b *place) int {
		return cmp.Or(before(a.unit.plan.problem != "", b.unit.plan.problem != ""), before(len(a.unit.replaces) > 0, len(b.unit.replaces) > 0),
			before(!a.changes(), !b.changes()), cmp.Compare(a.Create, b.Create), strings.Compare(a.Unit, b.Unit))
	})
	left := machine{Machine: m.Machine}
	for _, x := range places {
		u := x.unit
		l, out := p.clash(u, in, m)
		out = out && u.plan.problem == ""
		if need := (request{CPU: u.Fleet.CPU, Memory: u.Fleet.Memory}); !out && u.plan.problem == "" && !left.fits(need) {
			l, out = tooLittle(&left, need, need), true
		}
		if out {
			p.lose(x, l)
			continue
		}
		left.used.CPU += u.Fleet.CPU
		left.used.Memory += u.Fleet.Memory
		in = append(in, x)
	}
	p.holdBack(in, m)
}

func (p *planner) lose(x *place, l loss) {
	if p.losers == nil {
		p.losers = map[*place]loss{}
	}
	p.losers[x] = l
}

// changes: the unit has another file than the one that it runs with here.
func (x *place) changes() bool { return x.Value.Hash != x.unit.Hash }

func (p *planner) leavesAnyway(x *place) bool {
	v := &x.unit.plan
	return v.epoch == p.c.epoch && v.keep == x && v.at == nil && v.hard
}

// clash says whom of those on a machine a unit cannot be beside.
func (p *planner) clash(u *unit, in []*place, m *machine) (loss, bool) {
	for _, x := range in {
		v := x.unit
		if g, carrier := conflict(u, v); g != nil {
			return loss{ReasonConflicts, fmt.Sprintf("it conflicts with %s, which was on %s first (Conflicts=%s of %s)",
				v.name, m.ID, g.Pattern, carrier.name), true}, true
		}
		if port := sharedPort(u, v); port != 0 {
			return loss{ReasonPorts, fmt.Sprintf("port %d of %s is used by %s, which was there first", port, m.ID, v.name), true}, true
		}
		if replaces(v, u) || replaces(u, v) {
			return loss{ReasonReplaced, fmt.Sprintf("%s takes its place on %s (Replaces=)", v.name, m.ID), true}, true
		}
	}
	return loss{}, false
}

// tooLittle: a machine has not the rest of what a unit needs.
func tooLittle(m *machine, need, rest request) loss {
	if m.fits(request{CPU: rest.CPU}) {
		return loss{ReasonMemory, fmt.Sprintf("%s has too little memory for Memory=%s beside what was there first", m.ID, amount(reasonMemory, need.Memory)), false}
	}
	return loss{ReasonCPU, fmt.Sprintf("%s has too little CPU for CPU=%s beside what was there first", m.ID, amount(reasonCPU, need.CPU)), false}
}
