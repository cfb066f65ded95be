package schedule

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// constraint is one value of an option of a unit's file, which all units of that file have, or a machine's state.
type constraint struct {
	v1.Constraint
	unit    *index.Unit
	machine *index.Machine
	at      int // which value of the option
}

// edit is a constraint that is not there, or has another value.
type edit struct {
	*constraint
	to string // "" removes it
}

// The options that are lists, by position.
var listOptions = []struct {
	name string
	of   func(f *unitfile.Fleet) *[]string
}{
	{rule.ReasonConflicts, func(f *unitfile.Fleet) *[]string { return &f.Conflicts }},
	{rule.ReasonMachineOf, func(f *unitfile.Fleet) *[]string { return &f.MachineOf }},
	{rule.ReasonReplaces, func(f *unitfile.Fleet) *[]string { return &f.Replaces }},
}

// constraintsOf returns what a unit's file asks for.
func constraintsOf(u *index.Unit) (list []*constraint) {
	f := &u.Fleet
	add := func(option, value string, at int) {
		list = append(list, &constraint{Constraint: v1.Constraint{Unit: u.Name, Option: option, Value: value}, unit: u, at: at})
	}
	if f.MachineID != "" {
		add(rule.ReasonMachineID, f.MachineID, 0)
	}
	for _, key := range slices.Sorted(maps.Keys(f.MachineMetadata)) {
		add(rule.ReasonMachineMetadata, key+"="+strings.Join(f.MachineMetadata[key], " or "), 0)
	}
	for _, o := range listOptions {
		for i, value := range *o.of(f) {
			add(o.name, value, i)
		}
	}
	for _, port := range f.Ports {
		add(rule.ReasonPorts, strconv.Itoa(port), 0)
	}
	if len(f.AutoPorts) > 0 {
		add(rule.ReasonAutoPorts, strings.Join(f.AutoPorts, " "), 0)
	}
	if f.CPU > 0 {
		add(rule.ReasonCPU, quantity.FormatCores(f.CPU), 0)
	}
	if f.Memory > 0 {
		add(rule.ReasonMemory, quantity.FormatMemory(f.Memory), 0)
	}
	return list
}

// statesOf returns why a machine gets no new units.
func statesOf(m *index.Machine) (list []*constraint) {
	for _, reason := range rule.Closed(m) {
		list = append(list, &constraint{Constraint: v1.Constraint{Machine: m.ID, Option: reason}, machine: m})
	}
	return list
}

// against returns the patterns of other units that name one of the units: those of one file count once. A unit without a machine
// counts, too: it may get the machine first.
func (e *look) against(units []*index.Unit) (list []*constraint) {
	type carrier struct{ family, hash, pattern string }
	seen := map[carrier]bool{}
	for _, v := range slices.SortedFunc(slices.Values(e.x.WithPrefix("")), index.ByName) {
		if v.Dropped() || v.Gone() && len(v.Places) == 0 || slices.ContainsFunc(units, func(u *index.Unit) bool { return sameFile(u, v) }) {
			continue // what is in their own file is theirs
		}
		for _, c := range constraintsOf(v) {
			by := carrier{v.FamilyName(), v.Hash, c.Value}
			if (c.Option == rule.ReasonConflicts || c.Option == rule.ReasonReplaces) && !seen[by] && namesAny(c.Value, units) {
				seen[by] = true
				list = append(list, c)
			}
		}
	}
	return list
}

func namesAny(glob string, units []*index.Unit) bool {
	g, err := unitfile.ParseGlob(glob)
	return err == nil && slices.ContainsFunc(units, func(u *index.Unit) bool { return g.Match(u.Name) })
}

// sameFile reports whether two units are of one file.
func sameFile(u, v *index.Unit) bool {
	return u == v || u.Template != "" && u.Template == v.Template && u.Hash == v.Hash
}

// sharers returns the units with the file of a unit.
func sharers(u *index.Unit) []*index.Unit {
	if u.Family == nil {
		return []*index.Unit{u}
	}
	return slices.DeleteFunc(slices.Clone(u.Family.Units), func(v *index.Unit) bool { return !sameFile(u, v) || v.Problem != "" })
}

// edited returns a file's section with the edits that are about it.
func edited(f unitfile.Fleet, edits []edit) unitfile.Fleet {
	for _, o := range listOptions {
		*o.of(&f) = editedList(o.name, *o.of(&f), edits)
	}
	f.Ports, f.MachineMetadata = slices.Clone(f.Ports), maps.Clone(f.MachineMetadata)
	for _, e := range edits {
		switch e.Option {
		case rule.ReasonMachineID:
			f.MachineID = e.to
		case rule.ReasonMachineMetadata:
			key, _, _ := strings.Cut(e.Value, "=")
			if e.to == "" {
				delete(f.MachineMetadata, key)
			} else {
				f.MachineMetadata[key] = append(slices.Clone(f.MachineMetadata[key]), strings.TrimPrefix(e.to, key+"="))
			}
		case rule.ReasonPorts:
			f.Ports = slices.DeleteFunc(f.Ports, func(port int) bool { return strconv.Itoa(port) == e.Value })
			if port, err := strconv.Atoi(e.to); err == nil {
				f.Ports = append(f.Ports, port)
			} else if e.to == v1.HostPortAuto.String() {
				f.AutoPorts = append(slices.Clone(f.AutoPorts), "port-"+e.Value)
			}
		case rule.ReasonAutoPorts:
			f.AutoPorts = nil
		case rule.ReasonCPU:
			f.CPU, _ = quantity.ParseCPU(e.to)
		case rule.ReasonMemory:
			f.Memory, _ = quantity.ParseMemory(e.to)
		}
	}
	slices.Sort(f.Ports)
	return f
}

// opened returns a machine that a reason no longer keeps from new units.
func opened(reason string, spec index.MachineSpec, config v1.MachineConfig) (index.MachineSpec, v1.MachineConfig) {
	switch reason {
	case rule.ReasonStuck:
		spec.Stuck = false
	case rule.ReasonUnreadable:
		spec.Problem = ""
	default:
		config.Cordoned, config.Drain = false, false
	}
	return spec, config
}

func editedList(option string, list []string, edits []edit) (rest []string) {
	for i, value := range list {
		if !slices.ContainsFunc(edits, func(e edit) bool { return e.Option == option && e.at == i }) {
			rest = append(rest, value)
		}
	}
	return rest
}

// lifted are edits that remove constraints.
func lifted(list []*constraint) (edits []edit) {
	for _, c := range list {
		edits = append(edits, edit{constraint: c})
	}
	return edits
}

// relaxed returns what to write instead of a constraint so that a machine fits, as far as that can be said.
func (e *look) relaxed(c *constraint, m *index.Machine, movers []*index.Unit) edit {
	r := edit{constraint: c}
	switch c.Option {
	case rule.ReasonMachineID:
		r.to = m.ID
	case rule.ReasonMachineMetadata:
		key, _, _ := strings.Cut(c.Value, "=")
		if value, has := m.Labels[key]; has {
			r.to = key + "=" + value
		}
	case rule.ReasonPorts:
		r.to = e.otherPort(c, m, movers)
	case rule.ReasonCPU:
		if left := e.rules.Left(m, movers).CPU + c.unit.Fleet.CPU; left > 0 {
			r.to = quantity.FormatCores(min(left, c.unit.Fleet.CPU))
		}
	case rule.ReasonMemory:
		if left := e.rules.Left(m, movers).Memory + c.unit.Fleet.Memory; left > 0 {
			r.to = quantity.FormatMemory(min(left, c.unit.Fleet.Memory))
		}
	}
	return r
}

// otherPort returns what to write instead of a fixed port: auto where units of the same file have it, which get the new number, too.
func (e *look) otherPort(c *constraint, m *index.Machine, movers []*index.Unit) string {
	port, _ := strconv.Atoi(c.Value)
	used := map[int]bool{}
	for _, u := range movers {
		for _, p := range u.Fleet.Ports {
			used[p] = true
		}
	}
	for _, at := range e.x.Machines() {
		for _, p := range at.Places {
			if sameFile(p.Unit, c.unit) && at == m && !m.PortRange.IsZero() {
				return v1.HostPortAuto.String()
			}
			for _, p := range p.Unit.Fleet.Ports {
				used[p] = true
			}
			for _, p := range p.Value.Assigned.All {
				used[p] = true
			}
		}
	}
	for other := port + 1; other < 1<<16; other++ {
		if _, reserved := v1.ReservedPorts[other]; !reserved && !used[other] {
			return strconv.Itoa(other)
		}
	}
	return ""
}

// words says an edit in words.
func (e edit) words() string {
	switch e.Option {
	case rule.ReasonCordoned, rule.ReasonDraining:
		return "fleetctl uncordon " + e.Machine
	case rule.ReasonStuck, rule.ReasonUnreadable:
		return "mend fleetd on " + e.Machine + ": fleetctl list-machines says what is wrong"
	case rule.ReasonMachineMetadata:
		if e.to != "" {
			return "allow " + e.to + ", too"
		}
		return "remove it, or give a machine that metadata"
	case rule.ReasonPorts:
		switch e.to {
		case "":
			return "use another port"
		case v1.HostPortAuto.String():
			return "let the scheduler choose a port (hostPort: auto, AutoPorts=)"
		}
		return "use another port, such as " + e.to
	case rule.ReasonCPU, rule.ReasonMemory:
		if e.to != "" {
			return fmt.Sprintf("request at most %s=%s", e.Option, e.to)
		}
		return "request no " + e.Option
	case rule.ReasonMachineID:
		if e.to != "" {
			return "name " + e.to + ", or no machine"
		}
	}
	return fmt.Sprintf("remove %s=%s", e.Option, e.Value)
}
