package fake

import (
	"time"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// timedOut is the result of a unit that systemd had to kill because it did not stop in time.
const timedOut = "timeout"

// harmless are signals that a process survives without handling them.
var harmless = map[string]bool{"SIGWINCH": true, "SIGCONT": true, "SIGURG": true, "SIGCHLD": true}

// stopping is how a service stops.
type stopping struct {
	execStop []string // run before the signal
	// ignores: the process survives KillSignal=, and is killed after the timeout.
	ignores bool
	timeout time.Duration
}

func (u *unit) stopping() bool { return u.active == "deactivating" }

// halt begins to stop a unit for a job. How long that takes depends on the unit's file.
func (m *Manager) halt(u *unit) {
	switch {
	case u.pid == 0:
		m.set(u, "inactive", "dead")
	case u.oneshot && u.active == "activating":
		// Ending by SIGTERM is clean for a running service, not for one that has something to finish.
		u.pid, u.result = 0, signaled
		m.set(u, "failed", "failed")
	case len(u.stop.execStop) > 0:
		m.set(u, "deactivating", "stop")
		p := m.opts.Process(u.name, u.stop.execStop)
		if p.Ends && p.After <= u.stop.timeout {
			m.after(u, p.After, func() { m.terminate(u) })
			return
		}
		m.after(u, u.stop.timeout, func() {
			u.result = timedOut
			m.terminate(u)
		})
	default:
		m.terminate(u)
	}
}

// terminate sends the stop signal.
func (m *Manager) terminate(u *unit) {
	if !u.stop.ignores {
		m.stopped(u, systemd.Exit{})
		return
	}
	m.set(u, "deactivating", "stop-sigterm")
	m.after(u, u.stop.timeout, func() {
		u.result = timedOut
		m.stopped(u, end{signal: true}.exit(u.started))
	})
}

// stopped handles the end of a unit that had to stop, and of the job that stopped it.
func (m *Manager) stopped(u *unit, exit systemd.Exit) {
	u.pid, u.exit = 0, exit
	if u.result == success {
		m.set(u, "inactive", "dead")
	} else {
		m.set(u, "failed", "failed")
	}
	if j := m.jobs[u.name]; j != nil && j.running && j.stops() {
		j.running = false
		m.halted(j)
	}
}

// halted completes a job that stopped its unit.
func (m *Manager) halted(j *job) {
	if j.kind == jobStop {
		m.finish(j, "done")
		return
	}
	j.kind = jobStart // the second half of a restart, when its turn comes
}
