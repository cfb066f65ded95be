// Package systemd is what a node controller needs of one systemd manager, the system's or a user's: link unit files,
// enqueue jobs, list states, be told that something changed.
//
// Client reaches a real manager over D-Bus; package fake models one. Package systemdtest holds what both promise.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Manager is one systemd manager. Every call ends with its context at the latest. Errors are *Error; what they mean is
// one of the Err variables below, for errors.Is.
type Manager interface {
	// Link makes the unit files at these absolute paths known by runtime links, which a reboot loses. It does not reload:
	// a unit that is not loaded is read when it is first needed, and one that is loaded keeps its old file and says
	// NeedReload. Linking again is no error. One file that is refused fails the call: which one is not said.
	Link(ctx context.Context, paths ...string) error
	// Unlink removes the runtime links of these units; one without a link is no error, nor is a name that no unit can have. A
	// unit that runs goes on running and stays loaded until it stops.
	Unlink(ctx context.Context, names ...string) error
	// Reload reads the files of all loaded units again. It touches nothing that runs, and its time grows with the number
	// of loaded units: once for many changed files.
	Reload(ctx context.Context) error
	// Start enqueues a start job, mode "replace", and does not wait for its end. A unit that is active stays as it is.
	Start(ctx context.Context, name string) error
	// Stop enqueues a stop job. A unit that is not loaded is stopped already.
	Stop(ctx context.Context, name string) error
	// Restart enqueues a restart job; a unit that is not active is started.
	Restart(ctx context.Context, name string) error
	// ResetFailed makes a failed unit inactive and forgets its counted restarts. A unit that is not loaded has none.
	ResetFailed(ctx context.Context, name string) error
	// States returns one state for each name, in the order of the names. What systemd says nothing of has an Err in its state;
	// it takes no answer from the others.
	States(ctx context.Context, names []string) ([]UnitState, error)
	// Foreign says which of these units are there without Link, and where they come from: a unit file of the machine's own,
	// or systemd itself. It loads none of them.
	Foreign(ctx context.Context, names []string) (map[string]string, error)
	// Events holds at most one hint: something changed since the last one was taken (a state, the outcome of a job, the
	// connection), so list again. Hints may be spurious. It is closed by Close.
	Events() <-chan struct{}
	// Close ends what belongs to this Manager, not the units.
	Close()
}

// UnitState is the state of one unit, in systemd's words (org.freedesktop.systemd1(5)).
type UnitState struct {
	Name      string
	LoadState string // loaded, not-found, bad-setting, error, masked
	// ActiveState is active, reloading, inactive, failed, activating or deactivating. A unit that systemd restarts by
	// itself after RestartSec= is activating (SubState auto-restart) meanwhile.
	ActiveState string
	SubState    string
	// Job is the type of the job that waits or runs: start, stop, restart, ...; "" without one.
	Job string
	// JobResult says how the unit's last job ended: done, canceled, timeout, failed, dependency, assert, unsupported, ...;
	// skipped is a start that a Condition...= of the unit prevented, which systemd itself calls done. canceled is not
	// replaced by the done of the stop that canceled a start. It is known of jobs that ended while this Manager was connected and
	// after the last call that named the unit, else "". A start job that failed because another unit did leaves no other
	// trace.
	JobResult string
	// Result is why the unit stopped or failed: success, exit-code, signal, timeout, start-limit-hit, ...
	Result       string
	InvocationID string // 32 hex digits, new at each start
	// Restarts is how often systemd has started the service again by itself since its last start on request.
	Restarts int
	// Exit is how the service's last main process ended, or, where none has run, the command of ExecStartPre= and its like
	// that failed. Zero while the main process runs.
	Exit Exit
	// Since is when ActiveState or SubState last changed.
	Since        time.Time
	MainPID      int // 0 when no main process runs
	FragmentPath string
	// NeedReload says that the file changed after it was loaded.
	NeedReload bool
	// systemd forgets an inactive unit at its leisure, so Result, InvocationID and Since are zero in one.

	// Err is why systemd says nothing of this unit: ErrBadUnit where no unit can have that name, so that none runs. All else
	// but Name is zero then.
	Err error
}

// Exit is how a process ended.
type Exit struct {
	Code   string // exited, killed, dumped
	Status int    // exit status or signal number
	// Command is the option that the process was started for, where that is not ExecStart=: ExecStartPre, ...
	Command string
	// Started is when the process was started.
	Started time.Time
}

// What an error means to the caller.
var (
	// ErrNoSuchUnit: there is no unit file of this name.
	ErrNoSuchUnit = errors.New("no such unit")
	// ErrBadUnit: the unit file cannot be used as it is (a broken setting, masked). Trying again does not help.
	ErrBadUnit = errors.New("bad unit file")
	// ErrRefused: systemd refused the job (a start limit, a dependency that is missing, a manager that shuts down).
	ErrRefused = errors.New("refused by systemd")
	// ErrDisconnected: the manager cannot be reached now. A hint follows when it can.
	ErrDisconnected = errors.New("systemd cannot be reached")
)

// Error is a call that failed.
type Error struct {
	Op   string // link, start, ...
	Unit string // "" when the call was not about one unit
	Kind error  // one of the Err variables, or nil
	Err  error
}

func (e *Error) Error() string {
	if e.Unit == "" {
		return fmt.Sprintf("systemd: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("systemd: %s %s: %v", e.Op, e.Unit, e.Err)
}

// Unwrap gives what the error means and what caused it.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}
