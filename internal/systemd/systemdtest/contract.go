// Package systemdtest tests the contract of systemd.Manager, for the real one and the model alike.
package systemdtest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// Subject is a Manager under test and its environment.
type Subject interface {
	systemd.Manager
	// Inspect returns what States leaves out of a loaded unit.
	Inspect(ctx context.Context, unit string) (systemd.Inspection, error)
	// Kill sends SIGKILL to the unit's main process.
	Kill(unit string) error
	// Connect connects to the path of a socket unit, and disconnects.
	Connect(address string) error
	// Progress returns when something may have changed: the real manager waits for a hint, the model advances its clock. It
	// fails if nothing changes for long.
	Progress(ctx context.Context) error
}

// within bounds one test with a real manager.
const within = 20 * time.Second

// bench is one test's manager, unit files and deadline.
type bench struct {
	*testing.T
	Subject
	ctx context.Context
	dir string
}

// Run runs the contract; start returns a manager without any of the tests' units.
func Run(t *testing.T, start func(t *testing.T) Subject) {
	for _, part := range []map[string]func(*bench){basics, failures, dependencies, stops, triggers} {
		for name, test := range part {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(context.Background(), within)
				defer cancel()
				test(&bench{T: t, Subject: start(t), ctx: ctx, dir: t.TempDir()})
			})
		}
	}
}

// write writes a unit file and returns its path.
func (b *bench) write(name string, lines ...string) string {
	path := filepath.Join(b.dir, name)
	require.NoError(b, os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return path
}

// link writes a unit file and links it.
func (b *bench) link(name string, lines ...string) {
	require.NoError(b, b.Link(b.ctx, b.write(name, lines...)))
}

func (b *bench) start(name string) { require.NoError(b, b.Start(b.ctx, name)) }
func (b *bench) stop(name string)  { require.NoError(b, b.Stop(b.ctx, name)) }

func (b *bench) state(name string) systemd.UnitState {
	states, err := b.States(b.ctx, []string{name})
	require.NoError(b, err)
	require.Len(b, states, 1)
	require.Equal(b, name, states[0].Name)
	return states[0]
}

func (b *bench) inspect(name string) systemd.Inspection {
	b.Helper()
	found, err := b.Inspect(b.ctx, name)
	require.NoError(b, err)
	return found
}

// await waits until the unit is as wanted.
func (b *bench) await(name, want string, is func(systemd.UnitState) bool) systemd.UnitState {
	b.Helper()
	for {
		state := b.state(name)
		if is(state) {
			return state
		}
		require.NoErrorf(b, b.Progress(b.ctx), "waiting for %s to be %s: %+v", name, want, state)
	}
}

// awaitActive waits until the unit is in this ActiveState and has no job.
func (b *bench) awaitActive(name, active string) systemd.UnitState {
	b.Helper()
	return b.await(name, active, func(s systemd.UnitState) bool { return s.ActiveState == active && s.Job == "" })
}

// awaitNew waits until the unit is active with another invocation than this one.
func (b *bench) awaitNew(name, invocation string) systemd.UnitState {
	b.Helper()
	return b.await(name, "active anew", func(s systemd.UnitState) bool {
		return s.ActiveState == "active" && s.Job == "" && s.InvocationID != invocation
	})
}

var sleeper = []string{"[Service]", "ExecStart=/bin/sleep infinity"}

func service(unit []string, service ...string) []string {
	return append(append(append([]string{"[Unit]"}, unit...), "[Service]"), service...)
}
