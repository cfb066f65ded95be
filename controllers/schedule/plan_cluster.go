package schedule

import (
	"maps"
	"slices"
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
	// Fleet is the [X-Fleet] section, resolved for this name.
	Fleet unitfile.Fleet
	// Problem says why the unit or its file cannot be read; Fleet means nothing then. What runs goes on as it is.
	Problem string
}

// Machine is a machine that is present.
type Machine struct {
	ID       string
	Metadata map[string]string
	Capacity v1.Capacity
	// Problem says why what the machine says of itself cannot be read: it keeps what it runs and gets nothing new.
	Problem string
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
	anywhere  *selector              // no demand
	spreads   map[spreadKey]*spread
	ports     map[int]*machineSet
	// lacks are the machines found to have too little left for a request: until something there is given back.
	lacks map[request]bitmap

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
	gone    time.Time           // since when it is missed; zero: nobody has noticed yet

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
	Placed
}

// NewCluster returns an empty index.
func NewCluster() *Cluster {
	c := &Cluster{
		units: map[string]*unit{}, machines: map[string]*machine{}, globs: newGlobs(), families: map[string]*family{},
		globals: map[*unit]struct{}{}, followers: map[string][]*unit{}, selectors: map[string]*selector{},
		byTerm: map[string][]*selector{}, spreads: map[spreadKey]*spread{}, ports: map[int]*machineSet{},
		lacks: map[request]bitmap{}, unmet: map[*unit]unmet{}, absent: map[*machine]struct{}{}, stray: map[string]int64{}, unfit: map[string]*unplacedKey{},
	}
	c.anywhere = c.selectorFor(nil)
	return c
}

// SetMachine tells of a machine that came or changed.
func (c *Cluster) SetMachine(m Machine) {
	x := c.machine(m.ID)
	if x.present && x.Problem == m.Problem && x.Capacity == m.Capacity && maps.Equal(x.Metadata, m.Metadata) {
		return
	}
	c.change(x, func() { x.Machine, x.present, x.gone = m, true, time.Time{} })
}

// DeleteMachine tells of a machine that is gone.
func (c *Cluster) DeleteMachine(id string) {
	if x := c.machines[id]; x != nil && x.present {
		c.change(x, func() { x.Machine, x.present = Machine{ID: x.ID}, false })
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
	return m.present && m.Problem == "" && !m.config.Cordoned && !m.config.Drain
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
	if !m.present && len(m.places) == 0 && len(m.active) == 0 && !m.config.Cordoned && !m.config.Drain && len(m.config.Metadata) == 0 {
		delete(c.machines, m.ID)
		delete(c.absent, m)
	}
}

// SetUnit tells of a unit that is new or changed.
func (c *Cluster) SetUnit(spec Unit) {
	if spec.Problem != "" {
		spec.Fleet = unitfile.Fleet{}
	}
	u := c.unit(spec.Name)
	spec.Name = u.name // one string for all who refer to it
	if u.known && sameConstraints(u.Unit, spec) {
		if u.gone() != (spec.DesiredState == v1.Inactive) {
			c.wake |= unmetSpace
		}
		u.Unit = spec
		c.touchGroup(u)
		return
	}
	// Globs first: a new one finds the units that it matches, this one included, by what they occupy now.
	conflicts, replaces := c.carry(spec.Fleet.Conflicts), c.carry(spec.Fleet.Replaces)
	c.vacateAll(u)
	oldConflicts, oldReplaces := u.conflicts, u.replaces
	c.leave(u)
	u.Unit, u.known, u.conflicts, u.replaces = spec, true, conflicts, replaces
	c.join(u)
	c.occupyAll(u)
	c.drop(oldConflicts)
	c.drop(oldReplaces)
	c.touchGroup(u)
	c.wake |= unmetSpace // it may occupy less than before, or not be tied to others any more
}

// DeleteUnit tells of a unit that is gone. What it occupies it occupies until its placements are gone too.
func (c *Cluster) DeleteUnit(name string) {
	u := c.units[name]
	if u == nil || !u.known {
		return
	}
	c.touchGroup(u)
	u.known = false
	c.wake |= unmetSpace
	c.forgetUnit(u)
}

// HashOf is the hash of the unit file that a unit was said to have last; "": none is known.
func (c *Cluster) HashOf(name string) string {
	if u := c.units[name]; u != nil {
		return u.Hash
	}
	return ""
}

func sameConstraints(a, b Unit) bool {
	x, y := a.Fleet, b.Fleet
	return (a.Problem == "") == (b.Problem == "") && a.Family == b.Family && x.Global == y.Global && x.MachineID == y.MachineID &&
		x.CPU == y.CPU && x.Memory == y.Memory && x.SpreadOver == y.SpreadOver && slices.Equal(x.Ports, y.Ports) &&
		slices.Equal(x.MachineOf, y.MachineOf) && slices.Equal(x.Conflicts, y.Conflicts) &&
		slices.Equal(x.Replaces, y.Replaces) && maps.EqualFunc(x.MachineMetadata, y.MachineMetadata, slices.Equal[[]string])
}

func (c *Cluster) unit(name string) *unit {
	u := c.units[name]
	if u == nil {
		u = &unit{name: name, Unit: Unit{Name: name}, selector: c.anywhere}
		u.matched = c.globs.matching(name)
		c.units[name] = u
		c.names.add(u)
	}
	return u
}

// join and leave tie a unit to what it shares with others.
func (c *Cluster) join(u *unit) {
	f := u.Fleet
	u.selector = c.selectorFor(f.MachineMetadata)
	u.selector.refs++
	if u.Family != "" {
		u.family = c.families[u.Family]
		if u.family == nil {
			u.family = &family{name: u.Family}
			c.families[u.Family] = u.family
		}
		u.family.units = append(u.family.units, u)
	}
	u.spread = c.spreadFor(u)
	for _, target := range f.MachineOf {
		c.followers[target] = append(c.followers[target], u)
	}
	if f.Global {
		c.globals[u] = struct{}{}
	}
}

func (c *Cluster) leave(u *unit) {
	if u.selector != c.anywhere {
		c.dropSelector(u.selector)
	}
	u.selector = c.anywhere
	if u.family != nil {
		u.family.units = remove(u.family.units, u)
		if len(u.family.units) == 0 {
			delete(c.families, u.family.name)
		}
		u.family = nil
	}
	c.dropSpread(u.spread)
	u.spread = nil
	for _, target := range u.Fleet.MachineOf {
		if rest := remove(c.followers[target], u); len(rest) > 0 {
			c.followers[target] = rest
		} else {
			delete(c.followers, target)
		}
	}
	delete(c.globals, u)
	u.conflicts, u.replaces = nil, nil
}

func remove[T comparable](list []T, x T) []T {
	if i := slices.Index(list, x); i >= 0 {
		list[i] = list[len(list)-1]
		return list[:len(list)-1]
	}
	return list
}

// carry finds or makes the globs of patterns.
func (c *Cluster) carry(patterns []string) []*glob {
	if len(patterns) == 0 {
		return nil
	}
	list := make([]*glob, 0, len(patterns))
	for _, pattern := range patterns {
		g := c.globs.byPattern[pattern]
		if g == nil {
			parsed, err := unitfile.ParseGlob(pattern)
			if err != nil {
				continue // it matches nothing; the unit file's problems say so
			}
			g = &glob{Glob: parsed}
			c.globs.add(g)
			for _, u := range c.names.withPrefix(g.Prefix) {
				if !u.dropped && g.Match(u.name) {
					u.matched = append(u.matched, g)
					for _, p := range u.places {
						if p.machine.indexed {
							g.matched.add(p.machine.slot, c.words)
						}
					}
				}
			}
		}
		g.refs++
		list = append(list, g)
	}
	return list
}

func (c *Cluster) drop(list []*glob) {
	for _, g := range list {
		if g.refs--; g.refs > 0 {
			continue
		}
		c.globs.remove(g)
		for _, u := range c.names.withPrefix(g.Prefix) {
			u.matched = remove(u.matched, g)
		}
	}
}

// forgetUnit drops a unit of which nothing is left.
func (c *Cluster) forgetUnit(u *unit) {
	if u.known || len(u.places) > 0 || c.unfit[u.name] != nil {
		return
	}
	conflicts, replaces := u.conflicts, u.replaces
	c.leave(u)
	c.drop(conflicts)
	c.drop(replaces)
	u.dropped = true
	delete(c.units, u.name)
	delete(c.unmet, u)
	c.names.drop()
}

// SetPlacement tells of a placement that is stored.
func (c *Cluster) SetPlacement(placed Placed) {
	u, m := c.unit(placed.Unit), c.machine(placed.Machine)
	placed.Unit, placed.Machine = u.name, m.ID
	c.touchPlace(u, m)
	if p := c.placeOf(u, m); p != nil {
		p.Placed = placed
		return
	}
	c.link(&place{unit: u, machine: m, Placed: placed})
}

// DeletePlacement tells of a placement that is gone.
func (c *Cluster) DeletePlacement(machine, unit string) {
	u, m := c.units[unit], c.machines[machine]
	if u == nil || m == nil {
		return
	}
	if p := c.placeOf(u, m); p != nil {
		c.touchPlace(u, m)
		c.unlink(p)
		c.touchMachine(m)
		c.wake |= unmetSpace | unmetDrain | unmetFreeze
		c.forgetUnit(u)
		c.forget(m)
	}
}

func (c *Cluster) placeOf(u *unit, m *machine) *place {
	if len(u.places) <= len(m.places) {
		for _, p := range u.places {
			if p.machine == m {
				return p
			}
		}
		return nil
	}
	for _, p := range m.places {
		if p.unit == u {
			return p
		}
	}
	return nil
}

// SetUnplaced tells what is stored of why a unit has no machine; DeleteUnplaced that nothing is.
func (c *Cluster) SetUnplaced(unit string, value v1.Unplaced, mod int64) {
	c.unfit[unit] = &unplacedKey{value, mod}
	c.touch(c.unit(unit))
}

// DeleteUnplaced tells that no reason is stored any more.
func (c *Cluster) DeleteUnplaced(unit string) {
	if c.unfit[unit] == nil {
		return
	}
	delete(c.unfit, unit)
	if u := c.units[unit]; u != nil {
		c.touch(u)
		c.forgetUnit(u)
	}
}

// SetActive tells whether systemd on a machine says that a unit is active.
func (c *Cluster) SetActive(machine, unit string, active bool) {
	m := c.machine(machine)
	if _, was := m.active[unit]; was == active {
		c.forget(m)
		return
	}
	if active {
		if m.active == nil {
			m.active = map[string]struct{}{}
		}
		m.active[unit] = struct{}{}
		c.wake |= unmetDrain
		return
	}
	delete(m.active, unit)
	c.forget(m)
}

// SetStray tells of a key below placements/ that names no machine and unit; DeleteStray that it is gone.
func (c *Cluster) SetStray(name string, mod int64) { c.stray[name] = mod }

// DeleteStray tells that a stray key is gone.
func (c *Cluster) DeleteStray(name string) { delete(c.stray, name) }

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
