package lab

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRegistryIsAway: no registry answers, and the image is on every machine. Its containers start, again after a crash, and at boot.
func TestRegistryIsAway(t *testing.T) {
	l := withLab(t)
	image := built(t, "images/example-app.tar")
	require.NoError(t, l.Each(func(m *Machine) error {
		m.copy(t, image, "root/example-app.tar", 0o644)
		_, err := m.Exec(t.Context(), "docker", "load", "--quiet", "-i", "/root/example-app.tar")
		return err
	}))
	t.Cleanup(func() {
		require.NoError(t, l.Each(func(m *Machine) error {
			_, err := m.Exec(context.Background(), "docker", "rmi", "--force", "localhost:5000/example-app:latest")
			return err
		}))
	})
	start := time.Now()
	applied(t, "box", boxApp)
	t.Logf("two containers run %.1f s after they were applied", time.Since(start).Seconds())

	on := running(t, l, "box@1.service")
	container := func(machines []*Machine) string {
		for _, m := range machines {
			if id, err := m.Exec(t.Context(), "docker", "ps", "--quiet", "--filter", "label=fleet.unit=box@1.service"); err == nil && strings.TrimSpace(id) != "" {
				return strings.TrimSpace(id)
			}
		}
		return ""
	}
	runs := func(what, not string) time.Duration {
		return within(t, time.Minute, what, func() error {
			if id := container(l.Machines); id == "" || id == not {
				return errors.New("no new container of box@1.service runs")
			}
			return nil
		})
	}
	before := container([]*Machine{on})
	_, err := on.Exec(t.Context(), "docker", "kill", before)
	require.NoError(t, err)
	crashed := runs("after a crash", before)

	before = container([]*Machine{on})
	require.NoError(t, on.Kill(t.Context()))
	power := time.Now()
	require.NoError(t, on.Boot(t.Context()))
	runs("after a power cut", before)
	booted := time.Since(power)
	require.NoError(t, l.Joined(t.Context(), 3))
	t.Logf("its container runs again %.1f s after a crash, %.1f s after the machine has its power back", crashed.Seconds(), booted.Seconds())
	served(t, l.Machines, 2)
}
