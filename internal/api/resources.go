package api

import (
	"maps"
	"net/http"
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

// resourceRoutes is the table of the resource API.
func (s *Server) resourceRoutes() {
	const get, put, post, patch, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete
	for path, m := range map[string]methods{
		"/apps":                   {get: s.apps.list},
		"/apps/{name}":            {get: s.getApp, put: s.putApp, del: s.deleteApp},
		"/apps/{name}/endpoints":  {get: s.appEndpoints},
		"/apps/{name}/restart":    {post: s.restartApp},
		"/units":                  {get: s.units.list},
		"/units/{name}":           {get: s.units.get, put: s.putUnit, patch: s.patchUnit, del: s.deleteUnit},
		"/units/{name}/file":      {get: s.unitText},
		"/units/{name}/logs":      {get: s.logs},
		"/units/{name}/start":     {post: s.setState(v1.Launched, true)},
		"/units/{name}/stop":      {post: s.setState(v1.Loaded, true)},
		"/units/{name}/load":      {post: s.setState(v1.Loaded, false)},
		"/units/{name}/unload":    {post: s.setState(v1.Inactive, false)},
		"/units/{name}/restart":   {post: s.restart},
		"/unitfiles":              {get: s.listUnitFiles},
		"/unitfiles/{hash}":       {get: s.getUnitFile},
		"/machines":               {get: s.machines.list},
		"/machines/{name}":        {get: s.machines.get, patch: s.patchMachine},
		"/machines/{name}/config": {get: s.machineConfig, patch: s.patchMachine},
		"/events":                 {get: s.events.list},
		"/states":                 {get: s.states.list},
		"/endpoints":              {get: s.endpoints.list},
	} {
		s.handle(wire.Prefix+path, writeStatus, m)
	}
	s.mux.Handle(wire.Prefix, s.wrap(writeStatus, notFound))
	s.mux.Handle(wire.Prefix+"/", s.wrap(writeStatus, notFound))
}

// resources says where each kind of object is read from.
func (s *Server) resources() {
	s.apps = resource[*wire.App]{
		server: s, kind: v1.KindApp, rows: appRows(s.Keys),
		view: func() view[*wire.App] {
			return &appView{keys: s.Keys, now: s.Now, apps: map[string]*storedApp{}, status: map[string]*v1.AppStatus{}}
		},
		labels: func(a *wire.App) map[string]string { return a.Metadata.Labels },
		tombstone: func(name string) *wire.App {
			return &wire.App{App: v1.App{TypeMeta: typeOf(v1.KindApp), Metadata: v1.ObjectMeta{Name: name}}}
		},
	}
	s.units = resource[*v1.Unit]{
		server: s, kind: v1.KindUnit, rows: unitRows(s.Keys),
		view:   func() view[*v1.Unit] { return newUnitView(s.Keys) },
		labels: unitLabels,
		tombstone: func(name string) *v1.Unit {
			return &v1.Unit{TypeMeta: typeOf(v1.KindUnit), Metadata: v1.ObjectMeta{Name: name}}
		},
		filter: func(q url.Values) (func(*v1.Unit) bool, error) {
			owner := q.Get("owner")
			return func(u *v1.Unit) bool { return owner == "" || u.Metadata.Owner == owner }, nil
		},
		finish: s.addContents,
	}
	s.machines = resource[*v1.Machine]{
		server: s, kind: v1.KindMachine,
		rows: []row{{prefix: s.Keys.Machines().Prefix()}, {prefix: s.Keys.MachineConfigs().Prefix()}},
		view: func() view[*v1.Machine] {
			return &machineView{keys: s.Keys, machines: map[string]*v1.Machine{}, configs: map[string]*v1.MachineConfig{}}
		},
		labels: func(m *v1.Machine) map[string]string { return m.Metadata.Labels },
		tombstone: func(name string) *v1.Machine {
			return &v1.Machine{TypeMeta: typeOf(v1.KindMachine), Metadata: v1.ObjectMeta{Name: name}}
		},
	}
	s.events = resource[*v1.Event]{
		server: s, kind: "Event", rows: []row{{prefix: s.Keys.Events().Prefix()}},
		view: newRowView(func(_ string, kv store.KV) (*v1.Event, bool) {
			e, err := s.Keys.Events().Decode(kv.Value)
			if err != nil { // somebody else's: it is shown, as what it is
				e = v1.Event{Kind: v1.KindKey, Name: kv.Key, Type: v1.EventWarning, Reason: "Unreadable", Message: oneLine(err)}
			}
			return &e, true
		}),
		labels:    func(*v1.Event) map[string]string { return nil },
		tombstone: func(string) *v1.Event { return &v1.Event{} },
		filter:    eventFilter,
	}
	s.states = resource[*wire.InstanceState]{
		server: s, kind: "State", rows: []row{{prefix: s.Keys.States().Prefix()}},
		view:      newRowView(s.readState),
		labels:    func(*wire.InstanceState) map[string]string { return nil },
		tombstone: func(name string) *wire.InstanceState { return stateNamed(name) },
		filter: func(q url.Values) (func(*wire.InstanceState) bool, error) {
			machine, unit := q.Get("machineID"), q.Get("unitName")
			return func(s *wire.InstanceState) bool {
				return (machine == "" || s.Machine == machine) && (unit == "" || s.Unit == unit)
			}, nil
		},
	}
	s.endpoints = s.endpointsBelow(v1.DefaultAnnouncePrefix)
}

// LabelApp is a label that all that belongs to an app has for selectors, without its being written anywhere.
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

// endpointsBelow is the resource of the endpoints announced below one prefix.
func (s *Server) endpointsBelow(prefix string) resource[*wire.Endpoint] {
	c := keyspace.Endpoints(prefix)
	read := func(name string) *wire.Endpoint {
		app, instance, _ := strings.Cut(name, "/")
		return &wire.Endpoint{App: app, Instance: instance, Key: c.Key(name)}
	}
	return resource[*wire.Endpoint]{
		server: s, kind: "Endpoint", rows: []row{{prefix: c.Prefix()}},
		view: newRowView(func(name string, kv store.KV) (*wire.Endpoint, bool) {
			e := read(name)
			e.Address = string(kv.Value)
			return e, true
		}),
		labels:    func(e *wire.Endpoint) map[string]string { return map[string]string{LabelApp: e.App} },
		tombstone: read,
		filter: func(q url.Values) (func(*wire.Endpoint) bool, error) {
			app := q.Get("app")
			return func(e *wire.Endpoint) bool { return app == "" || e.App == app }, nil
		},
	}
}

func (s *Server) readState(name string, kv store.KV) (*wire.InstanceState, bool) {
	state := decoded(s.Keys.States(), kv, false)
	if state == nil {
		return nil, false
	}
	at := stateNamed(name)
	at.State = *state
	return at, true
}

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

// machineView joins machines with what people set for them.
type machineView struct {
	keys     keyspace.Keys
	machines map[string]*v1.Machine
	configs  map[string]*v1.MachineConfig
}

func (v *machineView) apply(i int, name string, kv store.KV, deleted bool) []string {
	switch {
	case i == 1:
		set(&v.configs, name, decoded(v.keys.MachineConfigs(), kv, deleted))
	case deleted || kv.Lease == 0: // nobody is there who keeps it
		delete(v.machines, name)
	default:
		m, _ := v.keys.Machines().Decode(kv.Value) // one that cannot be read is shown by its name
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
	return &m, true
}

func (v *machineView) names() []string { return slices.Sorted(maps.Keys(v.machines)) }

func (v *machineView) forget(name string) { delete(v.machines, name) }

// parseSince reads a time, or an age counted back from now.
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

// checkUnitName refuses what systemd or fleet would not take for a unit's name.
func checkUnitName(name string) (unitfile.Name, error) {
	n, err := unitfile.ParseName(name)
	if err != nil {
		return n, wire.Fail(wire.ReasonInvalid, "%v", err)
	}
	return n, nil
}
