package lab

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
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
	applied(t, "single", single(m))
	require.Equal(t, []string{m.Name}, active(t, l.Machines, "single@1.service"))
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
	moved := within(t, time.Minute, "single@1.service is active on the other side", func() error {
		if len(active(t, rest, "single@1.service")) != 1 {
			return errors.New("not active yet")
		}
		return nil
	})
	other := running(t, l, "single@1.service")
	stopped, started := done(t, m, "stop", "single@1.service"), done(t, other, "start", "single@1.service")
	t.Logf("with onPartition: stop: stopped %.1f s after the cut, and started elsewhere %.1f s later", stopped.Sub(cut).Seconds(), started.Sub(stopped).Seconds())
	require.True(t, stopped.Before(started), "stopped at %s, started elsewhere at %s", stopped, started)
	require.Less(t, copied+moved, limit+5*time.Second)
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
	require.Empty(t, unexcused(sent.After(cut.Add(ttl+5*time.Second))))
	require.Len(t, active(t, l.Machines, unit), 1)
	within(t, time.Minute, "one copy of single@1.service is left", func() error { // etcd may have elected a leader, which takes long for 3 s
		if on := active(t, l.Machines, "single@1.service"); !slices.Equal(on, []string{other.Name}) {
			return fmt.Errorf("single@1.service is active on %v, not on %s", on, other.Name)
		}
		return nil
	})
}

// single is an app that must not run twice, on that machine while it is there.
func single(m *Machine) string {
	return fmt.Sprintf(`apiVersion: fleet/v1
kind: App
metadata: {name: single}
spec:
  exec: {command: [/usr/bin/example-app, --listen, "${FLEET_MACHINE_IP}:3230"]}
  onPartition: stop
  placement: {prefer: {metadata: {machine: %s}}}
`, m.Name)
}

// done is when systemd ended its last job of that type, start or stop, for a unit: its own times of one that is stopped are forgotten.
func done(t *testing.T, m *Machine, job, unit string) time.Time {
	t.Helper()
	text, err := m.Exec(t.Context(), "sh", "-c", "journalctl -n 1 -o json _PID=1 UNIT="+unit+" JOB_TYPE="+job+" JOB_RESULT=done | jq -r .__REALTIME_TIMESTAMP")
	require.NoError(t, err)
	at, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	require.NoError(t, err)
	return time.UnixMicro(at)
}
