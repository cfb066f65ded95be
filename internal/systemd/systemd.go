// Package systemd is what a node controller needs of a systemd manager, the system's or a user's: link unit files, enqueue
// jobs, list states, and be notified of changes.
//
// Client talks to a real manager over D-Bus; package fake models one. Package systemdtest tests what both promise.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Manager is one systemd manager. Every call returns when its context ends, or earlier. Errors are *Error; use errors.Is with
// the Err variables below.
type Manager interface {
	// Link makes the unit files at these absolute paths known by runtime links, which a reboot removes. It does not reload: a
	// unit that is not loaded is read when it is first needed; a loaded one keeps its old file until a Reload.
	// Linking again is not an error. If one file is rejected the call fails, without saying which one.
	Link(ctx context.Context, paths ...string) error
	// Enable makes the runtime links that the [Install] sections of these linked unit files ask for, and removes those that
	// earlier ones asked for. systemd heeds them after a Reload. If one file is rejected the call fails, and the files stay
	// linked.
	Enable(ctx context.Context, paths ...string) error
	// Unlink removes the runtime links of these units, those of Enable among them. A missing link or an invalid name is not an error. A running unit
	// keeps running and stays loaded until it stops.
	Unlink(ctx context.Context, names ...string) error
	// Reload rereads the files of all loaded units. It affects no running process, and its cost grows with the number of
	// loaded units: call it once for many changed files.
	Reload(ctx context.Context) error
	// Start enqueues a start job, mode "replace", and does not wait for it. An active unit is left as it is.
	Start(ctx context.Context, name string) error
	// Stop enqueues a stop job. For a unit that is not loaded it does nothing.
	Stop(ctx context.Context, name string) error
	// Restart enqueues a restart job; a unit that is not active is started.
	Restart(ctx context.Context, name string) error
	// ResetFailed makes a failed unit inactive and resets its restart counter. For a unit that is not loaded it does nothing.
	ResetFailed(ctx context.Context, name string) error
	// States returns one state for each name, in the order of the names. If systemd reports nothing for a unit, its state has
	// an Err; the others are not affected.
	States(ctx context.Context, names []string) ([]UnitState, error)
	// Foreign returns which of these units exist without Link, and their origin: a unit file of the machine, or systemd
	// itself. It loads none of them.
	Foreign(ctx context.Context, names []string) (map[string]string, error)
	// Events holds at most one hint: something changed since the last hint was taken (a state or a job's result of a unit that
	// a call has named, the connection), so list again. Hints may be spurious. Close closes it.
	Events() <-chan struct{}
	// Close releases the Manager's resources; it does not affect units.
	Close()
}

// UnitState is the state of one unit, in systemd's terms (org.freedesktop.systemd1(5)).
type UnitState struct {
	Name      string
	LoadState string // loaded, not-found, bad-setting, error, masked
	// ActiveState is active, reloading, inactive, failed, activating or deactivating. While systemd waits for RestartSec=
	// before a restart, it is activating (SubState auto-restart).
	ActiveState string
	SubState    string
	// Job is the type of the queued or running job: start, stop, restart, ...; "" if there is none.
	Job string
	// JobResult is how the unit's last job ended: done, canceled, timeout, failed, dependency, assert, unsupported, ... A
	// start that a Condition...= prevented is skipped, which systemd itself calls done. canceled is kept even if the stop
	// that canceled the start is then done. It is only known for jobs that ended while this Manager was connected, after the
	// last call that named the unit, and is else "". A start job that failed because another unit did leaves no other trace.
	JobResult string
	// Result is why the unit stopped or failed: success, exit-code, signal, timeout, start-limit-hit, ...
	Result       string
	InvocationID string // 32 hex digits, new at each start
	// Restarts is how often systemd has restarted the service since its last requested start.
	Restarts int
	// Exit is how the service's last main process ended or, if none ran, the failed command of ExecStartPre= or similar. Zero
	// while the main process runs.
	Exit Exit
	// Since is when ActiveState or SubState last changed.
	Since time.Time
	// systemd may unload an inactive unit at any time. Then Result, InvocationID and Since are zero.

	// Err is why systemd reports nothing for this unit: ErrBadUnit if the name is invalid, so no such unit runs. All other
	// fields but Name are zero then.
	Err error
}

// Inspection is what a UnitState leaves out because systemd has to look for it: it reads the directories of drop-ins to know
// whether a file changed. Fleet does not need it; tests do.
type Inspection struct {
	MainPID      int // 0 if no main process runs
	FragmentPath string
	// NeedReload: the file changed after it was loaded.
	NeedReload bool
}

// Exit is how a process ended.
type Exit struct {
	Code   string // exited, killed, dumped
	Status int    // exit status or signal number
	// Command is the option that started the process, if not ExecStart=: ExecStartPre, ...
	Command string
	// Started is when the process was started.
	Started time.Time
}

// What an error means for the caller.
var (
	// ErrNoSuchUnit: there is no unit file of this name.
	ErrNoSuchUnit = errors.New("no such unit")
	// ErrBadUnit: the unit file is unusable (a broken setting, masked). Retrying does not help.
	ErrBadUnit = errors.New("bad unit file")
	// ErrRefused: systemd rejected the job (a start limit, a missing dependency, a manager that shuts down).
	ErrRefused = errors.New("refused by systemd")
	// ErrDisconnected: the manager cannot be reached now. A hint follows once it can.
	ErrDisconnected = errors.New("systemd cannot be reached")
)

// Error is a failed call.
type Error struct {
	Op   string // link, enable, start, ...
	Unit string // "" if the call was not about one unit
	Kind error  // one of the Err variables, or nil
	Err  error
}

func (e *Error) Error() string {
	if e.Unit == "" {
		return fmt.Sprintf("systemd: %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("systemd: %s %s: %v", e.Op, e.Unit, e.Err)
}

// Unwrap returns what the error means and what caused it.
func (e *Error) Unwrap() []error {
	if e.Kind == nil {
		return []error{e.Err}
	}
	return []error{e.Kind, e.Err}
}
