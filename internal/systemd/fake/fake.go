// Package fake models a systemd manager in memory: units, dependencies, jobs, restarts. Nothing happens by itself: Step and
// Advance drive it, so that the same calls always have the same result.
//
// It models services (Type=simple and similar, oneshot), timers and sockets, and treats every other unit type as a target.
// systemdtest tests its behaviour, and runs the same tests against the real systemd 252.
package fake

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// Options configure a model; the zero value is usable.
type Options struct {
	// Now is the time at which the model starts; zero: 2020-01-01.
	Now time.Time
	// ReadFile reads unit files; nil: os.ReadFile.
	ReadFile func(path string) ([]byte, error)
	// Process returns how a service's process behaves; nil: CommonProcess.
	Process func(unit string, argv []string) Process
	// Foreign maps units that the machine has without fleet to their origin. The model only reports them.
	Foreign map[string]string
	// Fault can return an error to make the call (link, unlink, reload, start, stop, restart, reset-failed, list) fail
	// without any effect. unit is "" for calls about many units.
	Fault func(op, unit string) error
}

// Manager is the model. Its methods may be called by several goroutines.
type Manager struct {
	opts Options

	mu      sync.Mutex
	now     time.Time
	events  chan struct{}
	closed  bool
	links   map[string]string  // path by unit name
	enabled map[string]install // by unit name
	units   map[string]*unit   // the loaded ones
	jobs    map[string]*job    // at most one per unit
	results map[string]string  // of the last job, by unit, only for units that a call has named
	timers  []timer            // by time, then in the order in which they were set
	lastID  int                // of jobs, processes and invocations
}

var _ systemd.Manager = (*Manager)(nil)

// New returns a manager without units.
func New(opts Options) *Manager {
	if opts.Now.IsZero() {
		opts.Now = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if opts.ReadFile == nil {
		opts.ReadFile = os.ReadFile
	}
	if opts.Process == nil {
		opts.Process = func(_ string, argv []string) Process { return CommonProcess(argv) }
	}
	m := &Manager{opts: opts, now: opts.Now, events: make(chan struct{}, 1)}
	m.reset()
	return m
}

func (m *Manager) reset() {
	m.links, m.units, m.jobs, m.results, m.timers = map[string]string{}, map[string]*unit{}, map[string]*job{}, map[string]string{}, nil
	m.enabled = map[string]install{}
}

// Reboot is a power cut and a boot: no process, link or state of a unit is left.
func (m *Manager) Reboot() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reset()
	m.hint()
}

// Now returns the model's time.
func (m *Manager) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Close implements systemd.Manager.
func (m *Manager) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.closed = true
		close(m.events)
	}
}

// Events implements systemd.Manager.
func (m *Manager) Events() <-chan struct{} { return m.events }

func (m *Manager) hint() {
	if m.closed {
		return
	}
	select {
	case m.events <- struct{}{}:
	default:
	}
}

// do runs one call under the lock, unless its context has ended or Fault returns an error.
func (m *Manager) do(ctx context.Context, op, name string, call func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := ctx.Err()
	if err == nil && m.opts.Fault != nil {
		err = m.opts.Fault(op, name)
	}
	if err != nil {
		return &systemd.Error{Op: op, Unit: name, Err: err}
	}
	err = call()
	if name != "" {
		m.results[name] = "" // earlier jobs' results no longer matter
	}
	if err != nil {
		return &systemd.Error{Op: op, Unit: name, Err: err}
	}
	m.collect()
	return nil
}

func (m *Manager) follow(name string) {
	if _, ok := m.results[name]; !ok {
		m.results[name] = ""
	}
}

// Link implements systemd.Manager.
func (m *Manager) Link(ctx context.Context, paths ...string) error {
	return m.do(ctx, "link", "", func() error {
		for _, path := range paths {
			if name := filepath.Base(path); !isFileName(name) {
				return noUnit("link", name)
			}
			if _, err := m.opts.ReadFile(path); err != nil {
				return fmt.Errorf("%w: %w", systemd.ErrNoSuchUnit, err)
			}
			m.links[filepath.Base(path)] = path
		}
		return nil
	})
}

// Enable implements systemd.Manager.
func (m *Manager) Enable(ctx context.Context, paths ...string) error {
	return m.do(ctx, "enable", "", func() error {
		for _, path := range paths {
			name := filepath.Base(path)
			text, err := m.opts.ReadFile(path)
			if err != nil {
				return fmt.Errorf("%w: %w", systemd.ErrNoSuchUnit, err)
			}
			m.links[name] = path
			delete(m.enabled, name)
			if i := parseInstall(name, string(text)); len(i.wantedBy)+len(i.requiredBy) > 0 {
				m.enabled[name] = i
			}
		}
		return nil
	})
}

// Unlink implements systemd.Manager.
func (m *Manager) Unlink(ctx context.Context, names ...string) error {
	return m.do(ctx, "unlink", "", func() error {
		for _, name := range names {
			delete(m.links, name)
			delete(m.enabled, name)
			delete(m.results, name)
		}
		return nil
	})
}

// Reload implements systemd.Manager.
func (m *Manager) Reload(ctx context.Context) error {
	return m.do(ctx, "reload", "", func() error {
		for _, u := range m.units {
			m.read(u)
		}
		m.hint()
		return nil
	})
}

// Start implements systemd.Manager.
func (m *Manager) Start(ctx context.Context, name string) error {
	return m.do(ctx, "start", name, func() error { return m.enqueue(name, jobStart) })
}

// Restart implements systemd.Manager.
func (m *Manager) Restart(ctx context.Context, name string) error {
	return m.do(ctx, "restart", name, func() error { return m.enqueue(name, jobRestart) })
}

// Stop implements systemd.Manager.
func (m *Manager) Stop(ctx context.Context, name string) error {
	return m.do(ctx, "stop", name, func() error {
		switch {
		case !canBe(name):
			return noUnit("stop", name)
		case m.units[name] == nil:
			return nil
		}
		return m.enqueue(name, jobStop)
	})
}

// ResetFailed implements systemd.Manager.
func (m *Manager) ResetFailed(ctx context.Context, name string) error {
	return m.do(ctx, "reset-failed", name, func() error {
		if u := m.units[name]; u != nil {
			u.starts = nil
			if u.active == "failed" {
				m.set(u, "inactive", "dead")
			}
		}
		return nil
	})
}

// Foreign implements systemd.Manager.
func (m *Manager) Foreign(ctx context.Context, names []string) (map[string]string, error) {
	foreign := map[string]string{}
	err := m.do(ctx, "look up", "", func() error {
		for _, name := range names {
			if origin, ok := m.opts.Foreign[name]; ok {
				foreign[name] = origin
			}
		}
		return nil
	})
	return foreign, err
}

// Inspect returns what States leaves out.
func (m *Manager) Inspect(ctx context.Context, name string) (found systemd.Inspection, err error) {
	err = m.do(ctx, "inspect", "", func() error {
		found = m.inspection(name)
		return nil
	})
	return found, err
}

// States implements systemd.Manager.
func (m *Manager) States(ctx context.Context, names []string) ([]systemd.UnitState, error) {
	var states []systemd.UnitState
	err := m.do(ctx, "list", "", func() error {
		for _, name := range names {
			m.follow(name)
			states = append(states, m.state(name))
		}
		return nil
	})
	return states, err
}
