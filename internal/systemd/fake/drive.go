package fake

import (
	"slices"
	"time"
)

// Running is the main process of one unit.
type Running struct {
	Unit, Invocation string
	Argv             []string
	// By is the unit that started this one: its timer or socket, or one that depends on it; "" if it was started by a call.
	By string
	// Stopping: it was told to stop, and has not stopped yet.
	Stopping bool
}

// Processes returns the running main processes, by unit, for models of their behaviour.
func (m *Manager) Processes() []Running {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []Running
	for _, u := range m.sorted() {
		if u.pid != 0 {
			all = append(all, Running{Unit: u.name, Invocation: u.invocation, Argv: slices.Clone(u.argv), By: u.by, Stopping: u.stopping()})
		}
	}
	return all
}

// Next returns when there is something to do next, in the model's time; ok is false if nothing will happen by itself.
func (m *Manager) Next() (at time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.next() != nil:
		return m.now, true
	case len(m.timers) > 0:
		return m.timers[0].at, true
	}
	return time.Time{}, false
}
