package api

import (
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// The rows of a Unit.
const (
	rowUnit = iota
	rowUnplaced
	rowOverride
	rowPlacement
	rowState
	rowMachine
	rowRoute
	rowEndpoint
)

func unitRows(k keyspace.Keys) []keyRange {
	unitOf := func(name string) string {
		_, unit, _ := keyspace.Split(name)
		return unit
	}
	return []keyRange{
		rowUnit:      {prefix: k.Units().Prefix()},
		rowUnplaced:  {prefix: k.Unplaced().Prefix()},
		rowOverride:  {prefix: k.Overrides().Prefix()},
		rowPlacement: {prefix: k.Placements().Prefix(), object: unitOf},
		rowState:     {prefix: k.States().Prefix(), object: unitOf},
		rowMachine:   {prefix: k.Machines().Prefix(), shared: true},
		rowRoute:     {prefix: k.Routes().Prefix(), shared: true},
		rowEndpoint:  {prefix: keyspace.Endpoints(v1.DefaultAnnouncePrefix).Prefix(), object: func(name string) string { return unitOf(name) + ".service" }},
	}
}

// unitView joins units with their placements and states.
type unitView struct {
	keys     keyspace.Keys
	now      func() time.Time
	units    map[string]*v1.Unit
	joined   map[string]*joinedUnit
	machines map[string]v1.Machine
	// announced are the apps whose endpoints are below the default prefix.
	announced map[string]bool
	// on holds the units that each machine has a placement or a state of.
	on map[string]map[string]bool
}

// joinedUnit is what the other rows say about a unit.
type joinedUnit struct {
	unplaced   *v1.Unplaced
	override   *v1.Override
	overridden int64 // revision of the override
	placements map[string]*v1.Placement
	states     map[string]*v1.UnitState
	endpoint   bool
}

func newUnitView(k keyspace.Keys, now func() time.Time) *unitView {
	return &unitView{
		keys: k, now: now, units: map[string]*v1.Unit{}, joined: map[string]*joinedUnit{},
		machines: map[string]v1.Machine{}, on: map[string]map[string]bool{},
		announced: map[string]bool{},
	}
}

func (v *unitView) apply(i int, name string, kv store.KV, deleted bool) []string {
	switch i {
	case rowUnit:
		v.applyUnit(name, kv, deleted)
	case rowUnplaced:
		v.of(name).unplaced = decoded(v.keys.Unplaced(), kv, deleted)
	case rowOverride:
		v.of(name).override, v.of(name).overridden = decoded(v.keys.Overrides(), kv, deleted), kv.ModRevision
	case rowMachine:
		return v.applyMachine(name, kv, deleted)
	case rowRoute:
		route := decoded(v.keys.Routes(), kv, deleted)
		v.announced[name] = route != nil && route.UID != "" && route.Prefix == v1.DefaultAnnouncePrefix
		return nil
	case rowEndpoint:
		_, instance, ok := keyspace.Split(name)
		if !ok {
			return nil
		}
		unit := instance + ".service"
		v.of(unit).endpoint = !deleted
		return []string{unit}
	default:
		machine, unit, ok := keyspace.Split(name)
		if !ok {
			return nil
		}
		v.applyOnMachine(i, machine, unit, kv, deleted)
		return []string{unit}
	}
	return []string{name}
}

func (v *unitView) applyUnit(name string, kv store.KV, deleted bool) {
	if deleted {
		delete(v.units, name)
		return
	}
	unit, err := v.keys.Units().Decode(kv.Value)
	unit.TypeMeta = v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit}
	unit.Metadata.Name = name
	unit.Metadata.UID, unit.Metadata.ResourceVersion = identity(kv)
	unit.Status = nil
	unit.Spec.Hash, unit.Spec.Contents = unitfile.HashOf(unit.Spec.Contents, unit.Spec.Hash), "" // the form of all other units
	unit.Default()                                                                               // a unit written with etcdctl may lack its state
	if err != nil {
		unit.Spec = v1.UnitSpec{}
		unit.Status = &v1.UnitStatus{Unplaced: &v1.Unplaced{Message: "the stored unit cannot be read: " + oneLine(err)}}
	}
	v.units[name] = &unit
}

func (v *unitView) applyMachine(id string, kv store.KV, deleted bool) []string {
	delete(v.machines, id)
	if m := decoded(v.keys.Machines(), kv, deleted); m != nil {
		v.machines[id] = *m
	}
	return slices.Collect(maps.Keys(v.on[id]))
}

func (v *unitView) applyOnMachine(i int, machine, unit string, kv store.KV, deleted bool) {
	j := v.of(unit)
	if i == rowPlacement {
		set(&j.placements, machine, decoded(v.keys.Placements(), kv, deleted))
	} else {
		set(&j.states, machine, decoded(v.keys.States(), kv, deleted))
	}
	if j.placements[machine] == nil && j.states[machine] == nil {
		delete(v.on[machine], unit)
		return
	}
	if v.on[machine] == nil {
		v.on[machine] = map[string]bool{}
	}
	v.on[machine][unit] = true
}

// object returns the joined unit with its phases and reasons.
func (v *unitView) object(name string) (*v1.Unit, bool) {
	unit, ok := v.join(name)
	if ok {
		instance.Show(unit, v.now())
		if j := v.joined[name]; v.announced[unit.Metadata.Owner] && (j == nil || !j.endpoint) {
			instance.ShowUnannounced(unit, v.now())
		}
	}
	return unit, ok
}

// join assembles the rows. The last report of an absent machine is left out, because it may be outdated.
func (v *unitView) join(name string) (*v1.Unit, bool) {
	stored, ok := v.units[name]
	if !ok {
		return nil, false
	}
	unit, j := *stored, v.joined[name]
	status := &v1.UnitStatus{}
	if unit.Status != nil {
		*status = *unit.Status
	}
	unit.Status = status
	if j == nil {
		return &unit, true
	}
	if j.unplaced != nil {
		status.Unplaced = j.unplaced
	}
	if v1.OverrideCounts(j.overridden, revisionOf(unit.Metadata.UID), revisionOf(unit.Metadata.OwnerUID)) {
		status.Override = j.override
	}
	for _, id := range j.machineIDs() {
		machine, live := v.machines[id]
		on := v1.UnitOnMachine{Machine: id, Address: machine.Spec.Address, Placement: j.placements[id]}
		if live {
			on.State = j.states[id]
		}
		if on.Placement != nil || on.State != nil {
			status.Machines = append(status.Machines, on)
		}
	}
	if placed := placedOn(status.Machines); len(placed) == 1 {
		status.Machine, status.State = placed[0].Machine, placed[0].State
	}
	return &unit, true
}

func (v *unitView) names() []string { return slices.Sorted(maps.Keys(v.units)) }

func (v *unitView) forget(name string) { delete(v.units, name) }

func (v *unitView) of(unit string) *joinedUnit {
	j := v.joined[unit]
	if j == nil {
		j = &joinedUnit{}
		v.joined[unit] = j
	}
	return j
}

func (j *joinedUnit) machineIDs() []string {
	ids := slices.AppendSeq(slices.Collect(maps.Keys(j.placements)), maps.Keys(j.states))
	slices.Sort(ids)
	return slices.Compact(ids)
}

// placedOn leaves out machines that only still report the unit.
func placedOn(machines []v1.UnitOnMachine) (placed []v1.UnitOnMachine) {
	for _, m := range machines {
		if m.Placement != nil {
			placed = append(placed, m)
		}
	}
	return placed
}

// decoded returns the decoded value of a key, nil if it is gone or cannot be decoded.
func decoded[T any](c keyspace.Collection[T], kv store.KV, deleted bool) *T {
	if deleted || c.Leased() && kv.Lease == 0 {
		return nil
	}
	value, err := c.Decode(kv.Value)
	if err != nil {
		return nil
	}
	return &value
}

func set[T any](m *map[string]*T, key string, value *T) {
	switch {
	case value == nil:
		delete(*m, key)
	case *m == nil:
		*m = map[string]*T{key: value}
	default:
		(*m)[key] = value
	}
}
