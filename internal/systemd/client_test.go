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
func newMachine(t *testing.T) *machine.Machine {
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

func dial(t *testing.T, m *machine.Machine) *systemd.Client {
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
