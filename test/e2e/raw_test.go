package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

// rawUnits are units that no App owns, as fleet's users write them. Each of them adds a line to one file whenever it starts, on
// whichever machine: what was restarted, moved or ran twice is there twice.
type rawUnits struct {
	prefix, started string
	n               int
}

// startRaw starts n instances of a template with those further options, and destroys them when the test ends.
func startRaw(t *testing.T, prefix string, n int, options string) *rawUnits {
	t.Helper()
	dir := t.TempDir()
	r := &rawUnits{prefix: prefix, started: filepath.Join(dir, "started"), n: n}
	text := "[Service]\nExecStartPre=/bin/sh -c 'echo %n >> " + r.started + "'\nExecStart=/bin/sleep infinity\n" + options
	require.NoError(t, os.WriteFile(filepath.Join(dir, prefix+"@.service"), []byte(text), 0o644))
	t.Cleanup(func() {
		run(t, "fleetctl destroy %s@{1..%d} %s@.service", prefix, n, prefix)
		eventually(t, 30*time.Second, "none runs any more", func() error {
			if left := r.running(t); len(left) > 0 {
				return fmt.Errorf("%v", left)
			}
			return nil
		})
	})
	run(t, "cd %s && fleetctl submit %s@.service && fleetctl start %[2]s@{1..%d}", dir, prefix, n)
	r.once(t)
	return r
}

// starts returns how often each unit was started.
func (r *rawUnits) starts(t *testing.T) map[string]int {
	t.Helper()
	data, err := os.ReadFile(r.started)
	require.NoError(t, err)
	starts := map[string]int{}
	for unit := range strings.FieldsSeq(string(data)) {
		starts[unit]++
	}
	return starts
}

// once checks that all units were started once and run.
func (r *rawUnits) once(t *testing.T) {
	t.Helper()
	starts := r.starts(t)
	require.Len(t, starts, r.n)
	for unit, n := range starts {
		require.Equal(t, 1, n, "%s was started again", unit)
	}
	require.Len(t, r.running(t), r.n)
}

// running returns the machine of each unit that runs, as the machines' systemds say.
func (r *rawUnits) running(t *testing.T) map[string]int {
	t.Helper()
	on := map[string]int{}
	for _, m := range allMachines {
		for line := range strings.Lines(run(t, "fleet-dev exec %d systemctl --user list-units --no-legend --plain '%s@*'", m, r.prefix)) {
			if f := strings.Fields(line); len(f) > 3 && f[2] == "active" {
				require.Zero(t, on[f[0]], "%s runs on machines %d and %d", f[0], on[f[0]], m)
				on[f[0]] = m
			}
		}
	}
	return on
}

// awayFor are the times without etcd of TestRawUnitsOutliveEtcd: 20 s, and others from the environment: E2E_ETCD_AWAY=60s,10m.
func awayFor(t *testing.T) []time.Duration {
	away := []time.Duration{20 * time.Second}
	for text := range strings.FieldsFuncSeq(os.Getenv("E2E_ETCD_AWAY"), func(c rune) bool { return c == ',' }) {
		d, err := time.ParseDuration(text)
		require.NoError(t, err)
		away = append(away, d)
	}
	return away
}

// TestRawUnitsOutliveEtcd: etcd is away, for longer than the leases of all machines. Afterwards nothing was moved, restarted or ran
// twice. (The original moved 20 of 30 units after 20 s, with up to 20 running twice.)
func TestRawUnitsOutliveEtcd(t *testing.T) {
	const units = 30
	r := startRaw(t, "outlives", units, "")
	before := r.running(t)
	for _, away := range awayFor(t) {
		run(t, "fleet-dev stop-etcd")
		time.Sleep(away)
		r.once(t)
		run(t, "fleet-dev start-etcd")
		time.Sleep(2*dev.DefaultAgentTTL + time.Second) // what would go wrong has its time
		r.once(t)
		require.Equal(t, before, r.running(t), "after %s without etcd", away)
		eventually(t, 20*time.Second, "fleet says so, too", func() error {
			if n := len(activeUnits(t, r.prefix)); n != units {
				return fmt.Errorf("%d of %d units are active", n, units)
			}
			return nil
		})
	}
}

// activeUnits returns the units with that prefix that fleetctl lists as active.
func activeUnits(t *testing.T, prefix string) (names []string) {
	t.Helper()
	for _, u := range units(t, prefix+"@") {
		if u.active == "active" {
			names = append(names, u.name)
		}
	}
	return names
}

// etcdCalls returns the calls of each kind that the cluster's etcd has answered, and its puts.
func etcdCalls(t *testing.T) map[string]float64 {
	t.Helper()
	calls := map[string]float64{}
	text := run(t, "curl -sf $ETCDCTL_ENDPOINTS/metrics")
	for _, match := range started.FindAllStringSubmatch(text, -1) {
		n, err := strconv.ParseFloat(match[2], 64)
		require.NoError(t, err)
		calls[match[1]] += n
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, "etcd_mvcc_put_total "); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			require.NoError(t, err)
			calls["puts"] = n
		}
	}
	require.NotZero(t, calls["puts"])
	return calls
}

// TestAtRestAHundredUnitsCostNothing: with 100 units on three machines etcd gets no put for 20 s, nor anything else but the keep-alives
// of leases and the reads of the caches, each of which compares itself with etcd every five minutes. (The original: 13 writes and 29
// reads a second.)
func TestAtRestAHundredUnitsCostNothing(t *testing.T) {
	const checks = 10 // of the caches of all programs, in 20 s
	r := startRaw(t, "rests", 100, "")
	eventually(t, 2*time.Minute, "20 s without another call", func() error {
		before := etcdCalls(t)
		time.Sleep(20 * time.Second)
		after, others := etcdCalls(t), ""
		for method, n := range after {
			d := n - before[method]
			if d > 0 && method != "LeaseKeepAlive" && (method != "Range" || d > checks) {
				others += fmt.Sprintf(" %s %.0f", method, d)
			}
		}
		require.Greater(t, after["LeaseKeepAlive"], before["LeaseKeepAlive"])
		if others != "" {
			return fmt.Errorf("calls beside keep-alives:%s", others)
		}
		t.Logf("%.0f keep-alives and %.0f reads in 20 s", after["LeaseKeepAlive"]-before["LeaseKeepAlive"], after["Range"]-before["Range"])
		return nil
	})
	r.once(t)
}

// TestCrashOfFleetdOrphansNothing: fleetd is killed with SIGKILL. Its units run on, are adopted when it is back, and one that was
// destroyed meanwhile is stopped.
func TestCrashOfFleetdOrphansNothing(t *testing.T) {
	r := startRaw(t, "crash", 6, "")
	before := r.running(t)
	m := before["crash@1.service"]
	run(t, "fleet-dev exec %d sh -c 'kill -9 $(systemctl --user show -p MainPID --value fleetd.service); systemctl --user stop fleetd.service'", m)
	run(t, "FLEETCTL_ENDPOINT=http://%s:%d fleetctl destroy --no-block crash@1", dev.Address(m%len(allMachines)+1), dev.APIPort)
	time.Sleep(time.Second) // without fleetd nothing stops it
	require.Equal(t, before, r.running(t), "all run on")
	run(t, "fleet-dev exec %d systemctl --user start fleetd.service", m)
	eventually(t, 20*time.Second, "what was destroyed is stopped", func() error {
		if on := r.running(t)["crash@1.service"]; on != 0 {
			return fmt.Errorf("it runs on machine %d", on)
		}
		return nil
	})
	time.Sleep(dev.DefaultAgentTTL + time.Second)
	delete(before, "crash@1.service")
	require.Equal(t, before, r.running(t), "the others were adopted where they ran")
	for unit, n := range r.starts(t) {
		require.Equal(t, 1, n, "%s was started again", unit)
	}
	require.Contains(t, run(t, "fleet-dev exec %d systemctl --user show -p LoadState crash@1.service", m), "not-found")
}

// TestMetadataMovesRawUnits: a unit with MachineMetadata= moves when the metadata of machines change, and waits while none has them.
func TestMetadataMovesRawUnits(t *testing.T) {
	change := func(op string, machine int) {
		t.Helper()
		id := strings.TrimSpace(run(t, "cat .dev/m%d/machine-id", machine))
		value := ""
		if op == "add" {
			value = `,"value":"yes"`
		}
		run(t, `curl -sf -X PATCH -H 'Content-Type: application/json' http://%s:%d/fleet/v1/machines -d '[{"op":"%s","path":"/%s/metadata/marked"%s}]'`,
			dev.Address(1), dev.APIPort, op, id, value)
	}
	change("add", 2)
	r := startRaw(t, "marked", 1, "[X-Fleet]\nMachineMetadata=marked=yes\n")
	const unit = "marked@1.service"
	on := func(machine int) {
		t.Helper()
		eventually(t, 20*time.Second, fmt.Sprintf("it runs on machine %d", machine), func() error {
			if m := r.running(t)[unit]; m != machine {
				return fmt.Errorf("it runs on machine %d", m)
			}
			return nil
		})
	}
	on(2)
	change("add", 3)
	time.Sleep(time.Second)
	on(2) // no reason to move
	change("remove", 2)
	on(3)
	change("remove", 3)
	on(0)
	require.Contains(t, run(t, "fleetctl describe unit %s", unit), "marked=yes")
	change("add", 1)
	on(1)
	change("remove", 1)
	require.Equal(t, 3, r.starts(t)[unit])
}
