package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// checkSurvey compares the explanations of units that fit nowhere with an exhaustive look at all machines and their units.
func checkSurvey(t *rapid.T, w *world) {
	var units []*index.Unit
	for _, name := range w.known() {
		if u := w.c.Unit(name); !u.Gone() {
			units = append(units, u)
		}
	}
	if len(units) == 0 || len(w.c.Machines()) == 0 {
		return
	}
	rule.Of(w.c).Begin()
	for range 3 {
		members := rapid.SliceOfNDistinct(rapid.SampledFrom(units), 1, 2, rapid.ID).Draw(t, "members")
		r := &recount{w: w, members: members}
		var found *v1.Unplaced
		switch rules := rule.Of(w.c); rapid.IntRange(0, 3).Draw(t, "which machines") {
		case 0:
			r.members = members[:1]
			r.scope = rapid.SliceOfNDistinct(rapid.SampledFrom(w.c.Machines()), 1, 3, rapid.ID).Draw(t, "scope")
			found = rules.SurveyOf(members[0], r.scope, "").For("", r.members)
		case 1:
			r.except = rapid.SampledFrom(w.c.Machines()).Draw(t, "except")
			fallthrough
		default:
			if slices.ContainsFunc(members, func(u *index.Unit) bool { return u.Fleet.MachineID != "" }) {
				continue // it is about one machine
			}
			found = rules.Survey(members, rule.Pin{}, r.except).For("", members)
		}
		require.Equal(t, sorted(r.recounted()), sorted(found.Reasons))
	}
}

// recount computes the same in the slow and simple way.
type recount struct {
	w        *world
	members  []*index.Unit
	scope    []*index.Machine
	except   *index.Machine
	machines []*index.Machine
	refusals []v1.Refusal
}

// someone is a unit on a machine: with its file, or with what its former file asks for in addition.
type someone struct {
	unit   *index.Unit
	fleet  unitfile.Fleet
	former *index.Unit // nil: it is the unit itself
}

// on returns the units on a machine, with their former files.
func (r *recount) on(m *index.Machine) (list []someone) {
	for _, x := range m.Places {
		list = append(list, someone{x.Unit, x.Unit.Fleet, nil})
		if f := x.Former(); f != nil {
			fleet, is := f.Fleet, x.Unit.Fleet
			fleet.Conflicts, fleet.Replaces, fleet.Ports = without(fleet.Conflicts, is.Conflicts), without(fleet.Replaces, is.Replaces), without(fleet.Ports, is.Ports)
			fleet.CPU, fleet.Memory = max(fleet.CPU-is.CPU, 0), max(fleet.Memory-is.Memory, 0)
			list = append(list, someone{x.Unit, fleet, f})
		}
	}
	return list
}

func without[T comparable](list, others []T) (rest []T) {
	for _, x := range list {
		if !slices.Contains(others, x) {
			rest = append(rest, x)
		}
	}
	return rest
}

// patterns are an option's patterns in units of the index, or in former files of placements.
func (r *recount) patterns(of func(unitfile.Fleet) []string) []string {
	all := map[string]bool{}
	for _, name := range r.w.known() {
		for _, pattern := range of(r.w.c.Unit(name).Fleet) {
			all[pattern] = true
		}
	}
	for _, m := range r.w.c.Machines() {
		for _, s := range r.on(m) {
			for _, pattern := range of(s.fleet) {
				all[pattern] = true
			}
		}
	}
	return sortedKeys(all)
}

func (r *recount) recounted() []v1.Refusal {
	r.refusals = []v1.Refusal{}
	r.machines = r.scope
	if r.scope == nil {
		r.machines = slices.DeleteFunc(slices.Clone(r.w.c.Machines()), func(m *index.Machine) bool { return m == r.except })
	}
	var need v1.Capacity
	for i, u := range r.members {
		r.recountMember(i, u)
		if i == len(r.members)-1 {
			r.autoPorts()
		}
		need.CPU, need.Memory = need.CPU+u.Fleet.CPU, need.Memory+u.Fleet.Memory
	}
	r.resource(rule.ReasonCPU, "CPU", need.CPU, func(a v1.Capacity) int64 { return a.CPU })
	r.resource(rule.ReasonMemory, "memory", need.Memory, func(a v1.Capacity) int64 { return a.Memory })
	r.line(rule.ReasonDraining, 0, "is being drained", "are being drained", "", func(m *index.Machine) bool { return m.Config.Drain })
	r.line(rule.ReasonCordoned, 0, "is cordoned", "are cordoned", "", func(m *index.Machine) bool { return m.Config.Cordoned && !m.Config.Drain })
	r.line(rule.ReasonUnreadable, 0, "cannot be read", "cannot be read", "", func(m *index.Machine) bool { return m.Problem != "" })
	r.line(rule.ReasonStuck, 0, "starts and stops no units now", "start and stop no units now", " (list-machines says why)", func(m *index.Machine) bool { return m.Stuck })
	return r.refusals
}

// sorted sorts by the number of machines ruled out, as in explanations; the order of equals does not matter.
func sorted(list []v1.Refusal) []v1.Refusal {
	return slices.SortedFunc(slices.Values(list), func(a, b v1.Refusal) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Message, b.Message))
	})
}

func (r *recount) recountMember(i int, u *index.Unit) {
	f := u.Fleet
	const one, many = "runs a unit that conflicts", "run a unit that conflicts"
	matched := func(pattern string) func(someone) bool {
		return func(v someone) bool { return v.former == nil && matchesAny([]string{pattern}, v.unit.Name) }
	}
	for _, pattern := range f.Conflicts {
		r.blocked(rule.ReasonConflicts, i, one, many, "Conflicts="+pattern+": ", matched(pattern))
	}
	for _, pattern := range r.patterns(func(f unitfile.Fleet) []string { return f.Conflicts }) {
		carries := func(v someone) bool { return slices.Contains(v.fleet.Conflicts, pattern) }
		if matchesAny([]string{pattern}, u.Name) && (!slices.Contains(f.Conflicts, pattern) || r.everywhere(carries) != r.everywhere(matched(pattern))) {
			r.blocked(rule.ReasonConflicts, i, one, many, "Conflicts="+pattern+" of ", carries)
		}
	}
	for _, port := range f.Ports {
		r.line(rule.ReasonPorts, i, fmt.Sprintf("has assigned port %d", port), fmt.Sprintf("have assigned port %d", port), " (to a unit with AutoPorts=)",
			func(m *index.Machine) bool { return assignedOn(m, port, nil) })
		r.blocked(rule.ReasonPorts, i, fmt.Sprintf("has port %d in use", port), fmt.Sprintf("have port %d in use", port), "by ",
			func(v someone) bool { return slices.Contains(v.fleet.Ports, port) })
	}
	for _, key := range sortedKeys(f.MachineMetadata) {
		words := " no metadata " + key + "=" + strings.Join(f.MachineMetadata[key], " or ")
		r.line(rule.ReasonMachineMetadata, i, "has"+words, "have"+words, "", func(m *index.Machine) bool {
			value, ok := m.Labels[key]
			return !ok || !slices.Contains(f.MachineMetadata[key], value)
		})
	}
	for _, name := range f.MachineOf {
		if v := r.w.c.Unit(name); v != nil && v.Fleet.Global {
			r.line(rule.ReasonMachineOf, i, "is without "+name, "are without "+name, " (MachineOf=)",
				func(m *index.Machine) bool { return r.w.c.PlaceOf(v, m) == nil })
		}
	}
	if rival := r.rival(u); rival != "" {
		r.line(rule.ReasonReplaces, i, "is barred", "are barred", " while "+rival+" is placed: each of the two replaces the other (Replaces=)", func(*index.Machine) bool { return true })
		return
	}
	r.line(rule.ReasonReplaces, i, "runs a unit that makes no room", "run a unit that makes no room", " (Replaces=)", func(m *index.Machine) bool {
		return slices.ContainsFunc(r.on(m), func(v someone) bool {
			x, y := matchesAny(f.Replaces, v.unit.Name), matchesAny(v.fleet.Replaces, u.Name)
			return v.unit != u && (v.former != nil && y && !x || v.former == nil && x != y)
		})
	})
}

// assignedOn reports whether a placement on the machine, besides one, has the port assigned.
func assignedOn(m *index.Machine, port int, besides *index.Place) bool {
	return slices.ContainsFunc(m.Places, func(x *index.Place) bool { return x != besides && x.Value.Assigned.Has(port) })
}

// fixedOn reports whether a unit on the machine has the port as a fixed one.
func (r *recount) fixedOn(m *index.Machine, port int) bool {
	return slices.ContainsFunc(r.on(m), func(s someone) bool { return slices.Contains(s.fleet.Ports, port) })
}

func (r *recount) autoPorts() {
	need, most := 0, 0
	for _, u := range r.members {
		need += len(u.Fleet.AutoPorts)
	}
	free := func(m *index.Machine) (n int) {
		for port := m.PortRange.First; port <= m.PortRange.Last; port++ {
			members := slices.ContainsFunc(r.members, func(u *index.Unit) bool { return slices.Contains(u.Fleet.Ports, port) })
			if port > 0 && !members && !assignedOn(m, port, nil) && !r.fixedOn(m, port) {
				n++
			}
		}
		return n
	}
	full := func(m *index.Machine) bool { return need > 0 && !m.PortRange.IsZero() && free(m) < need }
	for _, m := range r.machines {
		if full(m) {
			most = max(most, free(m))
		}
	}
	r.line(rule.ReasonAutoPorts, 0, "has a fleetd that assigns no ports", "have a fleetd that assigns no ports", " (update it)",
		func(m *index.Machine) bool { return need > 0 && m.PortRange.IsZero() })
	r.line(rule.ReasonAutoPorts, 0, "has too few free ports left", "have too few free ports left",
		fmt.Sprintf(" (AutoPorts= needs %d, the most that are free in auto_ports is %d)", need, most), full)
}

// rival is the first unit by pattern and name that has a machine, is replaced by u and replaces it.
func (r *recount) rival(u *index.Unit) string {
	for _, pattern := range u.Fleet.Replaces {
		var names []string
		for _, m := range r.w.c.Machines() {
			for _, v := range r.on(m) {
				if v.former == nil && v.unit != u && matchesAny([]string{pattern}, v.unit.Name) && matchesAny(v.unit.Fleet.Replaces, u.Name) {
					names = append(names, v.unit.Name)
				}
			}
		}
		if len(names) > 0 {
			return slices.MinFunc(names, func(a, b string) int {
				if index.Natural(a, b) < 0 {
					return -1
				}
				return 1
			})
		}
	}
	return ""
}

func (r *recount) everywhere(what func(someone) bool) (n int) {
	for _, m := range r.w.c.Machines() {
		if slices.ContainsFunc(r.on(m), what) {
			n++
		}
	}
	return n
}

func (r *recount) line(reason string, beside int, one, many, detail string, refuses func(*index.Machine) bool) {
	var ids []string
	for _, m := range r.machines {
		if refuses(m) {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) == 0 {
		return
	}
	message := rule.Plural(len(ids), one, many)
	if beside > 0 {
		message += " for " + r.members[beside].Name + " beside it"
	}
	r.refusals = append(r.refusals, v1.Refusal{Reason: reason, Message: message + detail, Count: len(ids), Machines: ids[:min(len(ids), rule.MaxNamed)]})
}

// blocked is an explanation about units in the way, except those that move as well.
func (r *recount) blocked(reason string, beside int, one, many, detail string, inTheWay func(someone) bool) {
	var names []string
	noted := map[[2]*index.Unit]bool{}
	note := func(m *index.Machine, skip func(*index.Unit) bool) {
		for _, s := range r.on(m) {
			label, id := s.unit.Name, [2]*index.Unit{s.unit, s.former}
			if s.former != nil {
				label += " with its former file"
			}
			if inTheWay(s) && !slices.Contains(r.members, s.unit) && !noted[id] && !skip(s.unit) {
				noted[id] = true
				names = append(names, label)
			}
		}
	}
	for _, m := range r.machines {
		note(m, func(u *index.Unit) bool { return false })
	}
	if r.except != nil { // those on the machine that are also elsewhere
		note(r.except, func(u *index.Unit) bool { return len(u.Places) == 1 })
	}
	slices.SortFunc(names, index.Natural)
	list := strings.Join(names[:min(len(names), rule.MaxNamed)], ", ")
	if n := len(names) - rule.MaxNamed; n > 0 {
		list += fmt.Sprintf(" and %d more", n)
	}
	r.line(reason, beside, one, many, " ("+detail+list+")", func(m *index.Machine) bool { return slices.ContainsFunc(r.on(m), inTheWay) })
}

func (r *recount) resource(reason, what string, need int64, of func(v1.Capacity) int64) {
	most := int64(0)
	left := func(m *index.Machine) (n int64) {
		n = of(m.Capacity)
		for _, s := range r.on(m) {
			n -= of(v1.Capacity{CPU: s.fleet.CPU, Memory: s.fleet.Memory})
		}
		return n
	}
	refuses := func(m *index.Machine) bool { return need > 0 && of(m.Capacity) > 0 && left(m) < need }
	for _, m := range r.machines {
		if refuses(m) {
			most = max(most, left(m))
		}
	}
	words := " too little " + what + " left"
	r.line(reason, 0, "has"+words, "have"+words, fmt.Sprintf(" (%s=%s, the most that is left is %s)", reason, amount(reason, need), amount(reason, most)), refuses)
}

// amount formats an amount as in [X-Fleet], for these tests.
func amount(reason string, n int64) string {
	if reason == rule.ReasonCPU {
		return fmt.Sprint(float64(n) / 1000)
	}
	return fmt.Sprint(n)
}

// checkClashes compares the rules' candidates for a clash with a look at each of the other units.
func checkClashes(t *rapid.T, w *world) {
	r := &recount{w: w}
	for _, m := range w.c.Machines() {
		for _, x := range m.Places {
			u := x.Unit
			others := slices.ContainsFunc(r.on(m), func(s someone) bool {
				hits := matchesAny(s.fleet.Conflicts, u.Name) || matchesAny(s.fleet.Replaces, u.Name) ||
					slices.ContainsFunc(s.fleet.Ports, func(port int) bool { return slices.Contains(u.Fleet.Ports, port) })
				if s.unit == u {
					return s.former != nil && hits
				}
				return hits || s.former == nil && (matchesAny(u.Fleet.Conflicts, s.unit.Name) || matchesAny(u.Fleet.Replaces, s.unit.Name))
			})
			others = others || slices.ContainsFunc(u.Fleet.Ports, func(port int) bool { return assignedOn(m, port, nil) })
			for _, port := range x.Value.Assigned.All {
				others = others || assignedOn(m, port, x) || r.fixedOn(m, port)
			}
			require.Equal(t, others, rule.Of(w.c).Contended(x), "%s on %s", u.Name, m.ID)
		}
	}
}

// known returns the names of the units that the index may know.
func (w *world) known() []string {
	var names []string
	for _, name := range unitNames {
		if w.c.Unit(name) != nil {
			names = append(names, name)
		}
	}
	return names
}
