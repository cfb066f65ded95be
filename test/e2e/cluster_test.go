package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

// top is the directory of the checkout.
var top = func() string {
	dir, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return dir
}()

// TestMain brings one cluster up for all tests, the way a newcomer does, and takes it down again.
func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) (code int) {
	if _, err := dev.Connect(filepath.Join(top, ".dev")); err == nil {
		fmt.Fprintln(os.Stderr, "a local cluster is up in this checkout and the tests need its addresses: make down")
		return 1
	}
	before := leftovers()
	defer func() {
		if err := closeLab(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		if out, err := shell("make -s down"); err != nil {
			fmt.Fprintf(os.Stderr, "make down: %v\n%s", err, out)
			code = 1
		}
		if left := added(before, leftovers()); len(left) > 0 {
			fmt.Fprintf(os.Stderr, "make down left something behind:\n%s\n", strings.Join(left, "\n"))
			code = 1
		}
	}()
	start := time.Now()
	out, err := shell("make -s up")
	if err != nil {
		fmt.Fprintf(os.Stderr, "make up: %v\n%s", err, out)
		dumpLogs()
		return 1
	}
	fmt.Printf("make up took %.1f s\n", time.Since(start).Seconds())
	code = m.Run()
	if code != 0 {
		dumpLogs()
	}
	return code
}

// freshCluster replaces the cluster by a new one.
func freshCluster(t *testing.T) {
	t.Helper()
	out, err := shell("make -s down && make -s up")
	require.NoError(t, err, "%s", out)
}

// dumpLogs prints the controllers' logs, so that a failure can be understood without running the test again.
func dumpLogs() {
	out, _ := shell(". .dev/env; fleet-dev logs --no-pager -n 400; fleetctl list-units; fleetctl events")
	fmt.Fprintln(os.Stderr, out)
}

// leftovers lists processes, mounts and files that a cluster may leave behind.
func leftovers() string {
	out, _ := shell(`
ps -eo args | grep -E '^[^ ]*(fleetd|fleet-dev|announcer|router|example-app|nginx|systemd --user|systemd-journald)' | grep -vE 'grep|defunct' | sort
mount | grep -E 'fleet-' | sort
ls -d ${TMPDIR:-/tmp}/fleet-[0-9]* .dev 2>/dev/null
find /sys/fs/cgroup -maxdepth 2 -name 'fleet-*' ! -name 'fleet-lab*' 2>/dev/null | sort
ip -o link 2>/dev/null | cut -d: -f2 | grep fleet- | sort
true`)
	return out
}

// added are the lines of after that before does not have, or not so often. Other tests, which run beside these, may remove theirs.
func added(before, after string) (lines []string) {
	had := map[string]int{}
	for line := range strings.Lines(before) {
		had[line]++
	}
	for line := range strings.Lines(after) {
		if had[line]--; had[line] < 0 {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

func TestAdded(t *testing.T) {
	require.Equal(t, []string{"fleetd", "/tmp/fleet-2"}, added("fleetd\n/tmp/fleet-1\n", "fleetd\nfleetd\n/tmp/fleet-2\n"))
	require.Empty(t, added("fleetd\n/tmp/fleet-1\n", "fleetd\n"))
}

// shell runs a command line in the checkout with the environment of a new user.
func shell(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir = top
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// run runs a command line with .dev/env sourced; it must succeed.
func run(t *testing.T, format string, args ...any) string {
	t.Helper()
	out, err := try(format, args...)
	require.NoError(t, err, "%s\n%s", fmt.Sprintf(format, args...), out)
	return out
}

// try is like run for a command that may fail.
func try(format string, args ...any) (string, error) {
	return shell(". .dev/env; " + fmt.Sprintf(format, args...))
}

// busy is the least that eventually waits: on a computer that is busy with other tests, what takes a second may take ten. What must not
// take longer is measured where it is promised.
const busy = 30 * time.Second

// eventually waits until check passes and fails with its last error. Within 0, it checks once.
func eventually(t *testing.T, within time.Duration, what string, check func() error) {
	t.Helper()
	if within > 0 {
		within = max(within, busy)
	}
	deadline := time.Now().Add(within)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(t, err, "%s: not within %s", what, within)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// unit is one row of "fleetctl list-units".
type unit struct{ name, id, ip, active, sub string }

// units returns the rows of "fleetctl list-units" whose name begins with prefix.
func units(t *testing.T, prefix string) []unit {
	t.Helper()
	var list []unit
	for line := range strings.Lines(run(t, "fleetctl list-units --no-legend --full --fields unit,machine,active,sub,phase")) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], prefix) {
			continue
		}
		id, ip, _ := strings.Cut(f[1], "/")
		list = append(list, unit{name: f[0], id: id, ip: ip, active: f[2], sub: f[3]})
	}
	return list
}

// machineOf returns the number of the unit's machine.
func machineOf(t *testing.T, name string) int {
	t.Helper()
	for _, u := range units(t, name) {
		var n int
		if _, err := fmt.Sscanf(u.ip, "127.0.0.%d", &n); err == nil {
			return n - 10
		}
	}
	require.Failf(t, "no machine", "unit %s is on none", name)
	return 0
}

// endpoints returns the addresses announced for an app, by instance.
func endpoints(t *testing.T, app string) map[string]string {
	t.Helper()
	lines := strings.Fields(run(t, "etcdctl get --prefix /services/web/%s/", app))
	found := map[string]string{}
	for i := 0; i+1 < len(lines); i += 2 {
		found[filepath.Base(lines[i])] = lines[i+1]
	}
	return found
}

// announced waits until exactly these instances of the app are announced.
func announced(t *testing.T, app string, instances ...string) {
	t.Helper()
	eventually(t, 60*time.Second, "announced", func() error {
		found := endpoints(t, app)
		for _, i := range instances {
			if found[i] == "" {
				return fmt.Errorf("%s is not announced, only %v", i, found)
			}
		}
		if len(found) != len(instances) {
			return fmt.Errorf("%v are announced instead of %v", found, instances)
		}
		return nil
	})
}

// settled waits until the app is Ready.
func settled(t *testing.T, app string) {
	t.Helper()
	eventually(t, 90*time.Second, app+" is ready", func() error {
		out, err := try(`fleetctl get app %s -o json | jq -r '.status.conditions[]? | select(.type=="Ready") | .status + " " + .reason + " " + (.message // "")'`, app)
		if err != nil || !strings.HasPrefix(out, "True") {
			return fmt.Errorf("%s %w", out, errOr(err))
		}
		return nil
	})
}

func errOr(err error) error {
	if err == nil {
		return fmt.Errorf("not ready")
	}
	return err
}

// invocations returns the invocation ID of every unit of fleet on every machine, from systemd itself: it
// changes when a unit is restarted.
func invocations(t *testing.T) map[string]string {
	t.Helper()
	ids := map[string]string{}
	for n := 1; n <= dev.DefaultMachines; n++ {
		out, err := try("fleet-dev exec %d systemctl --user show -p Id,InvocationID,ActiveState 'example-app*' 'router*' 'greeter*'", n)
		if err != nil {
			continue // a machine that is down runs nothing
		}
		for block := range strings.SplitSeq(out, "\n\n") {
			var id, invocation, active string
			for line := range strings.Lines(block) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
				switch k {
				case "Id":
					id = v
				case "InvocationID":
					invocation = v
				case "ActiveState":
					active = v
				}
			}
			if active == "active" {
				ids[fmt.Sprintf("m%d/%s", n, id)] = invocation
			}
		}
	}
	return ids
}

// running returns how many machines run the unit, from systemd itself.
func running(t *testing.T, name string) int {
	t.Helper()
	n := 0
	for key := range invocations(t) {
		if strings.HasSuffix(key, "/"+name) {
			n++
		}
	}
	return n
}
