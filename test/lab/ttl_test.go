package lab

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// longTTL is fleetd's default for agent_ttl.
const longTTL = 30 * time.Second

// setTTL changes agent_ttl on all machines.
func setTTL(ctx context.Context, l *Lab, ttl time.Duration) error {
	return l.Each(func(m *Machine) error {
		_, err := m.Exec(ctx, "sh", "-c", fmt.Sprintf("sed -i 's/^agent_ttl=.*/agent_ttl=%s/' /etc/fleet/fleet.conf && systemctl restart fleetd.service", ttl))
		return err
	})
}

// TestPowerCutWithDefaultTTL is TestPowerCutOfOneMachine with the agent_ttl that machines have if none is configured.
func TestPowerCutWithDefaultTTL(t *testing.T) {
	l := withLab(t)
	before := invocations(t, l.Machines)
	require.NoError(t, setTTL(t.Context(), l, longTTL))
	t.Cleanup(func() { require.NoError(t, setTTL(context.Background(), l, ttl)) })
	require.NoError(t, l.Joined(t.Context(), 3))
	require.Equal(t, before, invocations(t, l.Machines), "a restart of fleetd restarts nothing else")
	unit, gone := "web@1.service", running(t, l, "web@1.service")
	if etcdLeader(t, l) == gone { // a new leader of etcd prolongs all leases
		unit, gone = "web@2.service", running(t, l, "web@2.service")
	}
	leads := leaderOf(t, l) == gone
	rest := others(l, gone)
	requests := startLoad(t, rest...)
	require.NoError(t, gone.Kill(t.Context()))
	cut := time.Now()
	moved := within(t, 2*time.Minute, unit+" is active elsewhere", func() error {
		if len(active(t, rest, unit)) != 1 {
			return errors.New("not active yet")
		}
		return nil
	})
	served(t, rest, 2)
	sent := requests.Stop()
	t.Logf("active elsewhere after %.1f s (agent_ttl %s, it led: %t); of the other machines %s", moved.Seconds(), longTTL, leads, sent)
	require.Less(t, moved, longTTL+2*time.Second) // agent_ttl + 1 s, and what it takes to look
	require.Greater(t, moved, longTTL/2)
	require.Empty(t, unexcused(sent.After(cut.Add(5*time.Second))), "the routers have taken the dead instance out")

	require.NoError(t, gone.Boot(t.Context()))
	require.NoError(t, l.Joined(t.Context(), 3))
	served(t, l.Machines, 2)
	require.Len(t, active(t, l.Machines, unit), 1)
}
