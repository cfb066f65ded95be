package fake_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/systemd/systemdtest"
)

// subject is a model for the contract.
type subject struct {
	*fake.Manager
	end time.Time
}

func (s subject) Progress(context.Context) error {
	if s.Now().After(s.end) {
		return errors.New("nothing happens any more")
	}
	s.Advance(10 * time.Millisecond)
	return nil
}

func TestContract(t *testing.T) {
	systemdtest.Run(t, func(t *testing.T) systemdtest.Subject {
		m := fake.New(fake.Options{})
		t.Cleanup(m.Close)
		return subject{Manager: m, end: m.Now().Add(time.Minute)}
	})
}

// files are unit files in memory.
type files map[string]string

func (f files) read(path string) ([]byte, error) {
	text, ok := f[path]
	if !ok {
		return nil, fmt.Errorf("no file %s", path)
	}
	return []byte(text), nil
}

// history runs a fixed script and returns the states after every step.
func history(t *testing.T) []systemd.UnitState {
	t.Helper()
	ctx := context.Background()
	units := files{
		"/u/app@1.service":  "[Unit]\nWants=disc@%i.service\n[Service]\nExecStart=/bin/app\nRestart=always\n",
		"/u/app@2.service":  "[Unit]\nWants=disc@%i.service\n[Service]\nExecStart=/bin/app\nRestart=always\n",
		"/u/disc@1.service": "[Unit]\nBindsTo=app@%i.service\nAfter=app@%i.service\n[Service]\nExecStart=/bin/disc\n",
		"/u/disc@2.service": "[Unit]\nBindsTo=app@%i.service\nAfter=app@%i.service\n[Service]\nExecStart=/bin/disc\n",
	}
	m := fake.New(fake.Options{ReadFile: units.read})
	defer m.Close()
	var seen []systemd.UnitState
	drain := func() {
		for more := true; more; more = m.Step() {
			states, err := m.States(ctx, []string{"app@1.service", "disc@1.service", "app@2.service", "disc@2.service"})
			require.NoError(t, err)
			seen = append(seen, states...)
		}
	}
	require.NoError(t, m.Link(ctx, "/u/app@1.service", "/u/disc@1.service", "/u/app@2.service", "/u/disc@2.service"))
	require.NoError(t, m.Start(ctx, "app@1.service"))
	require.NoError(t, m.Start(ctx, "app@2.service"))
	drain()
	require.NoError(t, m.Kill("app@1.service"))
	drain()
	m.Advance(time.Second)
	drain()
	for _, s := range seen[len(seen)-4:] {
		require.Equal(t, "active", s.ActiveState, s.Name)
	}
	return seen
}

func TestSameScriptSameHistory(t *testing.T) {
	first := history(t)
	for range 5 {
		require.Equal(t, first, history(t))
	}
}

func TestRebootForgets(t *testing.T) {
	ctx := context.Background()
	m := fake.New(fake.Options{ReadFile: files{"/u/a.service": "[Service]\nExecStart=/bin/a\n"}.read})
	defer m.Close()
	require.NoError(t, m.Link(ctx, "/u/a.service"))
	require.NoError(t, m.Start(ctx, "a.service"))
	m.Advance(0)
	m.Reboot()
	m.Advance(0)
	states, err := m.States(ctx, []string{"a.service"})
	require.NoError(t, err)
	require.Equal(t, "not-found", states[0].LoadState)
	require.Error(t, m.Kill("a.service"))
}

func TestFaultsHaveNoEffect(t *testing.T) {
	ctx := context.Background()
	var fail error
	m := fake.New(fake.Options{
		ReadFile: files{"/u/a.service": "[Service]\nExecStart=/bin/a\n"}.read,
		Fault: func(op, unit string) error {
			if op == "start" && unit == "a.service" {
				return fail
			}
			return nil
		},
	})
	defer m.Close()
	require.NoError(t, m.Link(ctx, "/u/a.service"))
	fail = systemd.ErrDisconnected
	require.ErrorIs(t, m.Start(ctx, "a.service"), systemd.ErrDisconnected)
	require.False(t, m.Step())
	fail = nil
	require.NoError(t, m.Start(ctx, "a.service"))
	require.True(t, m.Step())
}
