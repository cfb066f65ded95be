package lab

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const sleepers = `apiVersion: fleet/v1
kind: App
metadata: {name: sleeper}
spec:
  replicas: 5
  exec: {command: [/bin/sleep, infinity]}
  update: {minReady: 1s}
`

// TestMostMachinesVanish: of five machines three lose their power at once, the leader's among them or not. When the third is missed
// nothing is moved any more, an event says so, and a person who drains those that will not come back has their units moved. Leases
// end up to a third of agent_ttl apart: what the first two ran may have been moved before.
func TestMostMachinesVanish(t *testing.T) {
	l := withLab(t)
	debs, err := packages()
	require.NoError(t, err)
	start := time.Now()
	require.NoError(t, l.Add(t.Context(), 2, debs...))
	t.Logf("two more machines have joined after %.1f s", time.Since(start).Seconds())
	t.Cleanup(func() {
		require.NoError(t, l.Each(func(m *Machine) error { // where the test failed
			if m.Up() {
				return nil
			}
			return m.Boot(context.Background())
		}))
		theRecorder.check(t) // the journals of machines that are removed are gone
		require.NoError(t, l.Remove(context.Background(), Members))
	})
	t.Run("the leader stays", func(t *testing.T) {
		member := l.members()[0]
		for _, m := range l.members() { // etcd keeps its quorum and its leader
			if m != leaderOf(t, l) && m != etcdLeader(t, l) {
				member = m
			}
		}
		vanish(t, l, member)
	})
	t.Run("the leader vanishes", func(t *testing.T) { vanish(t, l, leaderOf(t, l)) })
	// The two that are removed leave in order.
	for _, m := range l.Machines[Members:] {
		_, err := l.Machines[0].Exec(t.Context(), "fleetctl", "drain", m.ID)
		require.NoError(t, err)
	}
}

// vanish cuts the power of a member of etcd and of the two machines that are none, and brings them back.
func vanish(t *testing.T, l *Lab, member *Machine) {
	t.Helper()
	applied(t, "sleeper", sleepers)
	victims := []*Machine{member, l.Machines[3], l.Machines[4]}
	var rest []*Machine
	for _, m := range l.Machines {
		if !slices.Contains(victims, m) {
			rest = append(rest, m)
		}
	}
	events := func() (n int, last string, err error) {
		text, err := rest[0].Exec(t.Context(), "fleetctl", "events")
		for line := range strings.Lines(text) {
			if strings.Contains(line, "MachinesVanished") {
				n, last = n+1, strings.TrimSpace(line)
			}
		}
		return n, last, err
	}
	before, _, err := events()
	require.NoError(t, err)
	requests := startLoad(t, rest...)
	cut := time.Now()
	require.NoError(t, l.Each(func(m *Machine) error {
		if !slices.Contains(victims, m) {
			return nil
		}
		return m.Kill(t.Context())
	}))
	told := within(t, time.Minute, "an event", func() error {
		n, _, err := events() // etcd may elect its leader
		if err == nil && n == before {
			err = errors.New("no event says that machines vanished")
		}
		return err
	})
	frozen := placements(t, rest[0])
	kept := 0
	for _, m := range victims {
		if slices.ContainsFunc(frozen, func(key string) bool {
			return strings.Contains(key, m.ID) && !strings.HasSuffix(key, "/router.service")
		}) {
			kept++
		}
	}
	require.Positive(t, kept, "at most two are emptied before")
	time.Sleep(2 * ttl)
	require.Equal(t, frozen, placements(t, rest[0]), "nothing is moved")
	_, event, err := events()
	require.NoError(t, err)

	// As the runbook has it.
	released := time.Now()
	for _, m := range victims {
		_, err := rest[0].Exec(t.Context(), "fleetctl", "drain", m.ID)
		require.NoError(t, err)
	}
	within(t, time.Minute, "what they ran is moved", func() error {
		_, err := rest[0].Exec(t.Context(), "sh", "-c", "test $(fleetctl list-units --no-legend | grep -c '^sleeper.*active.*running') = 5")
		return err
	})
	moved := time.Since(released)
	served(t, rest, 2)
	sent := requests.Stop()
	t.Logf("told after %.1f s, when %d of 3 had kept their units: %s\nmoved %.1f s after a person released it; of the other machines %s", told.Seconds(), kept, event, moved.Seconds(), sent)
	require.Empty(t, unexcused(sent.After(cut.Add(10*time.Second))), "the routers have taken the dead instances out")

	require.NoError(t, l.Each(func(m *Machine) error {
		if !slices.Contains(victims, m) {
			return nil
		}
		return m.Boot(t.Context())
	}))
	for _, m := range victims {
		_, err := rest[0].Exec(t.Context(), "fleetctl", "uncordon", m.ID)
		require.NoError(t, err)
	}
	require.NoError(t, l.Joined(t.Context(), len(l.Machines)))
	_, err = rest[0].Exec(t.Context(), "fleetctl", "delete", "app/sleeper") // the next ones are spread over all machines
	require.NoError(t, err)
}
