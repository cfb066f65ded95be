package lab

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/load"
)

// The faults of docs/faults.md, each with its figures in the log of the test.

func TestPowerCutOfOneMachine(t *testing.T) {
	l := withLab(t)
	gone := running(t, l, "web@1.service")
	rest := others(l, gone)
	// Where it led, others have to be elected first; a new leader of etcd prolongs all leases.
	limit := ttl + 2*time.Second // agent_ttl + 1 s, and what it takes to look
	leads := leaderOf(t, l) == gone || etcdLeader(t, l) == gone
	if leads {
		limit += 5 * time.Second
	}
	requests := startLoad(t, rest...)
	require.NoError(t, gone.Kill(t.Context()))
	cut := time.Now()
	moved := within(t, time.Minute, "web@1.service is active elsewhere", func() error {
		if len(active(t, rest, "web@1.service")) != 1 {
			return errors.New("not active yet")
		}
		return nil
	})
	served(t, rest, 2)
	sent := requests.Stop()
	t.Logf("active elsewhere after %.1f s (agent_ttl %s, it led: %t); of the other machines %s", moved.Seconds(), ttl, leads, sent)
	require.Less(t, moved, limit)
	require.Empty(t, unexcused(sent.After(cut.Add(ttl+time.Second))), "requests fail after the move")

	require.NoError(t, gone.Boot(t.Context()))
	require.NoError(t, l.Joined(t.Context(), 3))
	served(t, l.Machines, 2)
	require.Len(t, active(t, l.Machines, "web@1.service"), 1)
}

func TestPowerCutOfAllMachines(t *testing.T) {
	l := withLab(t)
	before := placements(t, l.Machines[0])
	require.NoError(t, l.Each(func(m *Machine) error { return m.Kill(t.Context()) }))
	start := time.Now()
	require.NoError(t, l.Each(func(m *Machine) error { return m.Boot(t.Context()) }))
	served(t, l.Machines, 2)
	t.Logf("every router answers %.1f s after power is back", time.Since(start).Seconds())
	require.Equal(t, before, placements(t, l.Machines[0]))
}

func TestRebootFromInside(t *testing.T) {
	l := withLab(t)
	m := running(t, l, "web@1.service")
	rest := others(l, m)
	requests := startLoad(t, rest...)
	start := time.Now()
	require.NoError(t, m.Reboot(t.Context()))
	require.NoError(t, l.Joined(t.Context(), 3))
	served(t, l.Machines, 2)
	t.Logf("all routers serve both instances %.1f s after the reboot began; of the other machines %s", time.Since(start).Seconds(), requests.Stop())
	require.Len(t, active(t, l.Machines, "web@1.service"), 1)
}

// TestRebootWithoutEtcd: a machine that boots while it cannot reach etcd starts what it had.
func TestRebootWithoutEtcd(t *testing.T) {
	l := withLab(t)
	m := running(t, l, "web@2.service")
	for _, member := range l.members() { // also after a reboot
		_, err := member.Exec(t.Context(), "systemctl", "mask", "--now", "etcd.service")
		require.NoError(t, err)
	}
	require.NoError(t, m.Reboot(t.Context()))
	took := within(t, time.Minute, "what the machine had runs", func() error {
		if len(active(t, []*Machine{m}, "web@2.service")) == 0 {
			return errors.New("web@2.service is not active")
		}
		return nil
	})
	t.Logf("%s runs %.1f s after the machine has booted without etcd", "web@2.service", took.Seconds())
	for _, member := range l.members() {
		_, err := member.Exec(t.Context(), "sh", "-c", "systemctl unmask etcd.service && systemctl --no-block start etcd.service")
		require.NoError(t, err)
	}
	require.NoError(t, l.waitForEtcd(t.Context()))
	served(t, l.Machines, 2)
	require.Len(t, active(t, l.Machines, "web@2.service"), 1)
}

func TestLeaderIsCutOff(t *testing.T) {
	l := withLab(t)
	leader := leaderOf(t, l)
	rest := others(l, leader)
	requests := startLoad(t, rest...)
	require.NoError(t, l.Partition(t.Context(), leader.Name))
	took := within(t, time.Minute, "another machine leads", func() error {
		if now := leaderSeenBy(t, rest[0]); now == "" || now == leader.ID {
			return fmt.Errorf("%q leads", now)
		}
		return nil
	})
	for _, unit := range []string{"web@1.service", "web@2.service"} {
		within(t, time.Minute, unit+" is active on the other side", func() error {
			if len(active(t, rest, unit)) != 1 {
				return errors.New("not active yet")
			}
			return nil
		})
	}
	require.NoError(t, l.Heal(t.Context()))
	served(t, l.Machines, 2)
	within(t, time.Minute, "one copy of each remains", func() error {
		for _, unit := range []string{"web@1.service", "web@2.service"} {
			if on := active(t, l.Machines, unit); len(on) != 1 {
				return fmt.Errorf("%s is active on %v", unit, on)
			}
		}
		return nil
	})
	t.Logf("another machine leads after %.1f s; of the other machines %s", took.Seconds(), requests.Stop())
}

// noneLost ends the load: every request was answered.
func noneLost(t *testing.T, l *load.Load) {
	t.Helper()
	sent := l.Stop()
	t.Log(sent)
	require.Empty(t, sent.Failed)
}

// leaderSeenBy is the ID of the machine that leads.
func leaderSeenBy(t *testing.T, m *Machine) string {
	out, err := m.Exec(t.Context(), "etcdctl", "get", "--prefix", "--sort-by=CREATE", "--order=ASCEND", "--limit=1", "--print-value-only", "/fleet/leaders/")
	if err != nil {
		return ""
	}
	for _, o := range theLab.Machines {
		if strings.Contains(out, o.ID) {
			return o.ID
		}
	}
	return ""
}

func leaderOf(t *testing.T, l *Lab) *Machine {
	t.Helper()
	id := leaderSeenBy(t, l.Machines[0])
	for _, m := range l.Machines {
		if m.ID == id {
			return m
		}
	}
	t.Fatalf("no machine leads: %q", id)
	return nil
}

// etcdLeader is the machine with etcd's leader.
func etcdLeader(t *testing.T, l *Lab) *Machine {
	t.Helper()
	for _, m := range l.members() {
		status, err := m.Exec(t.Context(), "etcdctl", "endpoint", "status", "--endpoints", "http://"+m.Address+":2379")
		require.NoError(t, err)
		if f := strings.Split(status, ", "); len(f) > 4 && f[4] == "true" {
			return m
		}
	}
	t.Fatal("etcd has no leader")
	return nil
}

func TestEtcdMemberIsKilled(t *testing.T) {
	l := withLab(t)
	before, where := invocations(t, l.Machines), placements(t, l.Machines[0])
	requests := startLoad(t, l.Machines...)
	for _, m := range l.members() { // one of them leads etcd
		_, err := m.Exec(t.Context(), "systemctl", "kill", "--signal=SIGKILL", "etcd.service")
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		_, err = m.Exec(t.Context(), "systemctl", "start", "etcd.service")
		require.NoError(t, err)
		require.NoError(t, l.waitForEtcd(t.Context()))
	}
	noneLost(t, requests)
	require.Equal(t, where, placements(t, l.Machines[0]))
	after := invocations(t, l.Machines)
	for unit, id := range before {
		if !strings.HasSuffix(unit, "etcd.service") {
			require.Equal(t, id, after[unit], unit)
		}
	}
}

// TestUpgrade installs fleet's package again on one machine after the other: fleetd restarts, and nothing else.
func TestUpgrade(t *testing.T) {
	l := withLab(t)
	debs, err := packages()
	require.NoError(t, err)
	before := invocations(t, l.Machines)
	requests := startLoad(t, l.Machines...)
	for _, m := range l.Machines {
		was, err := m.Exec(t.Context(), "systemctl", "show", "-p", "MainPID", "--value", "fleetd.service")
		require.NoError(t, err)
		require.NoError(t, m.install(t.Context(), l, debs))
		now, err := m.Exec(t.Context(), "systemctl", "show", "-p", "MainPID", "--value", "fleetd.service")
		require.NoError(t, err)
		require.NotEqual(t, was, now)
		require.NoError(t, l.Joined(t.Context(), 3))
	}
	noneLost(t, requests)
	require.Equal(t, before, invocations(t, l.Machines))
}

// TestDirections: what is cut in one direction passes in the other, and a slow link is slow.
func TestDirections(t *testing.T) {
	l := withLab(t)
	m := l.Machines[0]
	require.NoError(t, l.Cut(t.Context(), []string{m.Name}, []string{Host}))
	_, err := get(t.Context(), m)
	require.Error(t, err)
	_, err = get(t.Context(), l.Machines[1])
	require.NoError(t, err)
	require.NoError(t, l.Heal(t.Context()))
	_, err = get(t.Context(), m)
	require.NoError(t, err)
	require.NoError(t, l.Slow(t.Context(), m, "1mbit"))
	shown, err := m.Exec(t.Context(), "tc", "qdisc", "show", "dev", "host0")
	require.NoError(t, err)
	require.Contains(t, shown, "rate 1Mbit")
	require.NoError(t, l.Heal(t.Context()))
	shown, err = m.Exec(t.Context(), "tc", "qdisc", "show", "dev", "host0")
	require.NoError(t, err)
	require.NotContains(t, shown, "rate")
}

// TestDiskIsFull: a machine whose disk is full goes on serving, and recovers by itself.
func TestDiskIsFull(t *testing.T) {
	l := withLab(t)
	m := l.Machines[2]
	before := invocations(t, l.Machines)
	requests := startLoad(t, l.Machines...)
	require.NoError(t, m.Fill(t.Context()))
	time.Sleep(5 * time.Second)
	require.NoError(t, m.Free(t.Context()))
	served(t, l.Machines, 2)
	noneLost(t, requests)
	after := invocations(t, l.Machines)
	for unit, id := range before {
		if !strings.HasSuffix(unit, "etcd.service") {
			require.Equal(t, id, after[unit], unit)
		}
	}
}
