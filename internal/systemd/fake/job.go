package fake

import (
	"fmt"
	"slices"
	"sort"

	"github.com/fleet-starter/fleet/internal/systemd"
)

type jobKind string

const (
	jobStart   jobKind = "start"
	jobStop    jobKind = "stop"
	jobRestart jobKind = "restart"
)

// job is what waits or runs for one unit.
type job struct {
	id      int
	unit    *unit
	kind    jobKind
	running bool // its end comes with the end of a process
	// automatic is set of a restart that was not asked for.
	automatic bool
	by        string // the unit that brings it along; "": the job was asked for
}

// stops says whether the job's next act is to stop.
func (j *job) stops() bool { return j.kind == jobStop || j.kind == jobRestart }

// transaction collects the jobs that one job needs, in order.
type transaction struct {
	m     *Manager
	kinds map[*unit]jobKind
	order []*unit
}

// enqueue adds a job and those that it brings along, all or none, and replaces what contradicts them.
func (m *Manager) enqueue(name string, kind jobKind) error { return m.enqueueFor(name, kind, "") }

// enqueueFor is an enqueue that another unit is the reason of.
func (m *Manager) enqueueFor(name string, kind jobKind, by string) error {
	if !canBe(name) {
		return noUnit(string(kind), name)
	}
	u := m.load(name)
	if u == nil {
		return fmt.Errorf("%w: %s", systemd.ErrNoSuchUnit, name)
	}
	t := &transaction{m: m, kinds: map[*unit]jobKind{}}
	if err := t.add(u, kind); err != nil {
		return err
	}
	for i, u := range t.order {
		// What is wanted along and active already needs no job.
		if t.kinds[u] == jobStart && i > 0 && u.active == "active" && m.jobs[u.name] == nil {
			continue
		}
		if i > 0 {
			by = name
		}
		m.install(u, t.kinds[u], by)
	}
	m.hint()
	return nil
}

func (t *transaction) add(u *unit, kind jobKind) error {
	if had, ok := t.kinds[u]; ok {
		if had == jobStart && kind == jobRestart {
			t.kinds[u] = kind
		}
		return nil
	}
	if kind != jobStop && u.loadState != "loaded" {
		return badUnit(u)
	}
	t.kinds[u] = kind
	t.order = append(t.order, u)
	if kind != jobStop {
		if err := t.addNeeded(u); err != nil {
			return err
		}
	}
	if kind == jobStart {
		return nil
	}
	// A stop, and a restart, is passed on to what depends on the unit and runs.
	for _, other := range t.m.sorted() {
		if other.running() && (slices.Contains(other.requires, u.name) || slices.Contains(other.bindsTo, u.name) || slices.Contains(other.partOf, u.name)) {
			if err := t.add(other, kind); err != nil {
				return err
			}
		}
	}
	return nil
}

// addNeeded adds the start of what the unit needs, which must be there, and of what it wants.
func (t *transaction) addNeeded(u *unit) error {
	for _, name := range slices.Concat(u.requires, u.bindsTo) {
		needed := t.m.load(name)
		if needed == nil {
			return fmt.Errorf("%w: %s, needed by %s", systemd.ErrNoSuchUnit, name, u.name)
		}
		if err := t.add(needed, jobStart); err != nil {
			return err
		}
	}
	for _, name := range u.wants {
		if wanted := t.m.load(name); wanted != nil && wanted.loadState == "loaded" {
			before := len(t.order)
			if err := t.add(wanted, jobStart); err != nil {
				// What is only wanted does not fail the rest.
				for _, u := range t.order[before:] {
					delete(t.kinds, u)
				}
				t.order = t.order[:before]
			}
		}
	}
	return nil
}

func badUnit(u *unit) error {
	if u.loadState == "not-found" {
		return fmt.Errorf("%w: %s", systemd.ErrNoSuchUnit, u.name)
	}
	return fmt.Errorf("%w: %s: %s", systemd.ErrBadUnit, u.name, u.loadState)
}

// sorted returns the loaded units by name.
func (m *Manager) sorted() []*unit {
	all := make([]*unit, 0, len(m.units))
	for _, u := range m.units {
		all = append(all, u)
	}
	sort.Slice(all, func(i, k int) bool { return all[i].name < all[k].name })
	return all
}

// install merges a job with the one that the unit has.
func (m *Manager) install(u *unit, kind jobKind, by string) {
	if old := m.jobs[u.name]; old != nil {
		if old.kind == kind || old.kind == jobRestart && kind == jobStart {
			return
		}
		if old.kind == jobStart && kind == jobRestart && !old.running {
			old.kind = kind
			return
		}
		m.finish(old, "canceled")
	}
	m.lastID++
	m.jobs[u.name] = &job{id: m.lastID, unit: u, kind: kind, by: by}
}

// finish removes a job. One that fails takes the start jobs along that needed it.
func (m *Manager) finish(j *job, result string) {
	delete(m.jobs, j.unit.name)
	if last, followed := m.results[j.unit.name]; followed && (last != "canceled" || result != "done") {
		m.results[j.unit.name] = result // a stop that canceled a start is done after it
	}
	m.hint()
	m.notify(j.unit)
	if result != "failed" && result != "dependency" {
		return
	}
	for _, other := range m.sorted() {
		waiting := m.jobs[other.name]
		if waiting != nil && waiting.kind != jobStop && !waiting.running &&
			(slices.Contains(other.requires, j.unit.name) || slices.Contains(other.bindsTo, j.unit.name)) {
			m.finish(waiting, "dependency")
		}
	}
}

// next returns the oldest job that may run now, nil if there is none.
func (m *Manager) next() *job {
	var next *job
	for _, j := range m.jobs {
		if !j.running && (next == nil || j.id < next.id) && !m.waits(j) {
			next = j
		}
	}
	return next
}

// waits says whether After= keeps the job from running: what is ordered after something starts after it and stops
// before it, and stops come before starts. So does the stop of the unit itself.
func (m *Manager) waits(j *job) bool {
	if j.unit.stopping() && !j.stops() {
		return true
	}
	for _, other := range m.jobs {
		if other == j {
			continue
		}
		if j.unit.comesAfter(other.unit) && !j.stops() {
			return true
		}
		if other.unit.comesAfter(j.unit) && other.stops() {
			return true
		}
	}
	return false
}

// comesAfter says whether After= or Before= orders the unit after the other one.
func (u *unit) comesAfter(other *unit) bool {
	return slices.Contains(u.after, other.name) || slices.Contains(other.before, u.name)
}
