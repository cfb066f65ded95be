package systemd_test

import (
	"context"
	"errors"
	"net"
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

// realSubject is a real manager for the contract.
type realSubject struct{ *systemd.Client }

func (s realSubject) Kill(unit string) error {
	found, err := s.Inspect(context.Background(), unit)
	if err != nil {
		return err
	}
	if found.MainPID == 0 {
		return errors.New("no main process")
	}
	return syscall.Kill(found.MainPID, syscall.SIGKILL)
}

func (realSubject) Connect(address string) error {
	conn, err := net.DialTimeout("unix", address, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
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
	pid := func() int {
		found, err := c.Inspect(ctx, "a.service")
		require.NoError(t, err)
		return found.MainPID
	}
	before, was := await(active), pid()
	require.NoError(t, m.Command("systemctl", "--user", "daemon-reexec").Run())
	await(func(_ systemd.UnitState, err error) bool { return err != nil })
	after := await(active)
	require.Equal(t, before.InvocationID, after.InvocationID)
	require.Equal(t, was, pid())
	// Signals arrive over the new connection, too.
	require.NoError(t, syscall.Kill(was, syscall.SIGKILL))
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

// Not modelled: programs that cannot be executed, commands before the main one, other types of units.
func TestWhyItFailed(t *testing.T) {
	m := newMachine(t)
	c := dial(t, m)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	dir := t.TempDir()
	link := func(name, text string) {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		require.NoError(t, c.Link(ctx, path))
	}
	await := func(name string, is func(systemd.UnitState) bool) systemd.UnitState {
		for {
			states, err := c.States(ctx, []string{name})
			require.NoError(t, err)
			if states[0].Job == "" && is(states[0]) {
				return states[0]
			}
			select {
			case <-c.Events():
			case <-ctx.Done():
				require.FailNow(t, "it did not come", "%+v", states[0])
			}
		}
	}
	failed := func(s systemd.UnitState) bool { return s.ActiveState == "failed" || s.SubState == "auto-restart" }
	ended := func(s systemd.UnitState) bool { return s.JobResult != "" }
	for _, tc := range []struct {
		name, text string
		until      func(systemd.UnitState) bool
		result     string
		exit       systemd.Exit
		job        string
	}{
		{"missing.service", "[Service]\nExecStart=/no/such/program\n", failed, "exit-code", systemd.Exit{Code: "exited", Status: 203}, "done"},
		{"loop.service", "[Service]\nExecStart=/no/such/program\nRestart=always\nRestartSec=1h\n", failed, "exit-code", systemd.Exit{Code: "exited", Status: 203}, "done"},
		{"pre.service", "[Service]\nExecStartPre=-/bin/false\nExecStartPre=/bin/sh -c 'exit 7'\nExecStart=/bin/sleep 1h\n", failed, "exit-code",
			systemd.Exit{Code: "exited", Status: 7, Command: "ExecStartPre"}, "failed"},
		{"hangs.service", "[Service]\nExecStartPre=/bin/sleep 1h\nExecStart=/bin/sleep 1h\nTimeoutStartSec=100ms\n", failed, "timeout",
			systemd.Exit{Code: "killed", Status: 15, Command: "ExecStartPre"}, "failed"},
		{"lone.socket", "[Socket]\nListenStream=" + dir + "/socket\n", ended, "", systemd.Exit{}, "failed"},
		{"taken.socket", "[Socket]\nListenStream=192.0.2.1:1\nService=pre.service\n", failed, "resources", systemd.Exit{}, "failed"},
	} {
		link(tc.name, tc.text)
		require.NoError(t, c.Start(ctx, tc.name), tc.name)
		s := await(tc.name, tc.until)
		s.Exit.Started = time.Time{}
		require.Equal(t, []any{tc.result, tc.exit, tc.job}, []any{s.Result, s.Exit, s.JobResult}, tc.name)
	}
}

func TestStartThatSomethingElseCancels(t *testing.T) {
	m := newMachine(t)
	c, other := dial(t, m), dial(t, m)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	dir := t.TempDir()
	begin := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
		require.NoError(t, c.Link(ctx, filepath.Join(dir, name)))
		require.NoError(t, c.Start(ctx, name))
	}
	begin("first.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 1h\n")
	begin("second.service", "[Unit]\nAfter=first.service\n[Service]\nExecStart=/bin/sleep 1h\n")
	require.NoError(t, other.Stop(ctx, "second.service"))
	require.Eventually(t, func() bool {
		states, err := c.States(ctx, []string{"second.service"})
		require.NoError(t, err)
		return states[0].Job == "" && states[0].JobResult == "canceled"
	}, 10*time.Second, 10*time.Millisecond)
}
