package api

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// reasonUnreadable marks an event shown in place of a key below events/ that cannot be decoded.
const reasonUnreadable = "Unreadable"

// resources defines where each kind of object is read from.
func (r *reader) resources() {
	r.apps = resource[*wire.App]{
		store: r.store, kind: v1.KindApp, rows: appRows(r.keys),
		view: func() view[*wire.App] {
			return &appView{keys: r.keys, now: r.now, apps: map[string]*storedApp{}, status: map[string]*v1.AppStatus{}}
		},
		labels: func(a *wire.App) map[string]string { return a.Metadata.Labels },
		tombstone: func(name string) *wire.App {
			return &wire.App{App: v1.App{TypeMeta: typeOf(v1.KindApp), Metadata: v1.ObjectMeta{Name: name}}}
		},
	}
	r.applies = resource[*wire.Apply]{
		store: r.store, kind: "Apply", rows: []keyRange{{prefix: r.keys.Applies().Prefix()}},
		view: newRowView(func(name string, kv store.KV) (*wire.Apply, bool) {
			apply, err := r.keys.Applies().Decode(kv.Value)
			object := &wire.Apply{TypeMeta: typeOf("Apply"), Metadata: v1.ObjectMeta{Name: name}, Apply: apply}
			object.Metadata.UID, object.Metadata.ResourceVersion = identity(kv)
			return object, err == nil
		}),
		labels: func(*wire.Apply) map[string]string { return nil },
		tombstone: func(name string) *wire.Apply {
			return &wire.Apply{TypeMeta: typeOf("Apply"), Metadata: v1.ObjectMeta{Name: name}}
		},
	}
	r.units = resource[*v1.Unit]{
		store: r.store, kind: v1.KindUnit, rows: unitRows(r.keys),
		view:   func() view[*v1.Unit] { return newUnitView(r.keys, r.now) },
		labels: unitLabels,
		tombstone: func(name string) *v1.Unit {
			return &v1.Unit{TypeMeta: typeOf(v1.KindUnit), Metadata: v1.ObjectMeta{Name: name}}
		},
		filter: func(q url.Values) (func(*v1.Unit) bool, error) {
			owner := q.Get("owner")
			return func(u *v1.Unit) bool { return owner == "" || u.Metadata.Owner == owner }, nil
		},
		finish: r.addFile,
	}
	r.machines = resource[*v1.Machine]{
		store: r.store, kind: v1.KindMachine,
		rows: []keyRange{{prefix: r.keys.Machines().Prefix()}, {prefix: r.keys.MachineConfigs().Prefix()}},
		view: func() view[*v1.Machine] {
			return &machineView{keys: r.keys, machines: map[string]*v1.Machine{}, configs: map[string]*v1.MachineConfig{}}
		},
		labels: func(m *v1.Machine) map[string]string { return m.Metadata.Labels },
		tombstone: func(name string) *v1.Machine {
			return &v1.Machine{TypeMeta: typeOf(v1.KindMachine), Metadata: v1.ObjectMeta{Name: name}}
		},
	}
	r.events = resource[*v1.Event]{
		store: r.store, kind: "Event", rows: []keyRange{{prefix: r.keys.Events().Prefix()}},
		view: newRowView(func(_ string, kv store.KV) (*v1.Event, bool) {
			e, err := r.keys.Events().Decode(kv.Value)
			if err != nil { // not written by fleet: shown as it is
				e = v1.Event{Kind: v1.KindKey, Name: kv.Key, Type: v1.EventWarning, Reason: reasonUnreadable, Message: oneLine(err)}
			}
			return &e, true
		}),
		labels:    func(*v1.Event) map[string]string { return nil },
		tombstone: func(string) *v1.Event { return &v1.Event{} },
		filter:    eventFilter,
	}
	r.states = resource[*wire.InstanceState]{
		store: r.store, kind: "State", rows: []keyRange{{prefix: r.keys.States().Prefix()}},
		view:      newRowView(r.readState),
		labels:    func(*wire.InstanceState) map[string]string { return nil },
		tombstone: func(name string) *wire.InstanceState { return stateNamed(name) },
		filter: func(q url.Values) (func(*wire.InstanceState) bool, error) {
			machine, unit := q.Get("machineID"), q.Get("unitName")
			return func(s *wire.InstanceState) bool {
				return (machine == "" || s.Machine == machine) && (unit == "" || s.Unit == unit)
			}, nil
		},
	}
	r.sources = resource[*wire.Source]{
		store: r.store, kind: v1.KindSource,
		rows: []keyRange{{prefix: r.keys.Sources().Prefix()}, {prefix: r.keys.SourceStatus().Prefix()}, {prefix: r.keys.SourceWishes().Prefix()}},
		view: func() view[*wire.Source] {
			return &sourceView{keys: r.keys, sources: map[string]*wire.Source{}, status: map[string]*v1.SourceStatus{}, wishes: map[string]*v1.SourceWish{}}
		},
		labels:    func(s *wire.Source) map[string]string { return s.Metadata.Labels },
		tombstone: func(name string) *wire.Source { return sourceNamed(name) },
	}
	r.endpoints = r.endpointsBelow(v1.DefaultAnnouncePrefix)
}

// LabelApp is an implicit label of everything that belongs to an app, for use in selectors.
const LabelApp = "app"

func unitLabels(u *v1.Unit) map[string]string {
	if u.Metadata.Owner == "" {
		return u.Metadata.Labels
	}
	labels := maps.Clone(u.Metadata.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[LabelApp] = u.Metadata.Owner
	return labels
}

func typeOf(kind string) v1.TypeMeta { return v1.TypeMeta{APIVersion: v1.APIVersion, Kind: kind} }

func stateNamed(name string) *wire.InstanceState {
	machine, unit, _ := keyspace.Split(name)
	return &wire.InstanceState{Machine: machine, Unit: unit}
}

// eventFilter reads ?for=kind/name: app/hello selects the app's own events and those of its units. ?since= is a
// time (RFC 3339) or an age such as 10m.
func eventFilter(q url.Values) (func(*v1.Event) bool, error) {
	text := q.Get("for")
	if text == "" {
		return func(*v1.Event) bool { return true }, nil
	}
	kind, name, ok := strings.Cut(text, "/")
	if !ok || kind == "" || name == "" {
		return nil, wire.Fail(wire.ReasonBadRequest, "?for=%s: write kind/name, such as app/hello", text)
	}
	return func(e *v1.Event) bool {
		if strings.EqualFold(e.Kind, kind) && e.Name == name {
			return true
		}
		if strings.EqualFold(kind, v1.KindMachine) {
			return e.Machine == name
		}
		if !strings.EqualFold(kind, v1.KindApp) || e.Kind != v1.KindUnit {
			return false
		}
		_, _, ours := v1.ParseAppUnit(name, e.Name)
		return ours
	}, nil
}

// machineView joins machines with their configuration.
type machineView struct {
	keys     keyspace.Keys
	machines map[string]*v1.Machine
	configs  map[string]*v1.MachineConfig
}

func (v *machineView) apply(i int, name string, kv store.KV, deleted bool) []string {
	switch {
	case i == 1:
		set(&v.configs, name, decoded(v.keys.MachineConfigs(), kv, deleted))
	case deleted || kv.Lease == 0: // not kept alive by a fleetd
		delete(v.machines, name)
	default:
		m, _ := v.keys.Machines().Decode(kv.Value) // an undecodable one is shown by name only
		m.TypeMeta, m.Metadata.Name = typeOf(v1.KindMachine), name
		m.Metadata.UID, m.Metadata.ResourceVersion = identity(kv)
		v.machines[name] = &m
	}
	return []string{name}
}

func (v *machineView) object(name string) (*v1.Machine, bool) {
	stored, ok := v.machines[name]
	if !ok {
		return nil, false
	}
	m := *stored
	m.Config = v.configs[name]
	m.Status = machineStatus(&m)
	return &m, true
}

// machineStatus summarizes the state of a machine.
func machineStatus(m *v1.Machine) *v1.MachineStatus {
	failing := slices.Sorted(maps.Keys(m.Spec.Failing))
	status := &v1.MachineStatus{State: "ready"}
	switch {
	case m.Config != nil && m.Config.Drain:
		status.State = "draining"
	case m.Config != nil && m.Config.Cordoned:
		status.State = "cordoned"
	case len(failing) > 0:
		status.State = strings.Join(failing, ",") + " failing"
	}
	for _, name := range failing {
		status.Warnings = append(status.Warnings, m.Spec.Failing[name])
		if name == v1.ControllerNode {
			status.Warnings = append(status.Warnings, "until it recovers, this machine starts and stops no units and gets no new ones")
		}
	}
	return status
}

func (v *machineView) names() []string { return slices.Sorted(maps.Keys(v.machines)) }

func (v *machineView) forget(name string) { delete(v.machines, name) }

// parseSince reads a time, or an age relative to now.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if age, err := time.ParseDuration(text); err == nil {
		return now.Add(-age), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, wire.Fail(wire.ReasonBadRequest, "?since=%s: write an age such as 10m, or a time such as 2006-01-02T15:04:05Z", text)
	}
	return at, nil
}

// checkUnitName refuses names that systemd or fleet does not accept for a unit.
func checkUnitName(name string) (unitfile.Name, error) {
	n, err := unitfile.ParseName(name)
	if err != nil {
		return n, wire.Fail(wire.ReasonInvalid, "%v", err)
	}
	return n, nil
}
