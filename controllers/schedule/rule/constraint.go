package rule

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Constraint is one value of an option of a unit's file, which all units of that file have, or a machine's state.
type Constraint struct {
	v1.Constraint
	Of     *index.Unit    // nil: it is the state of Closed
	Closed *index.Machine // nil: it is in the file of Of
	at     int            // which value of the option
}

// Edit is a constraint that is not there, or has another value.
type Edit struct {
	*Constraint
	To string // "" removes it
}

// The options that are lists, by position.
var listOptions = []struct {
	name string
	of   func(f *unitfile.Fleet) *[]string
}{
	{ReasonConflicts, func(f *unitfile.Fleet) *[]string { return &f.Conflicts }},
	{ReasonMachineOf, func(f *unitfile.Fleet) *[]string { return &f.MachineOf }},
	{ReasonReplaces, func(f *unitfile.Fleet) *[]string { return &f.Replaces }},
}

// ConstraintsOf returns what a unit's file asks for.
func ConstraintsOf(u *index.Unit) (list []*Constraint) {
	f := &u.Fleet
	add := func(option, value string, at int) {
		list = append(list, &Constraint{Constraint: v1.Constraint{Unit: u.Name, Option: option, Value: value}, Of: u, at: at})
	}
	if f.MachineID != "" {
		add(ReasonMachineID, f.MachineID, 0)
	}
	for _, key := range slices.Sorted(maps.Keys(f.MachineMetadata)) {
		add(ReasonMachineMetadata, key+"="+strings.Join(f.MachineMetadata[key], " or "), 0)
	}
	for _, o := range listOptions {
		for i, value := range *o.of(f) {
			add(o.name, value, i)
		}
	}
	for _, port := range f.Ports {
		add(ReasonPorts, strconv.Itoa(port), 0)
	}
	if len(f.AutoPorts) > 0 {
		add(ReasonAutoPorts, strings.Join(f.AutoPorts, " "), 0)
	}
	if f.CPU > 0 {
		add(ReasonCPU, quantity.FormatCores(f.CPU), 0)
	}
	if f.Memory > 0 {
		add(ReasonMemory, quantity.FormatMemory(f.Memory), 0)
	}
	return list
}

// StatesOf returns why a machine gets no new units.
func StatesOf(m *index.Machine) (list []*Constraint) {
	for _, reason := range Closed(m) {
		list = append(list, &Constraint{Constraint: v1.Constraint{Machine: m.ID, Option: reason}, Closed: m})
	}
	return list
}

// Against returns the patterns of other units that name one of the units: those of one file count once. A unit without a machine
// counts, too: it may get the machine first.
func (l *List) Against(units []*index.Unit) (list []*Constraint) {
	type carrier struct{ family, hash, pattern string }
	seen := map[carrier]bool{}
	for _, v := range slices.SortedFunc(slices.Values(l.x.WithPrefix("")), index.ByName) {
		if v.Dropped() || v.Gone() && len(v.Places) == 0 || slices.ContainsFunc(units, func(u *index.Unit) bool { return SameFile(u, v) }) {
			continue // what is in their own file is theirs
		}
		for _, c := range ConstraintsOf(v) {
			by := carrier{v.FamilyName(), v.Hash, c.Value}
			if (c.Option == ReasonConflicts || c.Option == ReasonReplaces) && !seen[by] && namesAny(c.Value, units) {
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

// SameFile reports whether two units are of one file.
func SameFile(u, v *index.Unit) bool {
	return u == v || u.Template != "" && u.Template == v.Template && u.Hash == v.Hash
}

// Sharers returns the units with the file of a unit.
func Sharers(u *index.Unit) []*index.Unit {
	if u.Family == nil {
		return []*index.Unit{u}
	}
	return slices.DeleteFunc(slices.Clone(u.Family.Units), func(v *index.Unit) bool { return !SameFile(u, v) || v.Problem != "" })
}

// edited returns a file's section with the edits that are about it.
func Edited(f unitfile.Fleet, edits []Edit) unitfile.Fleet {
	for _, o := range listOptions {
		*o.of(&f) = editedList(o.name, *o.of(&f), edits)
	}
	f.Ports, f.MachineMetadata = slices.Clone(f.Ports), maps.Clone(f.MachineMetadata)
	for _, e := range edits {
		switch e.Option {
		case ReasonMachineID:
			f.MachineID = e.To
		case ReasonMachineMetadata:
			key, _, _ := strings.Cut(e.Value, "=")
			if e.To == "" {
				delete(f.MachineMetadata, key)
			} else {
				f.MachineMetadata[key] = append(slices.Clone(f.MachineMetadata[key]), strings.TrimPrefix(e.To, key+"="))
			}
		case ReasonPorts:
			f.Ports = slices.DeleteFunc(f.Ports, func(port int) bool { return strconv.Itoa(port) == e.Value })
			if port, err := strconv.Atoi(e.To); err == nil {
				f.Ports = append(f.Ports, port)
			} else if e.To == v1.HostPortAuto.String() {
				f.AutoPorts = append(slices.Clone(f.AutoPorts), "port-"+e.Value)
			}
		case ReasonAutoPorts:
			f.AutoPorts = nil
		case ReasonCPU:
			f.CPU, _ = quantity.ParseCPU(e.To)
		case ReasonMemory:
			f.Memory, _ = quantity.ParseMemory(e.To)
		}
	}
	slices.Sort(f.Ports)
	return f
}

// Opened returns a machine that a reason no longer keeps from new units.
func Opened(reason string, spec index.MachineSpec, config v1.MachineConfig) (index.MachineSpec, v1.MachineConfig) {
	switch reason {
	case ReasonStuck:
		spec.Stuck = false
	case ReasonUnreadable:
		spec.Problem = ""
	default:
		config.Cordoned, config.Drain = false, false
	}
	return spec, config
}

func editedList(option string, list []string, edits []Edit) (rest []string) {
	for i, value := range list {
		if !slices.ContainsFunc(edits, func(e Edit) bool { return e.Option == option && e.at == i }) {
			rest = append(rest, value)
		}
	}
	return rest
}

// Lifted are edits that remove constraints.
func Lifted(list []*Constraint) (edits []Edit) {
	for _, c := range list {
		edits = append(edits, Edit{Constraint: c})
	}
	return edits
}

// Relaxed returns what to write instead of a constraint so that a machine fits, as far as that can be said.
func (l *List) Relaxed(c *Constraint, m *index.Machine, movers []*index.Unit) Edit {
	r := Edit{Constraint: c}
	switch c.Option {
	case ReasonMachineID:
		r.To = m.ID
	case ReasonMachineMetadata:
		key, _, _ := strings.Cut(c.Value, "=")
		if value, has := m.Labels[key]; has {
			r.To = key + "=" + value
		}
	case ReasonPorts:
		r.To = l.otherPort(c, m, movers)
	case ReasonCPU:
		if left := l.Left(m, movers).CPU + c.Of.Fleet.CPU; left > 0 {
			r.To = quantity.FormatCores(min(left, c.Of.Fleet.CPU))
		}
	case ReasonMemory:
		if left := l.Left(m, movers).Memory + c.Of.Fleet.Memory; left > 0 {
			r.To = quantity.FormatMemory(min(left, c.Of.Fleet.Memory))
		}
	}
	return r
}

// otherPort returns what to write instead of a fixed port: auto where units of the same file have it, which get the new number, too.
func (l *List) otherPort(c *Constraint, m *index.Machine, movers []*index.Unit) string {
	port, _ := strconv.Atoi(c.Value)
	used := map[int]bool{}
	for _, u := range movers {
		for _, p := range u.Fleet.Ports {
			used[p] = true
		}
	}
	for _, at := range l.x.Machines() {
		for _, p := range at.Places {
			if SameFile(p.Unit, c.Of) && at == m && !m.PortRange.IsZero() {
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

// Words says an edit in words.
func (e Edit) Words() string {
	switch e.Option {
	case ReasonCordoned, ReasonDraining:
		return "fleetctl uncordon " + e.Machine
	case ReasonStuck, ReasonUnreadable:
		return "mend fleetd on " + e.Machine + ": fleetctl list-machines says what is wrong"
	case ReasonMachineMetadata:
		if e.To != "" {
			return "allow " + e.To + ", too"
		}
		return "remove it, or give a machine that metadata"
	case ReasonPorts:
		switch e.To {
		case "":
			return "use another port"
		case v1.HostPortAuto.String():
			return "let the scheduler choose a port (hostPort: auto, AutoPorts=)"
		}
		return "use another port, such as " + e.To
	case ReasonCPU, ReasonMemory:
		if e.To != "" {
			return fmt.Sprintf("request at most %s=%s", e.Option, e.To)
		}
		return "request no " + e.Option
	case ReasonMachineID:
		if e.To != "" {
			return "name " + e.To + ", or no machine"
		}
	}
	return fmt.Sprintf("remove %s=%s", e.Option, e.Value)
}

// On returns every reason why units that must share a machine cannot be on a given one; none: they fit.
func (l *List) On(members []*index.Unit, m *index.Machine) []v1.Refusal {
	s := &Survey{list: l, x: l.x, Members: members, scope: []*index.Machine{m}}
	one := Tally{1, []int{m.Slot}}
	for i, u := range members {
		if why, bad := l.machineID.Mismatch(u, m); bad {
			s.Add(why.Reason, why.Message, why.Message, i, "", one)
		}
	}
	if why, bad := l.Incompatible(members); bad {
		why = Together(why)
		s.Add(why.Reason, why.Message, why.Message, 0, "", one)
	}
	s.gather()
	_, reasons := s.explanation("").words(members)
	return reasons
}

// Needs is a machine as the units want it.
func Needs(units []*index.Unit) index.MachineSpec {
	m := index.MachineSpec{ID: NewMachine, Metadata: map[string]string{}, PortRange: v1.DefaultPortRange}
	for _, u := range units {
		if u.Fleet.MachineID != "" {
			m.ID = u.Fleet.MachineID
		}
		for key, values := range u.Fleet.MachineMetadata {
			m.Metadata[key] = values[0]
		}
	}
	return m
}

// NewMachine is the ID of a machine of which the ID does not matter.
const NewMachine = "new"

// Stays says why a unit is where it is.
func (l *List) Stays(u *index.Unit) string {
	text := "it fits there, and leaves only when it has to: units are not moved to balance load"
	switch {
	case u.Fleet.Global:
		text = "a global unit runs on every machine that matches"
	case u.Fleet.MachineID != "":
		text = "MachineID= names it"
	case len(u.Follows) > 0:
		text = "it is beside " + strings.Join(u.Follows, ", ") + " (MachineOf=)"
	}
	for _, p := range u.Places {
		if wish := l.Wish(u, p.Machine); wish != "" {
			text += "; " + wish
		}
	}
	return text
}

// Preempting reports whether there are units that others make room for.
func (l *List) Preempting() bool { return len(l.replaces.byPattern) > 0 }

// Mended reports whether a person has to mend something on the machine.
func (e Edit) Mended() bool { return e.Option == ReasonStuck || e.Option == ReasonUnreadable }
