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

// job is a unit's queued or running job.
type job struct {
	id      int
	unit    *unit
	kind    jobKind
	running bool // it ends when a process ends
	// automatic: the restart was not requested.
	automatic bool
	by        string // the unit that caused it; "": it was requested
}

// stops reports whether the job stops the unit next.
func (j *job) stops() bool { return j.kind == jobStop || j.kind == jobRestart }

// transaction collects the jobs that one job requires, in order.
type transaction struct {
	m     *Manager
	kinds map[*unit]jobKind
	order []*unit
}

// enqueue adds a job and the jobs it requires, all or none, and replaces contradicting ones.
func (m *Manager) enqueue(name string, kind jobKind) error { return m.enqueueFor(name, kind, "") }

// enqueueFor is enqueue on behalf of another unit.
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
		// A dependency that is active needs no job.
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
	// Stops and restarts propagate to running units that depend on this one.
	for _, other := range t.m.sorted() {
		if other.running() && (slices.Contains(other.requires, u.name) || slices.Contains(other.bindsTo, u.name) || slices.Contains(other.partOf, u.name)) {
			if err := t.add(other, kind); err != nil {
				return err
			}
		}
	}
	return nil
}

// addNeeded adds start jobs for the units that this one requires, which must exist, and that it wants.
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
				// Failing to start a wanted unit does not fail the rest.
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

// install merges a job with the unit's current one.
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

// finish removes a job. A failed job also fails the start jobs that required it.
func (m *Manager) finish(j *job, result string) {
	delete(m.jobs, j.unit.name)
	if last, followed := m.results[j.unit.name]; followed && (last != "canceled" || result != "done") {
		m.results[j.unit.name] = result // the stop that canceled a start is done after it
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

// waits reports whether After= keeps the job from running: units start after those they are ordered after and stop before
// them, and stops come before starts. So does the stop of the unit itself.
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

// comesAfter reports whether After= or Before= orders the unit after the other one.
func (u *unit) comesAfter(other *unit) bool {
	return slices.Contains(u.after, other.name) || slices.Contains(other.before, u.name)
}
