package schedule

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// survey counts, for each constraint, the machines that it keeps a unit off. A machine that several keep it off is
// counted under each: whoever removes one must know of the others.
type survey struct {
	p            *planner
	members      []*unit
	only, except *machine
	refusals     []refusal
}

type refusal struct {
	v1.Refusal
	one, many string // "has port 3000 in use", "have port 3000 in use"
}

// tally is a number of machines and the first of them.
type tally struct {
	n     int
	slots []int
}

// maxNamed is how many machines, or units in the way, are named.
const maxNamed = 3

func (p *planner) survey(r refused) *v1.Unplaced {
	s := &survey{p: p, members: r.members, only: r.unit.plan.beside}
	head := "machine %s, beside what it follows (MachineOf=" + strings.Join(r.unit.Fleet.MachineOf, " ") + "), does not fit: it "
	for _, u := range r.members {
		if id := u.Fleet.MachineID; id != "" && s.only == nil {
			s.only = p.c.machines[id]
			if s.only == nil || !s.only.present {
				return p.plainly(&r.unit.plan, ReasonMachineID, "machine "+id+" (MachineID=) is not present")
			}
			head = "machine %s (MachineID=) does not fit: it "
		}
	}
	if k := r.unit.plan.keep; k != nil && s.only == nil {
		s.except = k.machine
	}
	if s.only != nil && !s.only.present {
		return p.plainly(&r.unit.plan, ReasonMachineGone, "machine "+s.only.ID+", where it has to be (MachineOf=), is gone")
	}
	if len(p.c.sorted) == 0 {
		return p.plainly(&r.unit.plan, reasonNoMachine, "no machine is present")
	}
	s.gather()
	if s.only != nil {
		return s.result(r.unit.plan.prefix()+fmt.Sprintf(head, s.only.ID), false)
	}
	return s.result(r.unit.plan.prefix()+s.head(), true)
}

func (s *survey) head() string {
	n, other := len(s.p.c.sorted), ""
	if s.except != nil && s.except.present {
		n, other = n-1, " other"
	}
	if n == 0 {
		return "no other machine is present"
	}
	machines, fit := "machines", "fit"
	if n == 1 {
		machines, fit = "machine", "fits"
	}
	with := ""
	if len(s.members) > 1 {
		var families []string
		for _, u := range s.members[1:] {
			families = append(families, u.familyName())
		}
		slices.Sort(families)
		families = slices.Compact(families)
		with = " " + s.members[0].familyName() + " together with " + named(families, len(families))
	}
	return fmt.Sprintf("0 of %d%s %s %s%s: ", n, other, machines, fit, with)
}

// result sorts the refusals by how many machines they keep off, and puts them in words.
func (s *survey) result(head string, counted bool) *v1.Unplaced {
	slices.SortStableFunc(s.refusals, func(a, b refusal) int { return b.Count - a.Count })
	out := &v1.Unplaced{}
	var parts []string
	for _, r := range s.refusals {
		words := r.one
		if r.Count > 1 {
			words = r.many
		}
		r.Refusal.Message = words + r.Refusal.Message
		if part := r.Refusal.Message; counted {
			parts = append(parts, strconv.Itoa(r.Count)+" "+part)
		} else {
			parts = append(parts, part)
		}
		out.Reasons = append(out.Reasons, r.Refusal)
	}
	out.Message = head + strings.Join(parts, ", ")
	return out
}

func (s *survey) gather() {
	need := request{}
	for i, u := range s.members {
		beside := ""
		if i > 0 {
			beside = " for " + u.familyName() + " beside it"
		}
		s.conflicts(u, beside)
		s.ports(u, beside)
		s.metadata(u, beside)
		for _, name := range u.followsGlobal(s.p.c) {
			sites := s.p.machinesOf(s.p.c.units[name])
			s.add(ReasonMachineOf, "is without "+name, "are without "+name, beside+" (MachineOf=)",
				s.where("beside "+name, func(m *machine) bool { return !sites.has(m.slot) }))
		}
		if len(u.replaces) > 0 || slices.ContainsFunc(u.matched, func(g *glob) bool { return g.replaces.n > 0 }) {
			s.add(reasonReplaces, "runs a unit that makes no room", "run a unit that makes no room", beside+" (Replaces=)",
				s.where("", func(m *machine) bool { return rivalOn(u, m) != nil }))
		}
		need.CPU += u.Fleet.CPU
		need.Memory += u.Fleet.Memory
	}
	s.resource(reasonCPU, "CPU", request{CPU: need.CPU}, need.CPU, func(m *machine) int64 { return m.Capacity.CPU - m.used.CPU })
	s.resource(reasonMemory, "memory", request{Memory: need.Memory}, need.Memory, func(m *machine) int64 { return m.Capacity.Memory - m.used.Memory })
	s.add(reasonDraining, "is being drained", "are being drained", "",
		s.where("draining", func(m *machine) bool { return m.config.Drain }))
	s.add(reasonCordoned, "is cordoned", "are cordoned", "",
		s.where("cordoned", func(m *machine) bool { return m.config.Cordoned && !m.config.Drain }))
	s.add(reasonMachine, "cannot be read", "cannot be read", "",
		s.where("problem", func(m *machine) bool { return m.Problem != "" }))
}

func (s *survey) add(reason, one, many, detail string, t tally) {
	if t.n == 0 {
		return
	}
	r := refusal{one: one, many: many}
	r.Reason, r.Message, r.Count = reason, detail, t.n
	for _, slot := range t.slots {
		r.Machines = append(r.Machines, s.p.c.slots[slot].ID)
	}
	s.refusals = append(s.refusals, r)
}

func (s *survey) conflicts(u *unit, beside string) {
	const one, many = "runs a unit that conflicts", "run a unit that conflicts"
	for _, g := range u.conflicts {
		t := s.of(&g.matched)
		names := s.names(t, func(v *unit) bool { return slices.Contains(v.matched, g) })
		s.add(ReasonConflicts, one, many, fmt.Sprintf("%s (Conflicts=%s: %s)", beside, g.Pattern, names), t)
	}
	for _, g := range u.matched {
		if slices.Contains(u.conflicts, g) && g.conflicts.n == g.matched.n {
			continue // the same machines once more
		}
		t := s.of(&g.conflicts)
		names := s.names(t, func(v *unit) bool { return slices.Contains(v.conflicts, g) })
		s.add(ReasonConflicts, one, many, fmt.Sprintf("%s (Conflicts=%s of %s)", beside, g.Pattern, names), t)
	}
}

func (s *survey) ports(u *unit, beside string) {
	for _, port := range u.Fleet.Ports {
		set := s.p.c.ports[port]
		if set == nil {
			continue
		}
		t := s.of(set)
		names := s.names(t, func(v *unit) bool { return slices.Contains(v.Fleet.Ports, port) })
		s.add(ReasonPorts, fmt.Sprintf("has port %d in use", port), fmt.Sprintf("have port %d in use", port),
			fmt.Sprintf("%s (by %s)", beside, names), t)
	}
}

func (s *survey) metadata(u *unit, beside string) {
	for _, t := range u.selector.terms {
		words := " no metadata " + t.String()
		s.add(ReasonMachineMetadata, "has"+words, "have"+words, beside,
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
	s.add(reason, "has"+words, "have"+words, fmt.Sprintf(" (%s=%s, the most that is left is %s)", reason, amount(reason, n), amount(reason, most)), t)
}

// of counts the machines of a set.
func (s *survey) of(set *machineSet) tally {
	if s.only != nil {
		if set.n > 0 && s.only.indexed && set.has(s.only.slot) {
			return tally{1, []int{s.only.slot}}
		}
		return tally{}
	}
	t := tally{set.n, set.first(maxNamed + 1)}
	if e := s.except; e != nil && e.indexed && set.n > 0 && set.has(e.slot) {
		t.n--
		t.slots = slices.DeleteFunc(t.slots, func(slot int) bool { return slot == e.slot })
	}
	t.slots = t.slots[:min(len(t.slots), maxNamed)]
	return t
}

// where counts the machines that something holds for, one by one. Under a key it is counted once in a plan.
func (s *survey) where(key string, holds func(*machine) bool) tally {
	if s.only != nil || s.except != nil {
		key = ""
	}
	if t, ok := s.p.counted[key]; ok && key != "" {
		return t
	}
	var t tally
	for _, m := range s.p.c.sorted {
		if s.only != nil && m != s.only || m == s.except || !m.indexed || !holds(m) {
			continue
		}
		if t.n++; t.n <= maxNamed {
			t.slots = append(t.slots, m.slot)
		}
	}
	if key != "" {
		s.p.counted[key] = t
	}
	return t
}

// names are some of the units on those machines that are in the way.
func (s *survey) names(t tally, inTheWay func(*unit) bool) string {
	var list []string
	for _, slot := range t.slots {
		first := ""
		for _, x := range s.p.c.slots[slot].places {
			if u := x.unit; inTheWay(u) && !slices.Contains(s.members, u) && (first == "" || u.name < first) {
				first = u.name
			}
		}
		if first != "" {
			list = append(list, first)
		}
	}
	return named(list, t.n)
}

// named lists the first of n names.
func named(list []string, n int) string {
	list = list[:min(len(list), maxNamed)]
	text := strings.Join(list, ", ")
	if n > len(list) {
		text += " ..."
	}
	return text
}

// amount writes an amount of a resource as [X-Fleet] has it.
func amount(resource string, n int64) string {
	if resource == reasonCPU {
		return strconv.FormatFloat(float64(n)/1000, 'f', -1, 64)
	}
	for _, unit := range []struct {
		suffix string
		size   int64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n >= unit.size {
			return strconv.FormatFloat(float64(n*10/unit.size)/10, 'f', -1, 64) + unit.suffix
		}
	}
	return strconv.FormatInt(n, 10)
}
