package systemd

import (
	"context"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/godbus/dbus/v5"
)

const (
	managerInterface = "org.freedesktop.systemd1.Manager"
	unitInterface    = "org.freedesktop.systemd1.Unit"
	serviceInterface = "org.freedesktop.systemd1.Service"
	jobInterface     = "org.freedesktop.systemd1.Job"
	getProperty      = "org.freedesktop.DBus.Properties.Get"
)

func uid() string { return strconv.Itoa(os.Getuid()) }

// link is one connection and what was learned over it. It is the connection's signal handler, called by its reader: it
// updates its maps and hints, and never blocks.
type link struct {
	conn *dbus.Conn
	hint func()
	// reloads is incremented when a reload begins.
	reloads *atomic.Int64

	mu      sync.Mutex
	details map[dbus.ObjectPath]*details
	// heard is what the last signals about named services said.
	heard map[dbus.ObjectPath]*heard
	jobs  map[string]*jobs // by unit, only for units that a call has named
	// named are the units that a call has named. What other units of the machine do is no hint.
	named map[dbus.ObjectPath]bool
	// unmet are the loaded units whose last start was skipped because of a Condition...=.
	unmet map[dbus.ObjectPath]bool
}

// jobs are a unit's jobs that ended since the last call that named it.
type jobs struct {
	own  uint32 // the job that the call made, or 0
	ends []jobEnd
}

// maxEnds is how many are kept: enough to still have the right one when the call's answer names its job.
const maxEnds = 8

// result is how the last job ended, ignoring jobs before the call's own.
func (j *jobs) result() (result string) {
	for _, end := range j.ends {
		switch {
		case end.id < j.own:
		case end.result == "done" && result == "canceled": // the stop that canceled a start ends after it
		default:
			result = end.result
		}
	}
	return result
}

// jobEnd is how a job ended.
type jobEnd struct {
	id     uint32
	result string
}

func newLink(hint func()) *link {
	return &link{hint: hint, reloads: new(atomic.Int64), details: map[dbus.ObjectPath]*details{}, heard: map[dbus.ObjectPath]*heard{}, jobs: map[string]*jobs{}, named: map[dbus.ObjectPath]bool{}, unmet: map[dbus.ObjectPath]bool{}}
}

func (l *link) close() { _ = l.conn.Close() }

// call calls a method of the manager.
func (l *link) call(ctx context.Context, method string, args ...any) *dbus.Call {
	return l.conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").
		CallWithContext(ctx, managerInterface+"."+method, 0, args...)
}

// signal deals with signals that godbus need not decode, and reports whether that is one. Like DeliverSignal it is called by
// the connection's reader.
func (l *link) signal(s signal) (done bool) {
	if s.member != propertiesChanged {
		return unused[s.member]
	}
	iface := s.iface()
	switch iface {
	case unitInterface:
		l.noteCondition(s)
	case serviceInterface:
	default:
		return true
	}
	if l.changed(iface, s) {
		l.hint()
	}
	return true
}

// DeliverSignal implements dbus.SignalHandler. UnitNew and UnitRemoved are no hints: reading the state of a unit that is not
// loaded makes systemd load it, send both signals and forget it, so each read would trigger the next.
func (l *link) DeliverSignal(_, _ string, signal *dbus.Signal) {
	switch signal.Name {
	case managerInterface + ".JobRemoved":
		var id uint32
		var job dbus.ObjectPath
		var unit, result string
		if dbus.Store(signal.Body, &id, &job, &unit, &result) == nil && !l.jobEnded(unit, jobEnd{id: id, result: result}) {
			return
		}
	case managerInterface + ".Reloading":
		if begins := false; dbus.Store(signal.Body, &begins) == nil && begins {
			l.reloads.Add(1)
		}
		l.forgetAll()
	case managerInterface + ".UnitRemoved":
		var unit string
		var path dbus.ObjectPath
		if dbus.Store(signal.Body, &unit, &path) == nil {
			l.removed(path)
		}
		return
	default:
		return
	}
	l.hint()
}

// changed drops the cached details of a unit that changed, keeps what the signal says of it, and reports whether a call has named it.
func (l *link) changed(iface string, s signal) (named bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	unit := dbus.ObjectPath(s.path)
	delete(l.details, unit)
	if !l.named[unit] {
		return false
	}
	if iface == serviceInterface {
		l.heard[unit] = heardOfService(s)
	} else if h := l.heard[unit]; h != nil {
		h.ofUnit(s)
	}
	return true
}

func (l *link) forgetAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.details)
	clear(l.heard)
}

// jobEnded records a job's result, and reports whether a call has named the unit. systemd sends the changes of its unit first.
func (l *link) jobEnded(unit string, end jobEnd) (named bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	path := unitPath(unit)
	j, ok := l.jobs[unit]
	if !ok {
		return l.named[path] // by another name
	}
	if end.result == "done" && l.unmet[path] {
		end.result = "skipped"
	}
	j.ends = append(j.ends[max(0, len(j.ends)+1-maxEnds):], end)
	return true
}

// noteCondition records whether a unit's conditions were met.
func (l *link) noteCondition(s signal) {
	met, tried, known := s.condition()
	if !known {
		return
	}
	unit := dbus.ObjectPath(s.path)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unmet[unit] = !met && tried; !l.unmet[unit] {
		delete(l.unmet, unit)
	}
}

func (l *link) removed(unit dbus.ObjectPath) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.unmet, unit)
	delete(l.heard, unit)
}

// unitPath is a unit's object path: all but letters and digits are escaped.
func unitPath(unit string) dbus.ObjectPath {
	var b strings.Builder
	b.WriteString("/org/freedesktop/systemd1/unit/")
	for i := range len(unit) {
		c := unit[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || i > 0 && '0' <= c && c <= '9' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	return dbus.ObjectPath(b.String())
}

// follow starts recording the results of the units' jobs, and makes their changes hints.
func (l *link) follow(units []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, unit := range units {
		if l.jobs[unit] == nil {
			l.jobs[unit] = &jobs{}
			l.named[unitPath(unit)] = true
		}
	}
}

// followAs is follow for the paths that systemd has answered with: a name may be an alias.
func (l *link) followAs(rows []listed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, row := range rows {
		l.named[row.Path] = true
	}
}

// expectJob is follow before a call for a unit: the results of earlier jobs no longer matter.
func (l *link) expectJob(unit string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jobs[unit] = &jobs{}
	l.named[unitPath(unit)] = true
}

// ownJob records which job a call created, from its answer.
func (l *link) ownJob(unit string, answer []any) {
	if len(answer) == 0 {
		return
	}
	job, _ := answer[0].(dbus.ObjectPath)
	id, err := strconv.ParseUint(path.Base(string(job)), 10, 32)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if j := l.jobs[unit]; j != nil {
		j.own = uint32(id)
	}
}

func (l *link) jobResult(unit string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if j := l.jobs[unit]; j != nil {
		return j.result()
	}
	return ""
}

// unfollow forgets units until a call names them again.
func (l *link) unfollow(units []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, unit := range units {
		delete(l.jobs, unit)
		delete(l.named, unitPath(unit))
		delete(l.heard, unitPath(unit))
	}
}
