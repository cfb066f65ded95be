package lab

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// ledger is an app of a container whose release command writes down, in a directory of its machine, when it begins and ends, and
// takes that many seconds. It ends on SIGTERM, which the first process of a container does only if it says so. rest is put at the end
// of the manifest.
func ledger(version int, takes, rest string) string {
	return fmt.Sprintf(`apiVersion: fleet/v1
kind: App
metadata: {name: ledger}
spec:
  replicas: 2
  container:
    image: localhost:5000/tools:1
    pull: Never
    command: [/bin/sh, -c]
    args: [%q]
    volumes: ["/root/ledger:/data"]
  env: {VERSION: "%d"}
  release:
    command: [/bin/sh, -c, %q]
    timeout: 20s
  update: {minReady: 1s, healthyDeadline: 8s}
%s`, stays, version, `trap 'exit 1' TERM; echo migrating to $VERSION; echo begin $VERSION >> /data/runs; sleep `+takes+` & wait $!; echo end $VERSION >> /data/runs`, rest)
}

// runs is what the release commands on a machine have written down.
func runs(t *testing.T, m *Machine) []string {
	t.Helper()
	text, err := m.Exec(t.Context(), "sh", "-c", "cat /root/ledger/runs 2>/dev/null || true")
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(text), "\n")
}

// ran are the machines on which a line was written down, one for each time.
func ran(t *testing.T, l *Lab, line string) (machines []*Machine) {
	t.Helper()
	for _, m := range l.Machines {
		if !m.Up() {
			continue
		}
		for _, r := range runs(t, m) {
			if r == line {
				machines = append(machines, m)
			}
		}
	}
	return machines
}

// begins waits until a release command of a version runs on one of the machines.
func begins(t *testing.T, l *Lab, version int) *Machine {
	t.Helper()
	var on []*Machine
	within(t, 30*time.Second, fmt.Sprintf("the release command of version %d begins", version), func() error {
		if on = ran(t, l, fmt.Sprintf("begin %d", version)); len(on) != 1 {
			return fmt.Errorf("it has begun %d times", len(on))
		}
		return nil
	})
	return on[0]
}

// began is when the release command of a version began on a machine, by its own words in the journal.
func began(t *testing.T, m *Machine, version int) time.Time {
	t.Helper()
	text, err := m.Exec(t.Context(), "sh", "-c", fmt.Sprintf(
		`journalctl -u ledger-release.service -o json | jq -r 'select(.MESSAGE == "migrating to %d").__REALTIME_TIMESTAMP'`, version))
	require.NoError(t, err)
	at, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64) // it is there once
	require.NoError(t, err, text)
	return time.UnixMicro(at)
}

// complete waits until all instances are of the newest revision.
func complete(t *testing.T, m *Machine, revision int) {
	t.Helper()
	within(t, time.Minute, fmt.Sprintf("revision %d is rolled out", revision), func() error {
		text, err := m.Exec(t.Context(), "fleetctl", "get", "app/ledger", "-o", "json")
		if err == nil && (!strings.Contains(text, fmt.Sprintf("2 of 2 instances are of revision %d", revision)) || !strings.Contains(text, "2 of 2 instances are ready")) {
			err = fmt.Errorf("%s", text)
		}
		return err
	})
}

// TestReleaseOnMachines: a release command runs in a container of the app's image, with its environment and volumes, once for each
// revision. When its machine is lost or cut off in the middle it is run again on another one, after it was stopped where it still ran,
// and the roll-out goes on; where no other machine fits the revision is rejected.
func TestReleaseOnMachines(t *testing.T) {
	l := withLab(t)
	for _, m := range l.Machines {
		_, err := m.Exec(t.Context(), "sh", "-c", toolsImage+"; rm -rf /root/ledger; mkdir /root/ledger")
		require.NoError(t, err)
	}
	first := l.Machines[0]
	t.Run("once for a revision", func(t *testing.T) {
		start := time.Now()
		require.NoError(t, applyOn(t, first, ledger(1, "1", ""), "--wait", "--timeout", "1m"))
		t.Logf("released and rolled out after %.1f s", time.Since(start).Seconds())
		require.NoError(t, applyOn(t, first, ledger(1, "1", ""), "--wait", "--timeout", "1m"))
		require.Len(t, ran(t, l, "begin 1"), 1)
		require.Equal(t, ran(t, l, "begin 1"), ran(t, l, "end 1"))
		require.Contains(t, fleetctl(t, "logs ledger-release"), "migrating to 1", "with the app's environment")
		require.NoError(t, applyOn(t, first, ledger(2, "1", ""), "--wait", "--timeout", "1m"))
		require.Len(t, ran(t, l, "begin 2"), 1)
		require.Len(t, ran(t, l, "end 1"), 1)
		require.Contains(t, fleetctl(t, "logs ledger-release"), "migrating to 2")
	})
	t.Cleanup(func() {
		ctx := context.Background() // that of the test has ended
		require.NoError(t, l.Heal(ctx))
		require.NoError(t, l.Each(func(m *Machine) error { // where the test failed
			if m.Up() {
				return nil
			}
			return m.Boot(ctx)
		}))
		_, err := first.Exec(ctx, "fleetctl", "delete", "app/ledger")
		require.NoError(t, err)
		containers(t, ctx, l, 0)
	})
	t.Run("its machine loses its power", func(t *testing.T) {
		require.NoError(t, applyOn(t, first, ledger(3, "4", "")))
		m := begins(t, l, 3)
		require.NoError(t, m.Kill(t.Context()))
		cut := time.Now()
		other := begins(t, l, 3) // of those that are up
		again := time.Since(cut)
		require.Less(t, again, ttl+7*time.Second, "5 s more where the machine led etcd")
		complete(t, other, 3)
		t.Logf("it runs again %.1f s after the power was cut", again.Seconds())
		require.NoError(t, m.Boot(t.Context()))
		require.NoError(t, l.Joined(t.Context(), len(l.Machines)))
		time.Sleep(2 * ttl)
		require.Equal(t, "begin 3", runs(t, m)[len(runs(t, m))-1], "it is not run again where it was cut off")
		require.Equal(t, []*Machine{other}, ran(t, l, "end 3"))
		require.Len(t, ran(t, l, "begin 3"), 2)
	})
	t.Run("its machine is cut off", func(t *testing.T) {
		require.NoError(t, applyOn(t, first, ledger(4, "12", "")))
		m := begins(t, l, 4)
		rest := others(l, m)
		require.NoError(t, l.Partition(t.Context(), m.Name))
		cut := time.Now()
		var other *Machine
		within(t, ttl+12*time.Second, "it runs on the other side", func() error {
			for _, o := range rest {
				if slices.Contains(runs(t, o), "begin 4") {
					other = o
					return nil
				}
			}
			return fmt.Errorf("not yet")
		})
		stopped, started := done(t, m, "stop", "ledger-release.service"), began(t, other, 4)
		t.Logf("stopped %.1f s after the cut, and run elsewhere %.1f s later", stopped.Sub(cut).Seconds(), started.Sub(stopped).Seconds())
		require.True(t, stopped.Before(started), "stopped at %s, run elsewhere at %s", stopped, started)
		complete(t, other, 4)
		require.NoError(t, l.Heal(t.Context()))
		require.NoError(t, l.Joined(t.Context(), len(l.Machines)))
		require.Equal(t, []*Machine{other}, ran(t, l, "end 4"), "it ended once")
	})
	t.Run("no other machine fits", func(t *testing.T) {
		victim := l.Machines[1]
		watcher := others(l, victim)[0]
		at := fmt.Sprintf("  placement: {machineMetadata: {machine: %s}}\n", victim.Name)
		require.NoError(t, applyOn(t, watcher, ledger(5, "1", at), "--wait", "--timeout", "1m"))
		require.NoError(t, applyOn(t, watcher, ledger(6, "12", at)))
		require.Equal(t, victim, begins(t, l, 6))
		require.NoError(t, victim.Kill(t.Context()))
		cut := time.Now()
		rejected := within(t, time.Minute, "the revision is rejected", func() error {
			text, err := watcher.Exec(t.Context(), "fleetctl", "history", "app/ledger")
			if err == nil && !strings.Contains(text, "ejected") {
				err = fmt.Errorf("%s", text)
			}
			return err
		})
		text, err := watcher.Exec(t.Context(), "fleetctl", "describe", "app/ledger")
		require.NoError(t, err)
		require.Contains(t, text, "its release command")
		t.Logf("rejected %.1f s after the power was cut:\n%s", rejected.Seconds(), text)
		require.Less(t, time.Since(cut), 20*time.Second+8*time.Second+2*time.Second, "its timeout and update.healthyDeadline")
		require.Contains(t, text, "is on a machine that is not present, and fits on no other one")
		require.NoError(t, victim.Boot(t.Context()))
		require.NoError(t, l.Joined(t.Context(), len(l.Machines)))
		complete(t, watcher, 5)
		require.Len(t, ran(t, l, "begin 6"), 1, "the command of a rejected revision is not run again")
		require.Empty(t, ran(t, l, "end 6"))
	})
}
