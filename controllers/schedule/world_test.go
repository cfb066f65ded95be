package schedule

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// world is the stored state, and the index that receives each change.
type world struct {
	t          require.TestingT
	now        time.Time
	since      time.Time
	limits     Limits
	revision   int64
	machines   map[string]index.MachineSpec
	configs    map[string]v1.MachineConfig
	units      map[string]index.UnitSpec
	files      map[string]unitfile.Fleet // of each unit, by unit/hash
	placements map[string]index.Placed   // by machine/unit
	unplaced   map[string]v1.Unplaced
	active     map[string]bool            // by machine/unit
	runs       map[string]string          // the file that it was last active with, by machine/unit
	leftovers  map[string]unitfile.Fleet  // that file, of those that are not placed there, by machine/unit
	preparing  map[string]index.Preparing // by machine/unit
	c          *index.Index
	log        func(format string, args ...any)
}

func newWorld(t require.TestingT) *world {
	return &world{t: t, limits: Limits{Grace: -1}, now: time.Unix(1000, 0), machines: map[string]index.MachineSpec{}, configs: map[string]v1.MachineConfig{}, units: map[string]index.UnitSpec{}, files: map[string]unitfile.Fleet{},
		placements: map[string]index.Placed{}, unplaced: map[string]v1.Unplaced{}, active: map[string]bool{}, runs: map[string]string{}, leftovers: map[string]unitfile.Fleet{}, preparing: map[string]index.Preparing{}, c: NewIndex(), log: func(string, ...any) {}}
}

func (w *world) setMachine(m index.MachineSpec) {
	w.log("machine %+v", m)
	w.machines[m.ID] = m
	w.c.SetMachine(m)
}

func (w *world) deleteMachine(id string) {
	w.log("machine %s gone", id)
	delete(w.machines, id)
	w.c.DeleteMachine(id)
}

func (w *world) setConfig(id string, config v1.MachineConfig) {
	w.log("config %s %+v", id, config)
	w.configs[id] = config
	w.c.SetMachineConfig(id, config)
}

func (w *world) setUnit(u index.UnitSpec) {
	w.log("unit %+v", u)
	if u.Follows = rule.Follows(&u.Fleet); u.Problem == "" {
		w.files[u.Name+"/"+u.Hash] = u.Fleet
	}
	w.units[u.Name] = u
	w.c.SetUnit(u)
}

func (w *world) file(hash, unit string) (unitfile.Fleet, bool) {
	f, ok := w.files[unit+"/"+hash]
	return f, ok
}

func (w *world) deleteUnit(name string) {
	w.log("unit %s gone", name)
	delete(w.units, name)
	w.c.DeleteUnit(name)
}

func (w *world) put(machine, unit string, value v1.Placement) {
	w.revision++
	key := machine + "/" + unit
	placed := index.Placed{MachineName: machine, UnitName: unit, Value: value, Mod: w.revision, Create: w.revision}
	if old, ok := w.placements[key]; ok {
		placed.Create = old.Create
	}
	w.placements[key] = placed
	w.log("placed %s/%s", machine, unit)
	w.c.SetPlacement(placed)
}

func (w *world) remove(machine, unit string) {
	w.log("unplaced %s/%s", machine, unit)
	delete(w.placements, machine+"/"+unit)
	w.c.DeletePlacement(machine, unit)
}

func (w *world) setActive(machine, unit string, active bool) {
	w.log("active %s/%s %v", machine, unit, active)
	w.active[machine+"/"+unit], w.runs[machine+"/"+unit] = active, w.placements[machine+"/"+unit].Value.Hash
	delete(w.leftovers, machine+"/"+unit)
	w.c.SetActive(machine, unit, active, w.runs[machine+"/"+unit])
}

// leave has a machine keep running what is not placed there any more.
func (w *world) leave(machine, unit, hash string, fleet unitfile.Fleet) {
	w.log("left %s/%s %s %+v", machine, unit, hash, fleet)
	key := machine + "/" + unit
	w.active[key], w.runs[key], w.leftovers[key], w.files[unit+"/"+hash] = true, hash, fleet, fleet
	w.c.SetActive(machine, unit, true, hash)
	w.c.SetLeftover(machine, unit, fleet)
}

func (w *world) prepare(machine, unit string, next v1.Next) {
	w.revision++
	p := index.Preparing{Machine: machine, Next: next, Mod: w.revision}
	w.log("preparing %s/%s %v", machine, unit, next)
	w.preparing[machine+"/"+unit] = p
	w.c.SetPreparing(unit, p)
}

// prepared has a machine answer what it was asked to prepare.
func (w *world) prepared(machine, unit string, is v1.PreparedState) {
	w.log("prepared %s/%s %s", machine, unit, is)
	p := w.preparing[machine+"/"+unit]
	p.Prepared = v1.Prepared{Preparation: p.Next.Preparation, State: is}
	w.preparing[machine+"/"+unit] = p
	w.c.SetPrepared(machine, unit, p.Prepared)
}

func (w *world) plan() Decision {
	w.c.EachUnexplained(w.file)
	d := Plan(Input{Index: w.c, Now: w.now, Limits: w.limits, FrozenSince: w.since})
	w.log("plan %q", lines(d.Actions, true))
	switch {
	case !d.Missed:
		w.since = time.Time{}
	case w.since.IsZero():
		w.since = w.now
	}
	return d
}

// apply applies an action like a transaction: its conditions must hold.
func (w *world) apply(a Action) {
	switch a.Kind {
	case Place:
		require.NotContains(w.t, w.placements, a.Machine+"/"+a.Unit, "%v", a)
		w.put(a.Machine, a.Unit, a.Placement)
	case Move:
		require.Equal(w.t, w.placements[a.From+"/"+a.Unit].Mod, a.Revision, "%v", a)
		require.NotContains(w.t, w.placements, a.Machine+"/"+a.Unit, "%v", a)
		w.remove(a.From, a.Unit)
		w.put(a.Machine, a.Unit, a.Placement)
	case Unplace:
		require.Equal(w.t, w.placements[a.Machine+"/"+a.Unit].Mod, a.Revision, "%v", a)
		w.remove(a.Machine, a.Unit)
	case Update:
		require.Equal(w.t, w.placements[a.Machine+"/"+a.Unit].Mod, a.Revision, "%v", a)
		w.put(a.Machine, a.Unit, a.Placement)
	case Prepare:
		w.prepare(a.Machine, a.Unit, a.Next)
	case PrepareNoMore:
		require.Equal(w.t, w.preparing[a.Machine+"/"+a.Unit].Mod, a.Revision, "%v", a)
		delete(w.preparing, a.Machine+"/"+a.Unit)
		w.c.DeletePreparing(a.Machine, a.Unit)
	case SetUnplaced:
		w.revision++
		w.unplaced[a.Unit] = *a.Unplaced
		w.c.SetUnplaced(a.Unit, *a.Unplaced, w.revision)
	case ClearUnplaced:
		delete(w.unplaced, a.Unit)
		w.c.DeleteUnplaced(a.Unit)
	case StoreFile:
		for name, u := range w.units {
			if u.Hash == a.File.Hash {
				u.Text = ""
				w.units[name] = u
				w.c.SetUnit(u)
			}
		}
	case DeleteStray:
		w.c.DeleteStray(a.Unit)
	}
}

// step plans and applies all of it.
func (w *world) step() []Action {
	d := w.plan()
	Commit(w.c, d)
	for _, a := range d.Actions {
		w.apply(a)
	}
	return d.Actions
}

// converge repeats until nothing is left to do, and returns what was done, without explanations.
func (w *world) converge() []string {
	var log []string
	for range 20 {
		actions := w.step()
		if len(actions) == 0 {
			return log
		}
		for _, a := range actions {
			if a.Kind != SetUnplaced && a.Kind != ClearUnplaced {
				log = append(log, a.String())
			}
		}
	}
	require.Fail(w.t, "does not converge", "%v", log)
	return nil
}

// where lists the placements.
func (w *world) where() []string { return slices.Sorted(maps.Keys(w.placements)) }

// rebuilt returns a new index built at once from the same world.
func (w *world) rebuilt() *index.Index {
	c := NewIndex()
	for _, p := range w.placements { // map order: different each time
		c.SetPlacement(p)
	}
	for id, config := range w.configs {
		c.SetMachineConfig(id, config)
	}
	for name, value := range w.unplaced {
		c.SetUnplaced(name, value, 1)
	}
	for _, u := range w.units {
		c.SetUnit(u)
	}
	for _, name := range w.known() {
		if u := w.c.Unit(name); !u.Known && u.Hash != "" { // deleted: what it occupies is known while its placements exist
			c.SetUnit(u.UnitSpec)
			c.DeleteUnit(name)
		}
	}
	for key, active := range w.active {
		m, u, _ := strings.Cut(key, "/")
		c.SetActive(m, u, active, w.runs[key])
		if fleet, left := w.leftovers[key]; left {
			c.SetLeftover(m, u, fleet)
		}
	}
	for key, p := range w.preparing {
		_, u, _ := strings.Cut(key, "/")
		c.SetPreparing(u, p)
	}
	for _, m := range w.machines {
		c.SetMachine(m)
	}
	c.EachUnexplained(w.file)
	return c
}

func (w *world) metadata(id string) map[string]string {
	meta := maps.Clone(w.machines[id].Metadata)
	for k, v := range w.configs[id].Metadata {
		meta[k] = v
	}
	return meta
}

// wrong returns, in the slow and simple way, why a unit must not be on a machine with others.
func (w *world) wrong(u index.UnitSpec, id string, others []index.UnitSpec) string {
	m, ok := w.machines[id]
	f := u.Fleet
	switch {
	case !ok:
		return "machine is not present"
	case f.MachineID != "" && f.MachineID != id:
		return "MachineID"
	}
	for key, values := range f.MachineMetadata {
		if v, ok := w.metadata(id)[key]; !ok || !slices.Contains(values, v) {
			return "MachineMetadata"
		}
	}
	cpu, memory := f.CPU, f.Memory
	for _, o := range others {
		if o.Name == u.Name {
			continue
		}
		former := w.former(o, id)
		if why := wrongFormer(u, o.Name, former); why != "" {
			return why
		}
		if matchesAny(f.Conflicts, o.Name) || matchesAny(o.Fleet.Conflicts, u.Name) {
			return "Conflicts " + o.Name
		}
		x, y := matchesAny(f.Replaces, o.Name), matchesAny(o.Fleet.Replaces, u.Name)
		if x != y {
			return "Replaces " + o.Name
		}
		for _, port := range f.Ports {
			if slices.Contains(o.Fleet.Ports, port) {
				return fmt.Sprint("Ports ", port, " ", o.Name)
			}
		}
		for _, port := range f.Ports {
			if w.placements[id+"/"+o.Name].Value.Assigned.Has(port) {
				return fmt.Sprint("assigned port ", port, " ", o.Name)
			}
		}
		cpu, memory = cpu+max(o.Fleet.CPU, former.CPU), memory+max(o.Fleet.Memory, former.Memory)
	}
	free := 0
	for i := range m.PortRange.Size() {
		if port := m.PortRange.First + i; w.portUser(port, id, u.Name) == "" && !slices.Contains(f.Ports, port) {
			free++
		}
	}
	if free < len(f.AutoPorts) {
		return "AutoPorts"
	}
	if m.Capacity.CPU > 0 && f.CPU > 0 && cpu > m.Capacity.CPU {
		return "CPU"
	}
	if m.Capacity.Memory > 0 && f.Memory > 0 && memory > m.Capacity.Memory {
		return "Memory"
	}
	return ""
}

// portUser returns what uses a port of a machine, fixed or assigned, besides one unit.
func (w *world) portUser(port int, id, besides string) string {
	for _, o := range w.on(id) {
		if o.Name != besides && slices.Contains(w.former(o, id).Ports, port) {
			return o.Name + " with its former file"
		}
	}
	return w.portUserNow(port, id, besides)
}

// portUserNow leaves out former files.
func (w *world) portUserNow(port int, id, besides string) string {
	for _, o := range w.on(id) {
		if o.Name != besides && (slices.Contains(o.Fleet.Ports, port) || w.placements[id+"/"+o.Name].Value.Assigned.Has(port)) {
			return o.Name
		}
	}
	return ""
}

// rival returns a unit with a machine that u replaces and that replaces u.
func (w *world) rival(u index.UnitSpec) string {
	for id := range w.machines {
		for _, o := range w.on(id) {
			if o.Name != u.Name && matchesAny(u.Fleet.Replaces, o.Name) && matchesAny(o.Fleet.Replaces, u.Name) {
				return o.Name
			}
		}
	}
	return ""
}

// former returns the file that a placement names if its unit has another one; none if it is the same, or unknown.
func (w *world) former(o index.UnitSpec, id string) unitfile.Fleet {
	if p := w.placements[id+"/"+o.Name]; p.Value.Hash != o.Hash || o.Problem != "" {
		return w.files[o.Name+"/"+p.Value.Hash]
	}
	return unitfile.Fleet{}
}

// wrongFormer returns why a unit must not run beside one with its former file.
func wrongFormer(u index.UnitSpec, other string, former unitfile.Fleet) string {
	if matchesAny(former.Conflicts, u.Name) {
		return "former Conflicts " + other
	}
	if matchesAny(former.Replaces, u.Name) && !matchesAny(u.Fleet.Replaces, other) {
		return "former Replaces " + other
	}
	for _, port := range u.Fleet.Ports {
		if slices.Contains(former.Ports, port) {
			return fmt.Sprint("former Ports ", port, " ", other)
		}
	}
	return ""
}

func matchesAny(globs []string, name string) bool {
	return slices.ContainsFunc(globs, func(g string) bool { ok, _ := path.Match(g, name); return ok })
}

// on returns the units with a placement on a machine.
func (w *world) on(id string) []index.UnitSpec {
	var list []index.UnitSpec
	for _, key := range w.where() {
		if m, name, _ := strings.Cut(key, "/"); m == id {
			u := w.units[name]
			if x := w.c.Unit(name); u.Name == "" && x != nil {
				u = x.UnitSpec // deleted: the last known spec
			}
			u.Name = name
			if u.Problem != "" {
				u.Fleet = unitfile.Fleet{}
			}
			list = append(list, u)
		}
	}
	return list
}

// launched is a unit of a template.
func launched(name string, fleet unitfile.Fleet) index.UnitSpec {
	u := index.UnitSpec{Name: name, Hash: "1", DesiredState: v1.Launched, Fleet: fleet}
	if n, err := unitfile.ParseName(name); err == nil {
		u.Template = n.TemplateName()
	}
	return u
}

func three(t testing.TB) *world {
	w := newWorld(t)
	for i, id := range []string{"m1", "m2", "m3"} {
		w.setMachine(index.MachineSpec{ID: id, Metadata: map[string]string{"zone": string(rune('a' + i))}, Capacity: v1.Capacity{CPU: 2000, Memory: 4 << 30}})
	}
	return w
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
