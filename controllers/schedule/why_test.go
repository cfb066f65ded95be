package schedule

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// copied returns another world like this one, with an index of its own.
func (w *world) copied() *world {
	c := *w
	c.machines, c.configs, c.units, c.files = maps.Clone(w.machines), maps.Clone(w.configs), maps.Clone(w.units), maps.Clone(w.files)
	c.placements, c.unplaced, c.active, c.runs, c.preparing = maps.Clone(w.placements), maps.Clone(w.unplaced), maps.Clone(w.active), maps.Clone(w.runs), maps.Clone(w.preparing)
	c.c = w.rebuilt()
	return &c
}

func (w *world) explain(unit string) v1.Explanation {
	why, ok := NewExplainer(Input{Index: w.rebuilt(), Now: w.now, Limits: w.limits}).Explain(unit, "")
	require.True(w.t, ok, unit)
	return why
}

// change makes a change: all units of a file get the new one, and those that run have been restarted with it.
func (w *world) change(c v1.Constraint, to string) {
	if c.Option == rule.ReasonNoMachines {
		m := index.MachineSpec{ID: c.Machine, Metadata: map[string]string{"zone": strings.TrimPrefix(to, "zone=")}, PortRange: v1.DefaultPortRange}
		w.setMachine(m)
		return
	}
	if c.Unit == "" {
		m, config := w.machines[c.Machine], w.configs[c.Machine]
		if c.Option == rule.ReasonStuck {
			m.Stuck = false
		} else {
			config = v1.MachineConfig{}
		}
		w.setMachine(m)
		w.setConfig(c.Machine, config)
		return
	}
	of := w.units[c.Unit]
	at := slices.IndexFunc(rule.ConstraintsOf(&index.Unit{UnitSpec: of}), func(x *rule.Constraint) bool { return x.Option == c.Option && x.Value == c.Value })
	require.GreaterOrEqual(w.t, at, 0, "%v", c)
	for _, name := range sortedKeys(w.units) {
		u := w.units[name]
		if name != c.Unit && (u.Template == "" || u.Template != of.Template || u.Hash != of.Hash) {
			continue
		}
		was := u.Hash
		u.Fleet = withOption(u.Fleet, c, to)
		u.Hash = was + "'"
		w.setUnit(u)
		for _, p := range w.placements {
			if p.UnitName == name && p.Value.Hash == was {
				p.Value.Hash = u.Hash
				w.put(p.MachineName, name, p.Value)
			}
		}
	}
}

// withOption changes one value of a file, in a simpler way than the explanation's.
func withOption(f unitfile.Fleet, c v1.Constraint, to string) unitfile.Fleet {
	drop := func(list []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == c.Value })
	}
	switch c.Option {
	case "Conflicts":
		f.Conflicts = drop(f.Conflicts)
	case "MachineOf":
		f.MachineOf = drop(f.MachineOf)
	case "Replaces":
		f.Replaces = drop(f.Replaces)
	case "MachineID":
		f.MachineID = to
	case "MachineMetadata":
		if f.MachineMetadata = map[string][]string(nil); to != "" {
			f.MachineMetadata = map[string][]string{"zone": {"a", "b"}}
		}
	case "Ports":
		port, err := strconv.Atoi(to)
		if f.Ports = nil; err == nil {
			f.Ports = []int{port}
		} else if to == "auto" {
			f.AutoPorts = append(slices.Clone(f.AutoPorts), "another")
		}
	case "AutoPorts":
		f.AutoPorts = nil
	case "CPU":
		cpu, _ := strconv.ParseFloat("0"+to, 64)
		f.CPU = int64(cpu*1000 + .5)
	case "Memory":
		memory, _ := strconv.Atoi("0" + to)
		f.Memory = int64(memory)
	}
	return f
}

// drawRefusals draws a world in which nothing is left to do, and returns its units without a machine.
func drawRefusals(t *rapid.T, replacing bool) (*world, []string) {
	w := newWorld(t)
	w.limits.FreezeMin = 100
	for range rapid.IntRange(2, 4).Draw(t, "machines") {
		w.setMachine(drawMachine(t))
	}
	for range rapid.IntRange(4, 12).Draw(t, "units") {
		u := drawUnit(t, replacing)
		u.Problem, u.DesiredState, u.Owner, u.LetGo, u.Next, u.NextFleet = "", v1.Launched, "", "", v1.Preparation{}, nil
		w.setUnit(u)
	}
	for range rapid.IntRange(0, 2).Draw(t, "closed") {
		w.setConfig(rapid.SampledFrom(sortedKeys(w.machines)).Draw(t, "where"), v1.MachineConfig{Cordoned: rapid.Bool().Draw(t, "cordon"), Drain: rapid.Bool().Draw(t, "drain")})
	}
	w.converge()
	n := counts(w)
	return w, slices.DeleteFunc(sortedKeys(w.unplaced), func(name string) bool { return n[name] > 0 })
}

// TestTheSmallestChangePlaces: in a thousand random refusals, the change that an explanation names gives the unit a machine when it is
// made and the scheduler plans again, and no part of it does. Without any one of the constraints that it names, the others refuse
// nothing. It holds also where units make room for others (Replaces=), which takes several plans.
func TestTheSmallestChangePlaces(t *testing.T) {
	for _, replacing := range []bool{false, true} {
		t.Run(fmt.Sprintf("replacing=%v", replacing), func(t *testing.T) {
			for refusals := 0; refusals < 1000; {
				rapid.Check(t, func(t *rapid.T) {
					w, refused := drawRefusals(t, replacing)
					for _, name := range refused {
						refusals++
						why := w.explain(name)
						require.NotEmpty(t, why.Changes, "%s", name)
						require.Empty(t, w.after(why.Changes).unplacedAs(name), "%+v", why.Changes)
						checkNeeded(t, w, name, why.Changes)
						checkConstraints(t, w, name, why)
					}
				})
			}
		})
	}
}

// after returns the world in which changes have been made.
func (w *world) after(changes []v1.Change) *world {
	made := w.copied()
	for _, c := range changes {
		made.change(c.Constraint, c.To)
	}
	made.converge()
	return made
}

// unplacedAs returns why a unit lacks a machine; "" if it does not.
func (w *world) unplacedAs(name string) string {
	if counts(w)[name] > 0 && w.unplaced[name].Message == "" {
		return ""
	}
	return cmp.Or(w.unplaced[name].Message, "it has no machine")
}

// checkNeeded makes all changes but one.
func checkNeeded(t *rapid.T, w *world, name string, changes []v1.Change) {
	for i := range changes {
		part := w.after(slices.Delete(slices.Clone(changes), i, i+1))
		require.NotEmpty(t, part.unplacedAs(name), "%+v is not needed", changes[i])
	}
}

// checkConstraints looks at worlds in which only some of the constraints are left.
func checkConstraints(t *rapid.T, w *world, name string, why v1.Explanation) {
	refuses := func(set []v1.Constraint) bool {
		only := w.copied()
		for _, c := range w.allConstraints(name) {
			if !slices.Contains(set, c) {
				only.change(c, "")
			}
		}
		only.converge()
		return only.unplacedAs(name) != ""
	}
	if len(why.Constraints) == 0 {
		require.True(t, refuses(nil), "no constraint is named, and without any it has a machine")
		return
	}
	require.True(t, refuses(why.Constraints), "the constraints alone keep it off no machine")
	for i := range why.Constraints {
		require.False(t, refuses(slices.Delete(slices.Clone(why.Constraints), i, i+1)), "%+v is not needed", why.Constraints[i])
	}
}

// allConstraints are those of the files of the unit and of what is tied to it, what other files say of these, and the states of machines.
func (w *world) allConstraints(name string) (list []v1.Constraint) {
	group := []string{name}
	for i := 0; i < len(group); i++ {
		for _, other := range sortedKeys(w.units) {
			a, b := w.units[group[i]].Fleet, w.units[other].Fleet
			if !slices.Contains(group, other) && !a.Global && !b.Global && (slices.Contains(a.MachineOf, other) || slices.Contains(b.MachineOf, group[i])) {
				group = append(group, other)
			}
		}
	}
	files := map[string]bool{}
	add := func(u index.UnitSpec, of func(v1.Constraint) bool) {
		file := u.Template + u.Hash
		if u.Template == "" {
			file = u.Name
		}
		if files[file] {
			return
		}
		files[file] = true
		for _, c := range rule.ConstraintsOf(&index.Unit{UnitSpec: u}) {
			if of(c.Constraint) {
				list = append(list, c.Constraint)
			}
		}
	}
	slices.Sort(group[1:])
	for _, member := range group {
		if u, ok := w.units[member]; ok {
			add(u, func(v1.Constraint) bool { return true })
		}
	}
	for _, other := range sortedKeys(w.units) {
		add(w.units[other], func(c v1.Constraint) bool {
			return (c.Option == "Conflicts" || c.Option == "Replaces") && slices.ContainsFunc(group, func(member string) bool { return matchesAny([]string{c.Value}, member) })
		})
	}
	for _, id := range sortedKeys(w.machines) {
		m, c := w.machines[id], w.configs[id]
		for option, is := range map[string]bool{rule.ReasonStuck: m.Stuck, rule.ReasonDraining: c.Drain, rule.ReasonCordoned: c.Cordoned && !c.Drain} {
			if is {
				list = append(list, v1.Constraint{Machine: id, Option: option})
			}
		}
	}
	return list
}
