package schedule

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// checkSurvey compares what is told of units that fit nowhere with what one finds who looks at all machines and at all
// that is on them.
func checkSurvey(t *rapid.T, c *Cluster) {
	var units []*unit
	for _, name := range sortedKeys(c.units) {
		if !c.units[name].gone() {
			units = append(units, c.units[name])
		}
	}
	if len(units) == 0 || len(c.sorted) == 0 {
		return
	}
	p := &planner{c: c, sites: map[*unit]bitmap{}}
	for range 3 {
		s := &survey{p: p, members: rapid.SliceOfNDistinct(rapid.SampledFrom(units), 1, 2, rapid.ID).Draw(t, "members")}
		switch rapid.IntRange(0, 3).Draw(t, "which machines") {
		case 0:
			s.scope = rapid.SliceOfNDistinct(rapid.SampledFrom(c.sorted), 1, 3, rapid.ID).Draw(t, "scope")
		case 1:
			s.except = rapid.SampledFrom(c.sorted).Draw(t, "except")
		}
		s.gather()
		found := []string{}
		for _, r := range s.refusals {
			found = append(found, fmt.Sprint(r.Reason, r.beside, " ", r.Count, r.Machines[:min(r.Count, maxNamed)], r.detail))
		}
		require.Equal(t, recounted(s), found)
	}
}

// recount finds the same in the slow and simple way.
type recount struct {
	*survey
	machines []*machine
	lines    []string
}

func recounted(s *survey) []string {
	r := &recount{s, s.scope, []string{}}
	if s.scope == nil {
		r.machines = slices.DeleteFunc(slices.Clone(s.p.c.sorted), func(m *machine) bool { return m == s.except })
	}
	need := request{}
	for i, u := range s.members {
		f := u.Fleet
		for _, pattern := range f.Conflicts {
			r.blocked(ReasonConflicts, i, "Conflicts="+pattern+": ", func(v *unit) bool { return v.shadeOf == nil && matchesAny([]string{pattern}, v.name) })
		}
		for _, g := range u.matched {
			carries := func(v *unit) bool { return slices.Contains(v.Fleet.Conflicts, g.Pattern) }
			if !carries(u) || r.everywhere(carries) != r.everywhere(func(v *unit) bool { return v.shadeOf == nil && matchesAny([]string{g.Pattern}, v.name) }) {
				r.blocked(ReasonConflicts, i, "Conflicts="+g.Pattern+" of ", carries)
			}
		}
		for _, port := range f.Ports {
			r.blocked(ReasonPorts, i, "by ", func(v *unit) bool { return slices.Contains(v.Fleet.Ports, port) })
		}
		for _, key := range sortedKeys(f.MachineMetadata) {
			r.line(ReasonMachineMetadata, i, "", func(m *machine) bool {
				value, ok := effectiveMetadata(m)[key]
				return !ok || !slices.Contains(f.MachineMetadata[key], value)
			})
		}
		for _, name := range f.MachineOf {
			if v := s.p.c.units[name]; v != nil && v.Fleet.Global {
				r.line(ReasonMachineOf, i, " (MachineOf=)", func(m *machine) bool { return !r.runs(m, func(u *unit) bool { return u == v }) })
			}
		}
		r.line(reasonReplaces, i, " (Replaces=)", func(m *machine) bool {
			return r.runs(m, func(v *unit) bool {
				x, y := matchesAny(f.Replaces, v.name), matchesAny(v.Fleet.Replaces, u.name)
				if v.shadeOf != nil {
					return v.shadeOf != u && y && !x
				}
				return v != u && x != y
			})
		})
		need.CPU, need.Memory = need.CPU+f.CPU, need.Memory+f.Memory
	}
	r.resource(reasonCPU, need.CPU, func(a v1.Capacity) int64 { return a.CPU })
	r.resource(reasonMemory, need.Memory, func(a v1.Capacity) int64 { return a.Memory })
	r.line(reasonDraining, 0, "", func(m *machine) bool { return m.config.Drain })
	r.line(reasonCordoned, 0, "", func(m *machine) bool { return m.config.Cordoned && !m.config.Drain })
	r.line(reasonMachine, 0, "", func(m *machine) bool { return m.Problem != "" })
	r.line(reasonStuck, 0, " (list-machines says why)", func(m *machine) bool { return m.Stuck })
	return r.lines
}

func (r *recount) runs(m *machine, what func(*unit) bool) bool {
	return slices.ContainsFunc(m.places, func(x *place) bool { return what(x.unit) || x.shade() != nil && what(x.shade()) })
}

func (r *recount) everywhere(what func(*unit) bool) (n int) {
	for _, m := range r.p.c.sorted {
		if r.runs(m, what) {
			n++
		}
	}
	return n
}

func (r *recount) line(reason string, beside int, detail string, refuses func(*machine) bool) {
	n, ids := 0, []string{}
	for _, m := range r.machines {
		if refuses(m) {
			n++
			ids = append(ids, m.ID)
		}
	}
	if n > 0 {
		r.lines = append(r.lines, fmt.Sprint(reason, beside, " ", n, ids[:min(n, maxNamed)], detail))
	}
}

// blocked is a line about units in the way, other than those that go as well.
func (r *recount) blocked(reason string, beside int, detail string, inTheWay func(*unit) bool) {
	var names []string
	seen := map[*unit]bool{}
	note := func(x *place) {
		for u, suffix := range map[*unit]string{x.unit: "", x.shade(): " with its former file"} {
			if u != nil && !seen[u] && inTheWay(u) && !slices.Contains(r.members, x.unit) {
				seen[u] = true
				names = append(names, u.name+suffix)
			}
		}
	}
	for _, m := range r.machines {
		for _, x := range m.places {
			if leaves := r.except != nil && len(x.unit.places) == 1 && x.machine == r.except; !leaves {
				note(x)
			}
		}
	}
	if r.except != nil { // who is there as well as elsewhere
		for _, x := range r.except.places {
			if len(x.unit.places) > 1 {
				note(x)
			}
		}
	}
	slices.SortFunc(names, natural)
	r.line(reason, beside, " ("+detail+named(names, len(names))+")", func(m *machine) bool { return r.runs(m, inTheWay) })
}

func (r *recount) resource(reason string, need int64, of func(v1.Capacity) int64) {
	most := int64(0)
	left := func(m *machine) (n int64) {
		n = of(m.Capacity)
		for _, x := range m.places {
			n -= of(v1.Capacity{CPU: x.unit.Fleet.CPU, Memory: x.unit.Fleet.Memory})
			if s := x.shade(); s != nil {
				n -= of(v1.Capacity{CPU: s.Fleet.CPU, Memory: s.Fleet.Memory})
			}
		}
		return n
	}
	refuses := func(m *machine) bool { return need > 0 && of(m.Capacity) > 0 && left(m) < need }
	for _, m := range r.machines {
		if refuses(m) {
			most = max(most, left(m))
		}
	}
	r.line(reason, 0, fmt.Sprintf(" (%s=%s, the most that is left is %s)", reason, amount(reason, need), amount(reason, most)), refuses)
}

// checkClashes compares what the index says of whom a unit may rub against with a look at each of the others.
func checkClashes(t *rapid.T, c *Cluster) {
	for _, m := range c.sorted {
		for _, x := range m.places {
			u := x.unit
			others := slices.ContainsFunc(m.places, func(y *place) bool {
				v := y.unit
				return hits(y.shade(), u) || v != u && (shared(u.conflicts, v.matched) != nil || shared(v.conflicts, u.matched) != nil ||
					shared(u.replaces, v.matched) != nil || shared(v.replaces, u.matched) != nil || sharedPort(u, v) != 0)
			})
			require.Equal(t, others, c.mayClash(u, m), "%s on %s", u.name, m.ID)
		}
	}
}

// hits: a former file and a unit rub against each other.
func hits(shade, u *unit) bool {
	return shade != nil && (shared(shade.conflicts, u.matched) != nil || shared(shade.replaces, u.matched) != nil || sharedPort(shade, u) != 0)
}

// TestCrowd: many units come and go, with their machines, with other ports, and are asked for or not.
func TestCrowd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		number, ports := rapid.IntRange(0, 12), rapid.SampledFrom([][]int{nil, {1}, {1, 2}})
		name := func() string { return fmt.Sprintf("app@%d.service", number.Draw(t, "number")) }
		id := func() string { return rapid.SampledFrom(machineNames).Draw(t, "machine") }
		t.Repeat(map[string]func(*rapid.T){
			"unit": func(*rapid.T) {
				f := unitfile.Fleet{Ports: ports.Draw(t, "ports"), Conflicts: rapid.SampledFrom([][]string{nil, {appGlob}, {appGlob, "app@1*", appGlob}}).Draw(t, "conflicts")}
				w.setUnit(launched(name(), f))
			},
			"delete":  func(*rapid.T) { w.deleteUnit(name()) },
			"place":   func(*rapid.T) { w.put(id(), name(), v1.Placement{Hash: "1", DesiredState: v1.Launched}) },
			"unplace": func(*rapid.T) { w.remove(id(), name()) },
			"machine": func(*rapid.T) { w.setMachine(Machine{ID: id(), Metadata: map[string]string{"zone": id()}}) },
			"gone":    func(*rapid.T) { w.deleteMachine(id()) },
			"prepare": func(*rapid.T) { w.c.prepare() },
			"ask":     func(t *rapid.T) { checkCrowds(t, w.c) },
		})
		w.c.prepare()
		checkCrowds(t, w.c)
	})
}

const appGlob = "app@*.service"

// checkCrowds compares each crowd with a count of all that is on the machines of the index.
func checkCrowds(t *rapid.T, c *Cluster) {
	skip := rapid.IntRange(0, 3).Draw(t, "skip")
	check := func(what string, k *crowd, belongs func(*unit) bool) {
		var all []string
		seen := map[*unit]bool{}
		for _, m := range c.machines {
			for _, x := range m.places {
				for _, u := range []*unit{x.unit, x.shade()} {
					if m.indexed && u != nil && !seen[u] && belongs(u) {
						seen[u] = true
						all = append(all, u.name)
					}
				}
			}
		}
		slices.SortFunc(all, natural)
		require.Equal(t, len(all), k.units, what)
		n := min(skip, len(all))
		for n > 0 && n < len(all) && all[n] == all[n-1] { // two former files of one unit
			n++
		}
		without := all[:n]
		for _, n := range []int{maxNamed, len(all) + 1} {
			var found []string
			for _, u := range k.foremost(n, func(u *unit) bool { return slices.Contains(without, u.name) }) {
				found = append(found, u.name)
			}
			require.Equal(t, strings.Join(all[len(without):min(len(without)+n, len(all))], " "), strings.Join(found, " "), what)
		}
	}
	for pattern, g := range c.globs.byPattern {
		check(pattern, &g.matched, func(u *unit) bool { ok, _ := path.Match(pattern, u.name); return ok && u.shadeOf == nil })
		check("Conflicts="+pattern, &g.conflicts, func(u *unit) bool { return slices.Contains(u.Fleet.Conflicts, pattern) })
	}
	for port, k := range c.ports {
		check(fmt.Sprint("port ", port), k, func(u *unit) bool { return slices.Contains(u.Fleet.Ports, port) })
	}
}

// TestCrowdForgets: units that come and go all the time, and that nobody asks for, leave nothing behind that grows.
func TestCrowdForgets(t *testing.T) {
	w := three(t)
	for i := range 8 {
		w.add(t, fmt.Sprintf("app@%d.service Ports=80", i))
	}
	w.c.prepare()
	for i := range 1000 {
		name := fmt.Sprintf("app@%d.service", i%8)
		w.put("m1", name, v1.Placement{})
		if i >= 3 {
			w.remove("m1", fmt.Sprintf("app@%d.service", (i-3)%8))
		}
	}
	k := w.c.ports[80]
	require.Equal(t, 3, k.units)
	require.LessOrEqual(t, cap(k.line), 16)
}
