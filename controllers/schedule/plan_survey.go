package schedule

import (
	"fmt"
	"math/bits"
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
	c, need := s.p.c, request{}
	for i, u := range s.members {
		s.conflicts(u, i)
		s.ports(u, i)
		s.metadata(u, i)
		for _, name := range u.followsGlobal(c) {
			s.add(ReasonMachineOf, "is without "+name, "are without "+name, i, " (MachineOf=)", s.outside(s.p.machinesOf(c.units[name])))
		}
		if rivals := s.rivals(u); len(rivals) > 0 {
			s.add(reasonReplaces, "runs a unit that makes no room", "run a unit that makes no room", i, " (Replaces=)",
				s.where(rivals, func(m *machine) bool { return rivalOn(u, m) != nil }))
		}
		need.CPU += u.Fleet.CPU
		need.Memory += u.Fleet.Memory
	}
	s.resource(reasonCPU, "CPU", request{CPU: need.CPU}, need.CPU, func(m *machine) int64 { return m.Capacity.CPU - m.used.CPU })
	s.resource(reasonMemory, "memory", request{Memory: need.Memory}, need.Memory, func(m *machine) int64 { return m.Capacity.Memory - m.used.Memory })
	s.add(reasonDraining, "is being drained", "are being drained", 0, "", s.in(&c.draining))
	s.add(reasonCordoned, "is cordoned", "are cordoned", 0, "", s.in(&c.cordoned))
	s.add(reasonMachine, "cannot be read", "cannot be read", 0, "", s.in(&c.unreadable))
	s.add(reasonStuck, "starts and stops no units now", "start and stop no units now", 0, " (list-machines says why)", s.in(&c.stuck))
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
		if t := s.in(&g.matched.machineSet); t.n > 0 {
			names := s.names(&g.matched, func(v *unit) bool { return slices.Contains(v.matched, g) })
			s.add(ReasonConflicts, one, many, beside, fmt.Sprintf(" (Conflicts=%s: %s)", g.Pattern, names), t)
		}
	}
	for _, g := range u.matched {
		if slices.Contains(u.conflicts, g) && g.conflicts.n == g.matched.n {
			continue // the same machines once more
		}
		if t := s.in(&g.conflicts.machineSet); t.n > 0 {
			names := s.names(&g.conflicts, func(v *unit) bool { return slices.Contains(v.conflicts, g) })
			s.add(ReasonConflicts, one, many, beside, fmt.Sprintf(" (Conflicts=%s of %s)", g.Pattern, names), t)
		}
	}
}

func (s *survey) ports(u *unit, beside int) {
	for _, port := range u.Fleet.Ports {
		k := s.p.c.ports[port]
		if k == nil {
			continue
		}
		if t := s.in(&k.machineSet); t.n > 0 {
			names := s.names(k, func(v *unit) bool { return slices.Contains(v.Fleet.Ports, port) })
			s.add(ReasonPorts, fmt.Sprintf("has port %d in use", port), fmt.Sprintf("have port %d in use", port), beside,
				fmt.Sprintf(" (by %s)", names), t)
		}
	}
}

func (s *survey) metadata(u *unit, beside int) {
	c := s.p.c
	for _, t := range u.selector.terms {
		met := c.scratch()
		clear(met)
		for _, value := range t.values {
			if set := c.metadata[pair{t.key, value}]; set != nil {
				set.addTo(met)
			}
		}
		words := " no metadata " + t.String()
		s.add(ReasonMachineMetadata, "has"+words, "have"+words, beside, "", s.outside(met))
	}
}

// rivals are the machines that may run a unit which replaces u or is replaced by it.
func (s *survey) rivals(u *unit) (machines []*machine) {
	c := s.p.c
	may := c.scratch()
	clear(may)
	for _, g := range u.replaces {
		g.matched.addTo(may)
	}
	for _, g := range u.matched {
		g.replaces.addTo(may)
	}
	for slot := range may.all {
		machines = append(machines, c.slots[slot])
	}
	return machines
}

func (s *survey) resource(reason, what string, need request, n int64, left func(*machine) int64) {
	if n == 0 {
		return
	}
	most := int64(0)
	t := s.where(s.p.c.sorted, func(m *machine) bool {
		if m.fits(need) {
			return false
		}
		most = max(most, left(m))
		return true
	})
	words := " too little " + what + " left"
	s.add(reason, "has"+words, "have"+words, 0, fmt.Sprintf(" (%s=%s, the most that is left is %s)", reason, amount(reason, n), amount(reason, most)), t)
}

// in counts the machines of a set.
func (s *survey) in(set *machineSet) tally {
	switch {
	case set.n == 0:
		return tally{}
	case s.scope != nil:
		return s.where(nil, func(m *machine) bool { return set.has(m.slot) })
	}
	return s.less(tally{set.n, set.first(maxNamed + 1)}, set.has)
}

// outside counts the machines that are not among some.
func (s *survey) outside(some bitmap) (t tally) {
	if s.scope != nil {
		return s.where(nil, func(m *machine) bool { return !some.has(m.slot) })
	}
	for w, word := range s.p.c.anywhere.match {
		word &^= some[w]
		t.n += bits.OnesCount64(word)
		for ; word != 0 && len(t.slots) <= maxNamed; word &= word - 1 {
			t.slots = append(t.slots, w<<6+bits.TrailingZeros64(word))
		}
	}
	return s.less(t, func(slot int) bool { return !some.has(slot) })
}

// where counts the machines that something holds for, one by one.
func (s *survey) where(machines []*machine, holds func(*machine) bool) (t tally) {
	if s.scope != nil {
		machines = s.scope
	}
	for _, m := range machines {
		if m == s.except || !m.indexed || !holds(m) {
			continue
		}
		if t.n++; t.n <= maxNamed+1 {
			t.slots = append(t.slots, m.slot)
		}
	}
	return t
}

// less takes the excepted machine off a tally.
func (s *survey) less(t tally, holds func(slot int) bool) tally {
	if e := s.except; e != nil && e.indexed && holds(e.slot) {
		t.n--
		t.slots = slices.DeleteFunc(t.slots, func(slot int) bool { return slot == e.slot })
	}
	return t
}

// names are the first of the units in the way.
func (s *survey) names(k *crowd, inTheWay func(*unit) bool) string {
	spared := s.spared()
	isSpared := func(u *unit) bool { return slices.Contains(spared, u) }
	var units []*unit
	n := k.units
	if s.scope == nil {
		units = k.foremost(maxNamed, isSpared)
		for _, u := range spared {
			if u.on > 0 && inTheWay(u) {
				n--
			}
		}
	} else {
		units = s.inScope(func(u *unit) bool { return inTheWay(u) && !isSpared(u) })
		n = len(units)
	}
	var list []string
	for _, u := range units[:min(len(units), maxNamed)] {
		list = append(list, u.label())
	}
	return named(list, n)
}

// spared are units that are in nobody's way: they go together with the unit, or are where it goes from.
func (s *survey) spared() []*unit {
	list := slices.Clone(s.members)
	for _, u := range s.members {
		for _, f := range u.formers {
			if f.shade != nil {
				list = append(list, f.shade)
			}
		}
	}
	if s.except != nil {
		for _, x := range s.except.places {
			if len(x.unit.places) == 1 && !slices.Contains(s.members, x.unit) {
				list = append(list, x.unit)
				if shade := x.shade(); shade != nil {
					list = append(list, shade)
				}
			}
		}
	}
	return list
}

// inScope are the units in the way on the machines that it is about.
func (s *survey) inScope(inTheWay func(*unit) bool) (units []*unit) {
	for _, m := range s.scope {
		if !m.indexed {
			continue
		}
		for _, x := range m.places {
			if inTheWay(x.unit) {
				units = append(units, x.unit)
			}
			if shade := x.shade(); shade != nil && inTheWay(shade) {
				units = append(units, shade)
			}
		}
	}
	slices.SortFunc(units, func(a, b *unit) int { return natural(a.name, b.name) })
	return slices.Compact(units) // a global unit is on many machines
}
