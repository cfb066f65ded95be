package fake

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// Process is how a process behaves if it is not killed.
type Process struct {
	Ends   bool
	After  time.Duration // when it exits, from its start
	Status int           // its exit status
}

// CommonProcess knows true, false and sleep; all other programs run until stopped.
func CommonProcess(argv []string) Process {
	if len(argv) == 0 {
		return Process{}
	}
	const soon = time.Millisecond
	switch filepath.Base(argv[0]) {
	case "true":
		return Process{Ends: true, After: soon}
	case "false":
		return Process{Ends: true, After: soon, Status: 1}
	case "sleep":
		if span, err := parseSpan(argv[len(argv)-1]); err == nil && span < forever {
			return Process{Ends: true, After: span}
		}
	}
	return Process{}
}

// end is how a process ended.
type end struct {
	status int
	signal bool
}

const (
	success  = "success"
	exitCode = "exit-code"
	signaled = "signal"

	startLimitHit = "start-limit-hit"
)

func (e end) result() string {
	switch {
	case e.signal:
		return signaled
	case e.status != 0:
		return exitCode
	}
	return success
}

func (e end) exit(started time.Time) systemd.Exit {
	if e.signal {
		return systemd.Exit{Code: "killed", Status: int(syscall.SIGKILL), Started: started}
	}
	return systemd.Exit{Code: "exited", Status: e.status, Started: started}
}

// timer is a scheduled event, dropped if the unit has changed meanwhile.
type timer struct {
	at   time.Time
	unit *unit
	when string // the invocation it belongs to
	sub  string // and its SubState
	do   func()
}

func (m *Manager) after(u *unit, d time.Duration, do func()) {
	m.timers = append(m.timers, timer{at: m.now.Add(d), unit: u, when: u.invocation, sub: u.sub, do: do})
	sort.SliceStable(m.timers, func(i, k int) bool { return m.timers[i].at.Before(m.timers[k].at) })
}

func (t timer) holds(m *Manager) bool {
	return m.units[t.unit.name] == t.unit && t.unit.invocation == t.when && t.unit.sub == t.sub
}

// Step runs the next due job or timer. It returns false if there is none.
func (m *Manager) Step() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.step()
}

func (m *Manager) step() bool {
	if j := m.next(); j != nil {
		m.runJob(j)
		m.collect()
		return true
	}
	for len(m.timers) > 0 && !m.timers[0].at.After(m.now) {
		t := m.timers[0]
		m.timers = m.timers[1:]
		if t.holds(m) {
			t.do()
			m.collect()
			return true
		}
	}
	return false
}

// mostSteps is when Advance gives up on units that restart each other forever.
const mostSteps = 1_000_000

// Advance runs everything that is due within d, in order, and moves the clock by d.
func (m *Manager) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	until := m.now.Add(d)
	for range mostSteps {
		if m.step() {
			continue
		}
		if len(m.timers) == 0 || m.timers[0].at.After(until) {
			m.now = until
			return
		}
		m.now = m.timers[0].at
	}
	panic(fmt.Sprintf("fake: still busy after %d steps: %d jobs", mostSteps, len(m.jobs)))
}

// Kill ends the main process of the unit with SIGKILL.
func (m *Manager) Kill(name string) error { return m.Exit(name, -1) }

// Exit ends the unit's main process with this exit status; below zero with SIGKILL.
func (m *Manager) Exit(name string, status int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	u := m.units[name]
	if u == nil || u.pid == 0 {
		return errors.New(name + " has no main process")
	}
	m.ended(u, end{status: status, signal: status < 0})
	m.collect()
	return nil
}

func (m *Manager) set(u *unit, active, sub string) {
	if !u.running() && !u.stopping() && active != "inactive" && active != "failed" {
		u.leftInactive = m.now
	}
	u.active, u.sub, u.since = active, sub, m.now
	m.hint()
	m.notify(u)
}

func (m *Manager) runJob(j *job) {
	u := j.unit
	if j.kind == jobStart {
		m.runStart(j)
		return
	}
	if u.running() {
		m.halt(u)
	}
	if u.stopping() {
		j.running = true
		return
	}
	m.halted(j)
}

func (m *Manager) runStart(j *job) {
	u := j.unit
	if u.active == "active" {
		m.finish(j, "done")
		return
	}
	if u.loadState != "loaded" || !m.mayStart(u) {
		if u.result == "" || u.result == success {
			u.result = startLimitHit
		}
		m.set(u, "failed", "failed")
		m.finish(j, "failed")
		return
	}
	if !m.exist(u.conditions) {
		m.finish(j, "skipped")
		return
	}
	if !m.exist(u.asserts) {
		m.finish(j, "assert")
		return
	}
	if !j.automatic {
		u.restarts = 0
	}
	m.lastID++
	u.invocation, u.result, u.exit = fmt.Sprintf("%032x", m.lastID), success, systemd.Exit{}
	u.started, u.by = m.now, j.by
	if u.trigger.starts != "" {
		if m.startTrigger(u) {
			m.finish(j, "done")
		} else {
			m.finish(j, "failed")
		}
		return
	}
	if !u.service {
		m.set(u, "active", "active")
		m.finish(j, "done")
		return
	}
	u.pid = m.lastID
	if u.oneshot {
		j.running = true
		m.set(u, "activating", "start")
	} else {
		m.set(u, "active", "running")
		m.finish(j, "done")
	}
	if p := m.opts.Process(u.name, u.argv); p.Ends {
		m.after(u, p.After, func() { m.ended(u, end{status: p.Status}) })
	}
	m.stopUnbound(u)
}

// exist reports whether all of these paths exist, and those after a "!" do not.
func (m *Manager) exist(paths []string) bool {
	for _, path := range paths {
		path, absent := strings.CutPrefix(path, "!")
		if _, err := m.opts.ReadFile(path); (err == nil) == absent {
			return false
		}
	}
	return true
}

// mayStart counts a start against the start limit.
func (m *Manager) mayStart(u *unit) bool {
	u.starts = slices.DeleteFunc(u.starts, func(at time.Time) bool { return m.now.Sub(at) >= u.startInterval })
	if u.startBurst > 0 && u.startInterval > 0 && len(u.starts) >= u.startBurst {
		return false
	}
	u.starts = append(u.starts, m.now)
	return true
}

// stopUnbound stops a unit whose BindsTo= unit stopped while it started.
func (m *Manager) stopUnbound(u *unit) {
	for _, name := range u.bindsTo {
		if target := m.units[name]; (target == nil || !target.running()) && m.jobs[name] == nil {
			m.install(u, jobStop, name)
		}
	}
}

// ended handles the end of a main process that no stop job caused.
func (m *Manager) ended(u *unit, e end) {
	if u.stopping() {
		if u.result == success {
			u.result = e.result()
		}
		m.stopped(u, e.exit(u.started))
		return
	}
	u.pid, u.result, u.exit = 0, e.result(), e.exit(u.started)
	starting := u.active == "activating"
	if starting && e.result() == success && u.remain {
		m.set(u, "active", "exited")
		m.finish(m.jobs[u.name], "done")
		return
	}
	if e.result() == success {
		m.set(u, "inactive", "dead")
	} else {
		m.set(u, "failed", "failed")
	}
	if j := m.jobs[u.name]; starting && j != nil && j.running {
		result := "done"
		if e.result() != success {
			result = "failed"
		}
		m.finish(j, result)
	}
	for _, bound := range m.sorted() {
		if bound.running() && slices.Contains(bound.bindsTo, u.name) {
			_ = m.enqueue(bound.name, jobStop) // it is loaded, so it can be stopped
		}
	}
	if m.restarts(u, e) {
		m.set(u, "activating", "auto-restart")
		m.after(u, u.restartAfter, func() {
			if m.enqueue(u.name, jobRestart) != nil {
				m.set(u, "failed", "failed")
				return
			}
			u.restarts++
			m.jobs[u.name].automatic = true
		})
	}
}

// restarts implements the table of Restart= in systemd.service(5), as far as modelled.
func (m *Manager) restarts(u *unit, e end) bool {
	switch u.restart {
	case "always":
		return true
	case "on-success":
		return e.result() == success
	case "on-failure":
		return e.result() != success
	case "on-abnormal", "on-abort":
		return e.signal
	}
	return false
}
