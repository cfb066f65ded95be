package systemd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/machine"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/systemd/systemdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newMachine boots a private machine that ends with the test.
func newMachine(t testing.TB) *machine.Machine {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fleet-")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m, err := machine.Start(ctx, machine.Config{Name: "systemd", RuntimeDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state")})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Kill())
		require.NoError(t, os.RemoveAll(dir))
	})
	return m
}

func dial(t testing.TB, m *machine.Machine) *systemd.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := systemd.Dial(ctx, systemd.UserSocket(m.XDGRuntimeDir()), logr.Discard())
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// realSubject is a real manager as the contract wants it.
type realSubject struct{ *systemd.Client }

func (s realSubject) Kill(unit string) error {
	states, err := s.States(context.Background(), []string{unit})
	if err != nil {
		return err
	}
	if states[0].MainPID == 0 {
		return errors.New("no main process")
	}
	return syscall.Kill(states[0].MainPID, syscall.SIGKILL)
}

func (s realSubject) Progress(ctx context.Context) error {
	select {
	case <-s.Events():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func TestContract(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T) systemdtest.Subject { return realSubject{dial(t, newMachine(t))} })
}

func TestReconnects(t *testing.T) {
	m := newMachine(t)
	c := dial(t, m)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	path := filepath.Join(t.TempDir(), "a.service")
	require.NoError(t, os.WriteFile(path, []byte("[Service]\nExecStart=/bin/sleep infinity\n"), 0o644))
	require.NoError(t, c.Link(ctx, path))
	require.NoError(t, c.Start(ctx, "a.service"))
	state := func() (systemd.UnitState, error) {
		states, err := c.States(ctx, []string{"a.service"})
		if err != nil {
			require.ErrorIs(t, err, systemd.ErrDisconnected)
			return systemd.UnitState{}, err
		}
		return states[0], nil
	}
	await := func(is func(systemd.UnitState, error) bool) systemd.UnitState {
		for {
			s, err := state()
			if is(s, err) {
				return s
			}
			select {
			case <-c.Events():
			case <-ctx.Done():
				require.FailNow(t, "no hint", "%+v", s)
			}
		}
	}
	active := func(s systemd.UnitState, err error) bool {
		return err == nil && s.ActiveState == "active" && s.Job == ""
	}
	before := await(active)
	require.NoError(t, m.Command("systemctl", "--user", "daemon-reexec").Run())
	await(func(_ systemd.UnitState, err error) bool { return err != nil })
	after := await(active)
	require.Equal(t, before.InvocationID, after.InvocationID)
	require.Equal(t, before.MainPID, after.MainPID)
	// Signals come over the new connection, too.
	require.NoError(t, syscall.Kill(after.MainPID, syscall.SIGKILL))
	await(func(s systemd.UnitState, err error) bool { return err == nil && s.ActiveState == "failed" })

	require.NoError(t, m.Kill())
	await(func(_ systemd.UnitState, err error) bool { return err != nil })
	require.ErrorIs(t, c.Start(ctx, "a.service"), systemd.ErrDisconnected)
	c.Close()
	for range c.Events() { // a last hint, then closed
	}
}

func TestDialRefuses(t *testing.T) {
	_, err := systemd.Dial(context.Background(), filepath.Join(t.TempDir(), "none"), logr.Discard())
	require.ErrorIs(t, err, systemd.ErrDisconnected)
}
