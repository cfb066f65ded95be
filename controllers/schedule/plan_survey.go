package schedule

import (
	"fmt"
	"slices"
	"strings"
)

// survey counts, for each constraint, the machines that it keeps a unit off. A machine that several keep it off is
// counted under each: whoever removes one must know of the others.
type survey struct {
	p        *planner
	members  []*unit
	scope    []*machine // these machines only; nil: all
	except   *machine   // but not this one
	refusals []refusal
}

// tally is a number of machines and the first of them.
type tally struct {
	n     int
	slots []int
}

func (p *planner) survey(r refused) *findings {
	v := &r.unit.plan
	if len(p.c.sorted) == 0 {
		return plainly(reasonNoMachine, "no machine is present")
	}
	s := &survey{p: p, members: r.members}
	only, head := v.beside, "machine %s, beside what it follows (MachineOf="+strings.Join(r.unit.Fleet.MachineOf, " ")+"), does not fit: it "
	for _, u := range r.members {
		if id := u.Fleet.MachineID; id != "" && only == nil {
			only, head = p.c.machines[id], "machine %s (MachineID=) does not fit: it "
			if only == nil || !only.present {
				return plainly(ReasonMachineID, "machine "+id+" (MachineID=) is not present")
			}
		}
	}
	if only != nil {
		if !only.present {
			return plainly(ReasonMachineGone, "machine "+only.ID+", where it has to be (MachineOf=), is gone")
		}
		s.scope = []*machine{only}
		s.gather()
		f := s.findings(fmt.Sprintf(head, only.ID))
		f.single = true
		return f
	}
	if v.keep != nil && v.keep.machine.present {
		s.except = v.keep.machine
	}
	s.gather()
	f := s.findings(s.head())
	f.together = len(s.members) > 1
	return f
}

func (s *survey) head() string {
	n, other := len(s.p.c.sorted), ""
	if s.except != nil {
		n, other = n-1, " other"
	}
	if n == 0 {
		return "no other machine is present"
	}
	return fmt.Sprintf("0 of %d%s %s", n, other, plural(n, "machine fits", "machines fit"))
}

func (s *survey) gather() {
	need := request{}
	for i, u := range s.members {
		s.conflicts(u, i)
		s.ports(u, i)
		s.metadata(u, i)
		for _, name := range u.followsGlobal(s.p.c) {
			sites := s.p.machinesOf(s.p.c.units[name])
			s.add(ReasonMachineOf, "is without "+name, "are without "+name, i, " (MachineOf=)",
				s.where("beside "+name, func(m *machine) bool { return !sites.has(m.slot) }))
		}
		if len(u.replaces) > 0 || slices.ContainsFunc(u.matched, func(g *glob) bool { return g.replaces.n > 0 }) {
			s.add(reasonReplaces, "runs a unit that makes no room", "run a unit that makes no room", i, " (Replaces=)",
				s.where("", func(m *machine) bool { return rivalOn(u, m) != nil }))
		}
		need.CPU += u.Fleet.CPU
		need.Memory += u.Fleet.Memory
	}
	s.resource(reasonCPU, "CPU", request{CPU: need.CPU}, need.CPU, func(m *machine) int64 { return m.Capacity.CPU - m.used.CPU })
	s.resource(reasonMemory, "memory", request{Memory: need.Memory}, need.Memory, func(m *machine) int64 { return m.Capacity.Memory - m.used.Memory })
	s.add(reasonDraining, "is being drained", "are being drained", 0, "",
		s.where("draining", func(m *machine) bool { return m.config.Drain }))
	s.add(reasonCordoned, "is cordoned", "are cordoned", 0, "",
		s.where("cordoned", func(m *machine) bool { return m.config.Cordoned && !m.config.Drain }))
	s.add(reasonMachine, "cannot be read", "cannot be read", 0, "",
		s.where("problem", func(m *machine) bool { return m.Problem != "" }))
}

// add notes a refusal; beside is which member has the constraint.
func (s *survey) add(reason, one, many string, beside int, detail string, t tally) {
	if t.n == 0 {
		return
	}
	r := refusal{words: plural(t.n, one, many), beside: beside, detail: detail}
	r.Reason, r.Count = reason, t.n
	for _, slot := range t.slots {
		r.Machines = append(r.Machines, s.p.c.slots[slot].ID)
	}
	s.refusals = append(s.refusals, r)
}

func (s *survey) conflicts(u *unit, beside int) {
	const one, many = "runs a unit that conflicts", "run a unit that conflicts"
	for _, g := range u.conflicts {
		names := s.names(&g.matched, func(v *unit) bool { return slices.Contains(v.matched, g) })
		s.add(ReasonConflicts, one, many, beside, fmt.Sprintf(" (Conflicts=%s: %s)", g.Pattern, names), s.of(&g.matched))
	}
	for _, g := range u.matched {
		if slices.Contains(u.conflicts, g) && g.conflicts.n == g.matched.n {
			continue // the same machines once more
		}
		names := s.names(&g.conflicts, func(v *unit) bool { return slices.Contains(v.conflicts, g) })
		s.add(ReasonConflicts, one, many, beside, fmt.Sprintf(" (Conflicts=%s of %s)", g.Pattern, names), s.of(&g.conflicts))
	}
}

func (s *survey) ports(u *unit, beside int) {
	for _, port := range u.Fleet.Ports {
		set := s.p.c.ports[port]
		if set == nil {
			continue
		}
		names := s.names(set, func(v *unit) bool { return slices.Contains(v.Fleet.Ports, port) })
		s.add(ReasonPorts, fmt.Sprintf("has port %d in use", port), fmt.Sprintf("have port %d in use", port), beside,
			fmt.Sprintf(" (by %s)", names), s.of(set))
	}
}

func (s *survey) metadata(u *unit, beside int) {
	for _, t := range u.selector.terms {
		words := " no metadata " + t.String()
		s.add(ReasonMachineMetadata, "has"+words, "have"+words, beside, "",
			s.where("metadata "+t.key+"\x00"+strings.Join(t.values, "\x00"), func(m *machine) bool { return !t.meets(m.meta) }))
	}
}

func (s *survey) resource(reason, what string, need request, n int64, left func(*machine) int64) {
	if n == 0 {
		return
	}
	most := int64(0)
	t := s.where("", func(m *machine) bool {
		if m.fits(need) {
			return false
		}
		most = max(most, left(m))
		return true
	})
	words := " too little " + what + " left"
	s.add(reason, "has"+words, "have"+words, 0, fmt.Sprintf(" (%s=%s, the most that is left is %s)", reason, amount(reason, n), amount(reason, most)), t)
}

// of counts the machines of a set.
func (s *survey) of(set *machineSet) tally {
	if s.scope != nil {
		return count(s.scope, nil, func(m *machine) bool { return set.has(m.slot) })
	}
	return s.less(tally{set.n, set.first(maxNamed + 1)}, func(m *machine) bool { return set.n > 0 && set.has(m.slot) })
}

// where counts the machines that something holds for. Under a key it is counted once in a plan.
func (s *survey) where(key string, holds func(*machine) bool) tally {
	switch {
	case s.scope != nil:
		return count(s.scope, nil, holds)
	case key == "":
		return count(s.p.c.sorted, s.except, holds)
	}
	t, ok := s.p.counted[key]
	if !ok {
		t = count(s.p.c.sorted, nil, holds)
		s.p.counted[key] = t
	}
	return s.less(t, holds)
}

func count(machines []*machine, except *machine, holds func(*machine) bool) (t tally) {
	for _, m := range machines {
		if m == except || !m.indexed || !holds(m) {
			continue
		}
		if t.n++; t.n <= maxNamed+1 {
			t.slots = append(t.slots, m.slot)
		}
	}
	return t
}

// less takes the excepted machine off a tally.
func (s *survey) less(t tally, holds func(*machine) bool) tally {
	if e := s.except; e != nil && e.indexed && holds(e) {
		t.n--
		t.slots = slices.DeleteFunc(slices.Clone(t.slots), func(slot int) bool { return slot == e.slot })
	}
	return t
}

// names are the first of the units in the way on the machines of a set.
func (s *survey) names(set *machineSet, inTheWay func(*unit) bool) string {
	if set.n == 0 {
		return ""
	}
	units, ok := s.p.blockers[set]
	if !ok || s.scope != nil {
		for _, m := range s.among(set) {
			for _, x := range m.places {
				if inTheWay(x.unit) {
					units = append(units, x.unit)
				}
			}
		}
		slices.SortFunc(units, func(a, b *unit) int { return natural(a.name, b.name) })
		units = slices.Compact(units) // a global unit is on many machines
		if s.scope == nil {
			s.p.blockers[set] = units
		}
	}
	spared := s.spared()
	n := len(units)
	for _, u := range spared {
		if inTheWay(u) && slices.ContainsFunc(u.places, func(x *place) bool { return x.machine.indexed && set.has(x.machine.slot) }) {
			n--
		}
	}
	var list []string
	for i := 0; i < len(units) && len(list) < maxNamed; i++ {
		if !slices.Contains(spared, units[i]) {
			list = append(list, units[i].name)
		}
	}
	return named(list, n)
}

// spared are units that are in nobody's way: they go together with the unit, or are where it goes from.
func (s *survey) spared() []*unit {
	list := slices.Clone(s.members)
	if s.except != nil {
		for _, x := range s.except.places {
			if len(x.unit.places) == 1 && !slices.Contains(s.members, x.unit) {
				list = append(list, x.unit)
			}
		}
	}
	return list
}

func (s *survey) among(set *machineSet) (machines []*machine) {
	if s.scope != nil {
		for _, m := range s.scope {
			if m.indexed && set.has(m.slot) {
				machines = append(machines, m)
			}
		}
		return machines
	}
	for _, slot := range set.first(len(s.p.c.sorted)) {
		machines = append(machines, s.p.c.slots[slot])
	}
	return machines
}
