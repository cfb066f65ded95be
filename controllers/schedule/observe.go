package schedule

import (
	"strings"
	"sync"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// changes are the names of what has changed and was not observed yet, by collection. What changes often is observed once.
type changes struct {
	mu                                                            sync.Mutex
	units, files, machines, configs, placements, unplaced, states set
}

type set map[string]struct{}

// follow has every change noted, and wakes the loop.
func (c *Controller) follow() {
	note(c, c.Cluster.Units, &c.changes.units)
	note(c, c.Cluster.UnitFiles, &c.changes.files)
	note(c, c.Cluster.Machines, &c.changes.machines)
	note(c, c.Cluster.MachineConfigs, &c.changes.configs)
	note(c, c.Cluster.Placements, &c.changes.placements)
	note(c, c.Cluster.Unplaced, &c.changes.unplaced)
	note(c, c.Cluster.States, &c.changes.states)
}

func note[T any](c *Controller, collection *cache.Collection[T], names *set) {
	collection.OnChange(func(events []cache.Event[T]) {
		c.changes.mu.Lock()
		if *names == nil {
			*names = make(set, len(events))
		}
		for _, e := range events {
			(*names)[e.Name] = struct{}{}
		}
		c.changes.mu.Unlock()
		c.loop.Enqueue(controller.Singleton{})
	})
}

// observe tells the index of what has changed, as it is now.
func (c *Controller) observe() {
	c.changes.mu.Lock()
	todo := &changes{units: c.changes.units, files: c.changes.files, machines: c.changes.machines, configs: c.changes.configs,
		placements: c.changes.placements, unplaced: c.changes.unplaced, states: c.changes.states}
	c.changes.units, c.changes.files, c.changes.machines, c.changes.configs = nil, nil, nil, nil
	c.changes.placements, c.changes.unplaced, c.changes.states = nil, nil, nil
	c.changes.mu.Unlock()

	for name := range todo.placements { // first: what a machine runs is why it is remembered when it is gone
		c.observePlacement(name)
	}
	for id := range todo.configs {
		c.observeConfig(id)
	}
	for id := range todo.machines {
		c.observeMachine(id)
	}
	for hash := range todo.files {
		for name := range c.files.changed(hash) {
			c.observeUnit(name)
		}
	}
	for name := range todo.units {
		c.observeUnit(name)
	}
	for name := range todo.unplaced {
		if o, ok := c.Cluster.Unplaced.Get(name); ok {
			c.index.SetUnplaced(name, o.Value, o.ModRevision)
		} else {
			c.index.DeleteUnplaced(name)
		}
	}
	for name := range todo.states {
		if machine, unit, ok := keyspace.Split(name); ok {
			o, ok := c.Cluster.States.Get(name)
			c.index.SetActive(machine, unit, ok && (o.Value.ActiveState == "active" || o.Value.ActiveState == "reloading"))
		}
	}
}

func (c *Controller) observeMachine(id string) {
	o, ok := c.Cluster.Machines.Get(id)
	switch {
	case !ok:
		c.index.DeleteMachine(id)
	case o.Err != nil:
		c.index.SetMachine(Machine{ID: id, Problem: o.Err.Error()})
	default:
		c.index.SetMachine(Machine{ID: id, Metadata: o.Value.Spec.Metadata, Capacity: o.Value.Spec.Capacity})
	}
}

// observeConfig leaves what was said before where it cannot be read now.
func (c *Controller) observeConfig(id string) {
	o, ok := c.Cluster.MachineConfigs.Get(id)
	switch {
	case !ok:
		c.index.SetMachineConfig(id, v1.MachineConfig{})
	case o.Err != nil:
		c.record(v1.KindMachine, id, v1.EventWarning, "InvalidConfig", o.Key+" cannot be read, what it said before goes on: "+o.Err.Error())
	default:
		c.index.SetMachineConfig(id, o.Value)
	}
}

func (c *Controller) observePlacement(name string) {
	o, stored := c.Cluster.Placements.Get(name)
	machine, unit, ok := keyspace.Split(name)
	switch {
	case !ok && stored:
		c.index.SetStray(name, o.ModRevision)
	case !ok:
		c.index.DeleteStray(name)
	case !stored:
		c.index.DeletePlacement(machine, unit)
	default: // one that cannot be read is empty, and is put right
		c.index.SetPlacement(Placed{Machine: machine, Unit: unit, Value: o.Value, Mod: o.ModRevision, Create: o.CreateRevision})
	}
}

func (c *Controller) observeUnit(name string) {
	o, ok := c.Cluster.Units.Get(name)
	if former := c.index.HashOf(name); !ok || former != o.Value.Spec.Hash {
		c.files.leave(former, name)
	}
	if !ok {
		c.index.DeleteUnit(name)
		return
	}
	c.index.SetUnit(c.unit(o))
}

// unit is what placement has to know of a stored unit. Whatever is wrong with it is its Problem.
func (c *Controller) unit(o *cache.Object[v1.Unit]) Unit {
	spec := o.Value.Spec
	u := Unit{Name: o.Name, Hash: spec.Hash, DesiredState: spec.DesiredState, RequestedAt: spec.RequestedAt}
	if o.Err != nil {
		u.Problem = o.Key + " cannot be read: " + o.Err.Error()
		return u
	}
	switch u.DesiredState {
	case "":
		u.DesiredState = v1.Launched
	case v1.Inactive, v1.Loaded, v1.Launched:
	default:
		u.DesiredState, u.Problem = "", "desired state "+string(spec.DesiredState)+": write inactive, loaded or launched"
		return u
	}
	if spec.Hash == "" {
		u.Problem = "the unit names no file: spec.hash is empty; write it with fleetctl, which stores its file beside it"
		return u
	}
	name, err := unitfile.ParseName(o.Name)
	if err != nil {
		u.Problem = err.Error()
		return u
	}
	u.Family = name.TemplateName()
	if name.Template && u.DesiredState != v1.Inactive {
		u.Problem = "a template is not run itself: start an instance of it, such as " + name.Prefix + "@1." + name.Type
		return u
	}
	u.Fleet, u.Problem = c.files.resolve(name, spec.Hash, c.text)
	return u
}

func (c *Controller) text(hash string) (string, bool) {
	o, ok := c.Cluster.UnitFiles.Get(hash)
	if !ok {
		return "", false
	}
	return o.Value, true
}

// files are the [X-Fleet] sections of unit files by their hash, each parsed once, and who uses them.
type files map[string]*file

type file struct {
	read     bool
	template *unitfile.FleetTemplate
	problem  string
	users    set
}

// changed forgets what a file said, and returns who uses it.
func (f files) changed(hash string) set {
	entry := f[hash]
	if entry == nil {
		return nil
	}
	entry.read = false
	return entry.users
}

// leave takes a unit off the users of a file.
func (f files) leave(hash, name string) {
	entry := f[hash]
	if entry == nil {
		return
	}
	if delete(entry.users, name); len(entry.users) == 0 {
		delete(f, hash)
	}
}

// resolve returns the section for a unit, or what is wrong.
func (f files) resolve(name unitfile.Name, hash string, text func(string) (string, bool)) (unitfile.Fleet, string) {
	entry := f[hash]
	if entry == nil {
		entry = &file{users: set{}}
		f[hash] = entry
	}
	entry.users[name.Full] = struct{}{}
	if !entry.read {
		entry.read, entry.template, entry.problem = true, nil, ""
		content, ok := text(hash)
		if !ok {
			entry.problem = "its unit file " + hash + " is not stored: write the unit again"
		} else if parsed, err := unitfile.Parse(content); err != nil {
			entry.problem = "its unit file cannot be read: " + err.Error()
		} else {
			entry.template = unitfile.ParseFleetTemplate(parsed)
		}
	}
	if entry.problem != "" {
		return unitfile.Fleet{}, entry.problem
	}
	fleet, problems := entry.template.Resolve(name)
	var texts []string
	for _, p := range unitfile.Errors(problems) {
		texts = append(texts, p.String())
	}
	return fleet, strings.Join(texts, "; ")
}
