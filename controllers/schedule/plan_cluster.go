package schedule

import (
	"maps"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Unit is what placement has to know of a unit.
type Unit struct {
	Name string
	// Family is the template of an instance, such as example-app@.service: what SpreadOver= counts and what a drain
	// moves one after the other. "": a family of its own.
	Family       string
	Hash         string
	DesiredState v1.DesiredState
	RequestedAt  string
	// Owner is the app that has to let the unit go before it is moved off a machine that is drained, LetGo the machine that it
	// may leave.
	Owner, LetGo string
	// Except are the machines, separated by commas, that a global unit is not to be on although it matches them.
	Except string
	// Fleet is the [X-Fleet] section, resolved for this name.
	Fleet unitfile.Fleet
	// Text is the unit file where nobody but the unit has it: it has to be stored before a machine can fetch it.
	Text string
	// Problem says why the unit or its file cannot be read; Fleet means nothing then. What runs goes on as it is.
	Problem string
}

// Machine is a machine that is present.
type Machine struct {
	ID       string
	Metadata map[string]string
	Capacity v1.Capacity
	// Since is the revision at which it became present.
	Since int64
	// Problem says why what the machine says of itself cannot be read: it keeps what it runs and gets nothing new.
	Problem string
	// Stuck says that the machine starts and stops nothing now: it keeps what it runs, and what it got would not start.
	Stuck bool
}

// Placed is a placement as it is stored.
type Placed struct {
	Machine, Unit string
	Value         v1.Placement
	// Mod and Create are the key's revisions. Of two units in conflict the one that was placed first stays.
	Mod, Create int64
}

// Cluster is the index that plans are made on: machines, units and placements as they are stored, kept so that finding
// a machine costs the same however many units are placed. It is told of changes in any order, each at a cost in
// proportion to that change. It has no lock: one goroutine at a time.
type Cluster struct {
	units    map[string]*unit
	machines map[string]*machine
	names    names
	globs    globs
	families map[string]*family
	globals  map[*unit]struct{}
	// followers are the units that name a unit in MachineOf=, whether or not it exists.
	followers map[string][]*unit

	selectors map[string]*selector
	byTerm    map[string][]*selector // by key=value of their first key
	metadata  map[pair]*machineSet
	anywhere  *selector // no demand
	spreads   map[spreadKey]*spread
	ports     map[int]*crowd
	// lacks are the machines found to have too little left for a request: until something there is given back.
	lacks map[request]bitmap
	// These get nothing new.
	draining, cordoned, unreadable, stuck machineSet

	// Slots are places in bitmaps, in the order of machine IDs, with gaps for machines to come.
	slots     []*machine
	words     int
	spareBits bitmap
	sorted    []*machine // those that have a slot
	waiting   []*machine // present and not in the index yet

	// dirty units have to be looked at by the next plan; unmet ones want something that could not be done.
	dirty         []*unit
	dirtyMachines []*machine // where global units have to be looked at
	unmet         map[*unit]unmet
	wake          unmet
	absent        map[*machine]struct{} // machines that are known and not present
	stray         map[string]int64
	unfit         map[string]*unplacedKey
	unexplained   []*place // they name a file that is not known
	frozen        bool
	epoch, tick   uint64
}

// unmet is why a unit has to wait: it is looked at again when that may have changed.
type unmet uint8

const (
	unmetSpace  unmet = 1 << iota // no machine fits
	unmetDrain                    // another unit of its family has to be active first
	unmetFreeze                   // moves are frozen
	unmetTime                     // time has to pass
)

type unplacedKey struct {
	value v1.Unplaced
	mod   int64
}

type unit struct {
	Unit
	name    string
	known   bool // stored under units/: else only its placements or its unplaced record are left
	dropped bool

	family    *family
	conflicts []*glob
	replaces  []*glob
	matched   []*glob // globs of any unit that match this name
	selector  *selector
	spread    *spread
	places    []*place
	formers   []*former // files that its placements name still
	shadeOf   *unit     // of a former file: whose it is
	on        int32     // how many machines of the index it is on
	stay      uint32    // how often it came to be on any

	dirty bool
	plan  verdict // scratch of a plan
}

type family struct {
	name  string
	units []*unit
	epoch uint64 // scratch of a plan: a drain moves a unit of it
}

type machine struct {
	Machine
	slot    int // -1 without one
	present bool
	indexed bool // in the sets, views and counts
	waiting bool
	config  v1.MachineConfig
	meta    map[string]string // the machine's own with the edits of config
	places  []*place
	active  map[string]struct{} // units that systemd says are active
	seen    bool                // it was present
	gone    time.Time           // since when it is missed; zero: nobody has noticed yet
	lost    bool                // it vanished a moment ago, or before others were frozen, and had units then

	load     int32 // what views are ordered by, see loadOf
	used     v1.Capacity
	dirty    bool
	readmit  uint64 // scratch of a plan
	selector []*selector
}

// place is a unit on a machine: as it is stored, or as a plan in the making has it.
type place struct {
	unit    *unit
	machine *machine
	former  *former // the file that it names, where that is known and not the unit's
	Placed
}

// NewCluster returns an empty index.
func NewCluster() *Cluster {
	c := &Cluster{
		units: map[string]*unit{}, machines: map[string]*machine{}, globs: newGlobs(), families: map[string]*family{},
		globals: map[*unit]struct{}{}, followers: map[string][]*unit{}, selectors: map[string]*selector{},
		byTerm: map[string][]*selector{}, metadata: map[pair]*machineSet{}, spreads: map[spreadKey]*spread{}, ports: map[int]*crowd{},
		lacks: map[request]bitmap{}, unmet: map[*unit]unmet{}, absent: map[*machine]struct{}{}, stray: map[string]int64{}, unfit: map[string]*unplacedKey{},
	}
	c.anywhere = c.selectorFor(nil)
	return c
}

// SetMachine tells of a machine that came or changed.
func (c *Cluster) SetMachine(m Machine) {
	x := c.machine(m.ID)
	if x.present && x.Since == m.Since && x.Problem == m.Problem && x.Stuck == m.Stuck && x.Capacity == m.Capacity && maps.Equal(x.Metadata, m.Metadata) {
		return
	}
	c.change(x, func() { x.Machine, x.present, x.seen, x.lost, x.gone = m, true, true, false, time.Time{} })
}

// DeleteMachine tells of a machine that is gone.
func (c *Cluster) DeleteMachine(id string) {
	if x := c.machines[id]; x != nil && x.present {
		c.change(x, func() { x.Machine, x.present, x.lost = Machine{ID: x.ID}, false, runsUnits(x) })
	}
}

// SetMachineConfig tells what people set for a machine; the zero value: nothing.
func (c *Cluster) SetMachineConfig(id string, config v1.MachineConfig) {
	x := c.machine(id)
	c.change(x, func() { x.config = config })
}

// change takes a machine out of the index, changes it and marks all that it may concern. The next plan puts it back.
func (c *Cluster) change(m *machine, set func()) {
	if m.indexed {
		c.detach(m)
	}
	set()
	m.meta = effectiveMetadata(m)
	if m.present && !m.waiting {
		m.waiting = true
		c.waiting = append(c.waiting, m)
	}
	if m.present {
		delete(c.absent, m)
	} else {
		c.absent[m] = struct{}{}
		c.free(m)
	}
	for _, p := range m.places {
		c.touchPlace(p.unit, m)
	}
	c.touchMachine(m)
	c.wake |= unmetSpace | unmetDrain | unmetFreeze
	c.forget(m)
}

func effectiveMetadata(m *machine) map[string]string {
	if len(m.config.Metadata) == 0 {
		return m.Metadata
	}
	meta := maps.Clone(m.Metadata)
	if meta == nil {
		meta = map[string]string{}
	}
	for k, v := range m.config.Metadata {
		if v == "" {
			delete(meta, k)
		} else {
			meta[k] = v
		}
	}
	return meta
}

// schedulable says that the machine may get new units.
func (m *machine) schedulable() bool {
	return m.present && m.Problem == "" && !m.Stuck && !m.config.Cordoned && !m.config.Drain
}

func (c *Cluster) machine(id string) *machine {
	m := c.machines[id]
	if m == nil {
		m = &machine{Machine: Machine{ID: id}, slot: -1}
		c.machines[id] = m
		c.absent[m] = struct{}{}
	}
	return m
}

// forget drops a machine of which nothing is left.
func (c *Cluster) forget(m *machine) {
	if !m.present && !m.lost && len(m.places) == 0 && len(m.active) == 0 && !m.config.Cordoned && !m.config.Drain && len(m.config.Metadata) == 0 {
		delete(c.machines, m.ID)
		delete(c.absent, m)
	}
}

// Retry has the next plan look at a unit again: what was planned for it could not be written. Others may have been
// refused for the room that it would have taken.
func (c *Cluster) Retry(name string) {
	c.wake |= unmetSpace | unmetDrain
	if u := c.units[name]; u != nil {
		c.touchGroup(u)
	}
}

func (c *Cluster) touch(u *unit) {
	if !u.dirty {
		u.dirty = true
		c.dirty = append(c.dirty, u)
	}
}

// touchGroup marks a unit and those that have to be on its machine.
func (c *Cluster) touchGroup(u *unit) {
	c.touch(u)
	for _, f := range c.followers[u.name] {
		c.touch(f)
	}
}

// touchPlace marks a unit because of one of its placements: of a global unit only what is on that machine.
func (c *Cluster) touchPlace(u *unit, m *machine) {
	if u.Fleet.Global && !u.gone() {
		c.touchMachine(m)
	} else {
		c.touch(u)
	}
	for _, f := range c.followers[u.name] {
		c.touch(f)
	}
}

func (c *Cluster) touchMachine(m *machine) {
	if !m.dirty {
		m.dirty = true
		c.dirtyMachines = append(c.dirtyMachines, m)
	}
}

func byName(a, b *unit) int  { return strings.Compare(a.name, b.name) }
func byID(a, b *machine) int { return strings.Compare(a.ID, b.ID) }
