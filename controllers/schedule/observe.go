package schedule

import (
	"slices"
	"sync"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// changes are the names of changed objects that were not observed yet, by collection. Repeated changes are observed once.
type changes struct {
	mu sync.Mutex
	noted
	listed      bool      // everything was observed once: from then on changes are noted
	begun, last time.Time // when the first and the last unit of a burst arrived
}

// noted are names, by collection.
type noted struct{ units, files, machines, configs, placements, preparations, unplaced, states set }

type set map[string]struct{}

// When hundreds of units arrive, planning waits until no more come for a moment: then each machine receives all that it gets
// at once, makes one pass, and reports once. For etcd it takes the same time either way.
const (
	burstFrom  = 100
	burstPause = 250 * time.Millisecond // a watch that has fallen behind catches up every 100 ms
	burstMax   = 5 * time.Second
)

// burst returns how long to wait for the rest of a burst of units.
func (c *changes) burst(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.units) < burstFrom || now.Sub(c.begun) >= burstMax {
		return 0
	}
	return max(0, burstPause-now.Sub(c.last))
}

// follow notes every change, and wakes the loop.
func (c *Controller) follow() {
	note(c, c.Cluster.Units, &c.changes.units)
	note(c, c.Cluster.UnitFiles, &c.changes.files, rewritten)
	note(c, c.Cluster.Machines, &c.changes.machines)
	note(c, c.Cluster.MachineConfigs, &c.changes.configs)
	note(c, c.Cluster.Placements, &c.changes.placements)
	note(c, c.Cluster.Preparations, &c.changes.preparations)
	note(c, c.Cluster.Unplaced, &c.changes.unplaced)
	note(c, c.Cluster.States, &c.changes.states)
}

// rewritten: who writes a unit writes its file, too, even if it is there. A look at all units with that file would find nothing.
func rewritten(e cache.Event[string]) bool {
	return e.Old != nil && e.New != nil && e.Old.Err == nil && e.New.Err == nil && e.Old.Value == e.New.Value
}

// note notes the changes of a collection, except those that ignored says mean nothing.
func note[T any](c *Controller, collection *cache.Collection[T], names *set, ignored ...func(cache.Event[T]) bool) {
	collection.OnChange(func(events []cache.Event[T]) {
		for _, ignore := range ignored {
			events = slices.DeleteFunc(slices.Clone(events), ignore)
		}
		if len(events) == 0 {
			return
		}
		c.changes.mu.Lock()
		defer c.changes.mu.Unlock()
		if !c.changes.listed { // the first pass is over everything
			return
		}
		if names == &c.changes.units {
			c.changes.last = c.Now()
			if *names == nil {
				c.changes.begun = c.changes.last
			}
		}
		if *names == nil {
			*names = make(set, len(events))
		}
		for _, e := range events {
			(*names)[e.Name] = struct{}{}
		}
		c.Enqueue(controller.Singleton{})
	})
}

// observe updates the index from the changes.
func (c *Controller) observe() {
	c.changes.mu.Lock()
	todo, all := c.changes.noted, !c.changes.listed
	c.changes.noted, c.changes.listed = noted{}, true
	c.changes.mu.Unlock()

	each(c.Cluster.Placements, todo.placements, all, c.observePlacement) // first: what a machine runs is why it is remembered when it is gone
	each(c.Cluster.MachineConfigs, todo.configs, all, c.observeConfig)
	each(c.Cluster.Machines, todo.machines, all, c.observeMachine)
	for hash := range todo.files {
		each(c.Cluster.Units, c.files.changed(hash), false, c.observeUnit)
	}
	each(c.Cluster.Units, todo.units, all, c.observeUnit)
	c.index.EachUnexplained(c.former)
	each(c.Cluster.Preparations, todo.preparations, all, c.observePreparation)
	each(c.Cluster.Unplaced, todo.unplaced, all, c.observeUnplaced)
	each(c.Cluster.States, todo.states, all, c.observeState)
	if all {
		c.Recalled.recall(c.index)
	}
}

// Snapshot returns an index of everything that the caches hold and a scheduler remembers, for a look at what would be, and the
// machines that are missed.
func Snapshot(known *cluster.Cluster, a Absences) (x *index.Index, missed []string) {
	c := &Controller{Options: Options{Env: cluster.Env{Cluster: known}.WithDefaults(), Recalled: a}, index: NewIndex(), files: files{}}
	c.observe()
	return c.index, remembered(c.index).IDs()
}

// each calls observe for the objects of these names, or for all. A deleted object is nil.
func each[T any](collection *cache.Collection[T], names set, all bool, observe func(name string, o *cache.Object[T])) {
	if all {
		for _, o := range collection.List() {
			observe(o.Name, o)
		}
		return
	}
	for name := range names {
		o, _ := collection.Get(name)
		observe(name, o)
	}
}

func (c *Controller) observeMachine(id string, o *cache.Object[v1.Machine]) {
	switch {
	case o == nil:
		c.index.DeleteMachine(id)
	case o.Err != nil:
		c.index.SetMachine(index.MachineSpec{ID: id, Since: o.CreateRevision, Problem: summary(o.Err)})
	default:
		c.index.SetMachine(index.MachineSpec{ID: id, Since: o.CreateRevision, Metadata: o.Value.Spec.Metadata, Capacity: o.Value.Spec.Capacity, PortRange: o.Value.Spec.PortRange,
			Stuck: o.Value.Spec.Failing[v1.ControllerNode] != ""})
	}
}

// of an event of a machine: its machineconfig/ is unreadable, so its last readable value stays in force
const reasonInvalidConfig = "InvalidConfig"

// observeConfig keeps the last readable value if the current one is unreadable.
func (c *Controller) observeConfig(id string, o *cache.Object[v1.MachineConfig]) {
	switch {
	case o == nil:
		c.index.SetMachineConfig(id, v1.MachineConfig{})
	case o.Err != nil:
		c.Events.Record(v1.KindMachine, id, v1.EventWarning, reasonInvalidConfig, o.Key+" cannot be read, its last readable value stays in force: "+summary(o.Err))
	default:
		c.index.SetMachineConfig(id, o.Value)
	}
}

func (c *Controller) observePlacement(name string, o *cache.Object[v1.Placement]) {
	machine, unit, ok := keyspace.Split(name)
	switch {
	case !ok && o != nil:
		c.index.SetStray(name, o.ModRevision)
	case !ok:
		c.index.DeleteStray(name)
	case o == nil:
		c.index.DeletePlacement(machine, unit)
	default: // an unreadable one counts as empty, and is replaced
		c.index.SetPlacement(index.Placed{MachineName: machine, UnitName: unit, Value: o.Value, Mod: o.ModRevision, Create: o.CreateRevision})
	}
}

func (c *Controller) observeUnplaced(name string, o *cache.Object[v1.Unplaced]) {
	if o == nil {
		c.index.DeleteUnplaced(name)
		return
	}
	c.index.SetUnplaced(name, o.Value, o.ModRevision)
}

func (c *Controller) observeState(name string, o *cache.Object[v1.UnitState]) {
	machine, unit, ok := keyspace.Split(name)
	if !ok {
		return
	}
	is := v1.UnitState{}
	if o != nil {
		is = o.Value
	}
	c.index.SetActive(machine, unit, o != nil && instance.IsActive(&is), is.Hash)
	c.index.SetPrepared(machine, unit, is.Prepared)
	if _, placed := c.Cluster.Placements.Get(name); placed || o == nil || !instance.IsActive(&is) {
		return
	}
	if fleet, known := c.former(is.Hash, unit); known {
		c.index.SetLeftover(machine, unit, fleet)
	}
}

// observePreparation adds what the machine reports already. An unreadable one counts as empty, and is replaced or deleted.
func (c *Controller) observePreparation(name string, o *cache.Object[v1.Next]) {
	machine, unit, ok := keyspace.Split(name)
	switch {
	case !ok:
	case o == nil:
		c.index.DeletePreparing(machine, unit)
	default:
		p := index.Preparing{Machine: machine, Next: o.Value, Mod: o.ModRevision}
		if state, told := c.Cluster.States.Get(name); told {
			p.Prepared = state.Value.Prepared
		}
		c.index.SetPreparing(unit, p)
	}
}

func (c *Controller) observeUnit(name string, o *cache.Object[v1.Unit]) {
	former := c.index.HashOf(name)
	if o == nil {
		c.files.leave(former, name)
		c.index.DeleteUnit(name)
		return
	}
	u := c.unit(o)
	if former != u.Hash {
		c.files.leave(former, name)
	}
	c.index.SetUnit(u)
}

// unit returns what placement has to know of a stored unit. Whatever is wrong with it is its Problem.
func (c *Controller) unit(o *cache.Object[v1.Unit]) index.UnitSpec {
	spec := o.Value.Spec
	u := index.UnitSpec{Name: o.Name, Hash: unitfile.HashOf(spec.Contents, spec.Hash), DesiredState: spec.DesiredState, RequestedAt: spec.RequestedAt, Prefer: spec.PreferMachine, Next: o.Value.Next.Preparation,
		Owner: o.Value.Metadata.Owner, LetGo: v1.RolloutOf(&o.Value, nil).LetGo, Except: o.Value.Metadata.Annotations[v1.AnnotationExcept],
		Former: o.Value.Metadata.Annotations[v1.AnnotationFormer]}
	if o.Err != nil {
		u.Problem = o.Key + " cannot be read: " + summary(o.Err)
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
	switch {
	case u.Hash == "":
		u.Problem = "the unit has no file: write its text to spec.contents, or write the unit with fleetctl"
		return u
	case spec.Hash != "" && spec.Hash != u.Hash:
		u.Problem = "spec.hash is " + spec.Hash + ", the hash of spec.contents is " + u.Hash + ": leave spec.hash away"
		return u
	}
	name, err := unitfile.ParseName(o.Name)
	if err != nil {
		u.Problem = err.Error()
		return u
	}
	u.Template = name.TemplateName()
	if name.Template && u.DesiredState != v1.Inactive {
		u.Problem = "a template is not run itself: start an instance of it, such as " + name.Prefix + "@1." + name.Type
		return u
	}
	entry := c.files.of(u.Hash, o.Name)
	if !entry.read {
		entry.look(c.Cluster.UnitFiles.Get(u.Hash))
	}
	switch {
	case entry.stored:
	case spec.Contents == "":
		u.Problem = "its unit file " + u.Hash + " is not stored: write the unit again"
		return u
	default:
		u.Text = spec.Contents
		entry.parse(spec.Contents)
	}
	u.Fleet, u.Problem = entry.resolve(name)
	u.Follows = rule.Follows(&u.Fleet)
	if u.Next.Hash != "" && u.Next.Hash != u.Hash {
		if next, known := c.former(u.Next.Hash, u.Name); known {
			u.NextFleet = &next
		}
	}
	return u
}
