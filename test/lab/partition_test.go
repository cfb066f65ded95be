package lab

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPartition: a machine that is cut off keeps running what it has, and its router serves. Its instance is started elsewhere as well.
// When the network is healed one copy is left, the new one.
func TestPartition(t *testing.T) {
	l := withLab(t)
	unit, m := "web@1.service", running(t, l, "web@1.service")
	if leaderOf(t, l) == m { // TestLeaderIsCutOff cuts it off
		unit, m = "web@2.service", running(t, l, "web@2.service")
	}
	rest := others(l, m)
	// agent_ttl + 1 s, and what it takes to look; 5 s more where requests of the leader went to the etcd that is cut off, or that one led
	// etcd: a new leader prolongs all leases.
	limit := ttl + 7*time.Second
	requests, alone := startLoad(t, rest...), startLoad(t, m)
	require.NoError(t, l.Partition(t.Context(), m.Name))
	cut := time.Now()
	copied := within(t, time.Minute, unit+" is active on the other side", func() error {
		if len(active(t, rest, unit)) != 1 {
			return errors.New("not active yet")
		}
		return nil
	})
	replacement := active(t, rest, unit)
	served(t, rest, 2)
	time.Sleep(2 * ttl)
	require.Len(t, active(t, []*Machine{m}, unit), 1, "it keeps running on the machine that is cut off")
	own := alone.Stop()
	require.NoError(t, l.Heal(t.Context()))
	one := within(t, time.Minute, "one copy is left", func() error {
		if on := active(t, l.Machines, unit); !slices.Equal(on, replacement) {
			return fmt.Errorf("%s is active on %v, not on %v", unit, on, replacement)
		}
		return nil
	})
	served(t, l.Machines, 2)
	sent := requests.Stop()
	t.Logf("active on the other side after %.1f s, one copy is left %.1f s after the network is healed; of the other machines %s; of its own router %s",
		copied.Seconds(), one.Seconds(), sent, own)
	require.Less(t, copied, limit)
	require.Empty(t, sent.After(cut.Add(ttl+5*time.Second)))
	require.Len(t, active(t, l.Machines, unit), 1)
}
