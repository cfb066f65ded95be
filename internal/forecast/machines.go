package forecast

import (
	"context"
	"maps"
	"slices"
	"sync"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// machines are the machines, announcers and routers of a forecast. All that they are told succeeds at once: images are there, units
// start, health checks pass, routers serve what is announced. What is not told anything new stays as it is reported: a unit that
// fails goes on failing.
type machines struct {
	*run

	mu      sync.Mutex
	touched map[string]bool // <machine>/<unit>: what the machine has to do something about
	routes  bool            // routers have not seen the last change of routes
	serve   bool            // nor that of endpoints

	announce map[instanceOn]bool // instances whose sidekicks have changed
}

func newMachines(r *run) *machines {
	m := &machines{run: r, touched: map[string]bool{}, announce: map[instanceOn]bool{}, routes: true}
	follow(m, r.known.Placements)
	follow(m, r.known.Preparations)
	r.known.Routes.OnChange(func([]cache.Event[v1.AppRoute]) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.routes = true
	})
	return m
}

func follow[T any](m *machines, collection *cache.Collection[T]) {
	collection.OnChange(func(events []cache.Event[T]) {
		for _, e := range events {
			m.touch(e.Name)
		}
	})
}

func (m *machines) touch(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.touched[name] = true
}

// look finds what machines were about to do: the placements that they have not answered.
func (m *machines) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.touched)
	for _, o := range m.known.Placements.List() {
		if s, ok := m.known.States.Get(o.Name); !ok || !answers(&s.Value, &o.Value) || onItsWay(&s.Value) {
			m.touched[o.Name] = true
		}
	}
	for _, o := range m.known.Preparations.List() {
		m.touched[o.Name] = true
	}
}

// answers reports whether a state is the answer to a placement.
func answers(s *v1.UnitState, pl *v1.Placement) bool {
	return s.Hash == pl.Hash && s.DesiredState == pl.DesiredState && s.RequestedAt == pl.RequestedAt &&
		(pl.Next == (v1.Preparation{}) || s.Prepared.Preparation == pl.Next && s.Prepared.State == v1.PreparedReady)
}

// onItsWay reports whether the state will change by itself.
func onItsWay(s *v1.UnitState) bool {
	switch instance.ActivityOf(s) {
	case instance.Activating, instance.Stopping, instance.Restarting:
		return true
	}
	return false
}

// step has machines, announcers or routers do the next thing, and returns how many things that were.
func (m *machines) step(ctx context.Context) (int, error) {
	if err := m.listed(ctx); err != nil {
		return 0, err
	}
	if did, err := m.units(ctx); did > 0 || err != nil {
		return did, err
	}
	if did, err := m.announcers(ctx); did > 0 || err != nil {
		return did, err
	}
	return m.routers(ctx)
}

// listed waits until the endpoints of all prefixes were listed, also of one that was just named.
func (m *machines) listed(ctx context.Context) error {
	for _, prefix := range m.known.AnnouncePrefixes() {
		if err := m.known.WaitForEndpoints(ctx, prefix, 0); err != nil {
			return err
		}
	}
	return nil
}

// units has machines do what they are told.
func (m *machines) units(ctx context.Context) (int, error) {
	m.mu.Lock()
	names := slices.Sorted(maps.Keys(m.touched))
	clear(m.touched)
	m.mu.Unlock()
	var ops []store.Op
	for _, name := range names {
		machine, unit, ok := keyspace.Split(name)
		if _, present := m.known.Machines.Get(machine); !ok || !present {
			continue
		}
		was, is := m.known.States.Get(name)
		var before, after *v1.UnitState
		if is {
			before = &was.Value
		}
		after = m.after(machine, unit, before)
		if (before == nil) == (after == nil) && (before == nil || *before == *after) {
			continue
		}
		op := store.Op{Key: m.keys.States().Key(name)}
		if after != nil {
			value, err := m.keys.States().Encode(*after)
			if err != nil {
				return 0, err
			}
			op.Value = value
		}
		ops = append(ops, op)
		m.follows(machine, unit)
	}
	return len(ops), m.write(ctx, ops)
}

// follows has done what a change of a unit entails: its sidekick stops and starts with it, and its endpoint comes and goes.
func (m *machines) follows(machine, unit string) {
	for _, app := range v1.AppsOfUnit(unit) {
		number, sidekick, ok := v1.ParseAppUnit(app, unit)
		if !ok {
			continue
		}
		if !sidekick {
			m.touch(keyspace.Join(machine, v1.SidekickUnit(app, number)))
			continue
		}
		i := instanceOn{app: app, number: number}
		if number == 0 {
			i.machine = machine
		}
		m.announce[i] = true
	}
}

// after is the state of a unit when its machine has done what it is told; nil if it has nothing to do with it.
func (m *machines) after(machine, unit string, before *v1.UnitState) *v1.UnitState {
	name := keyspace.Join(machine, unit)
	pl, placed := m.known.Placements.Get(name)
	asked, prepares := m.known.Preparations.Get(name)
	var next v1.Preparation
	switch {
	case placed:
		next = pl.Value.Next
	case prepares:
		next = asked.Value.Preparation
	default:
		return nil
	}
	is := v1.UnitState{}
	if before != nil {
		is = *before
	}
	if is.Prepared.Preparation != next || is.Prepared.State != v1.PreparedReady {
		is.Prepared = v1.Prepared{}
		if next != (v1.Preparation{}) {
			is.Prepared = v1.Prepared{Preparation: next, State: v1.PreparedReady, Since: m.clock.now()}
		}
	}
	if !placed {
		return &is
	}
	shall := v1.UnitState{LoadState: "loaded", ActiveState: "inactive", SubState: "dead", Hash: pl.Value.Hash, DesiredState: pl.Value.DesiredState,
		RequestedAt: pl.Value.RequestedAt, Since: m.clock.now(), Prepared: is.Prepared}
	if pl.Value.DesiredState == v1.Launched && m.mayRun(machine, unit) {
		m.started(&shall)
	}
	same := is.Hash == shall.Hash && (is.RequestedAt == shall.RequestedAt || is.ActiveState == shall.ActiveState) && !onItsWay(&is)
	if same && (is.ActiveState == shall.ActiveState || is.DesiredState == shall.DesiredState && !m.isSidekick(unit)) { // it goes on, or goes on failing
		is.DesiredState, is.RequestedAt = shall.DesiredState, shall.RequestedAt
		return &is
	}
	return &shall
}

// started makes a state that of a unit that was started.
func (m *machines) started(s *v1.UnitState) {
	s.ActiveState, s.SubState = "active", "running"
	text, ok := m.known.UnitFiles.Get(s.Hash)
	if !ok {
		return
	}
	f, err := unitfile.Parse(text.Value)
	if err != nil {
		return
	}
	if kind, _ := f.Value("Service", "Type"); kind == "oneshot" {
		if s.SubState = "exited"; !slices.Contains([]string{"yes", "true", "on", "1"}, last(f.Values("Service", "RemainAfterExit"))) {
			s.ActiveState, s.SubState, s.Result = "inactive", "dead", "success"
		}
	}
}

func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// mayRun reports whether a unit can run on a machine: a sidekick is bound to its app.
func (m *machines) mayRun(machine, unit string) bool {
	for _, app := range v1.AppsOfUnit(unit) {
		if number, sidekick, ok := v1.ParseAppUnit(app, unit); ok && sidekick && m.owned(unit, app) {
			return m.active(machine, v1.AppUnit(app, number))
		}
	}
	return true
}

func (m *machines) isSidekick(unit string) bool {
	for _, app := range v1.AppsOfUnit(unit) {
		if _, sidekick, ok := v1.ParseAppUnit(app, unit); ok && sidekick && m.owned(unit, app) {
			return true
		}
	}
	return false
}

func (m *machines) owned(unit, app string) bool {
	o, ok := m.known.Units.Get(unit)
	return ok && o.Value.Metadata.Owner == app
}

func (m *machines) active(machine, unit string) bool {
	s, ok := m.known.States.Get(keyspace.Join(machine, unit))
	return ok && instance.IsActive(&s.Value)
}
