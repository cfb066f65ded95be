package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/load"
)

// theLab is shared by all tests: each leaves it as it was, with all machines up and both apps served.
var (
	theLab      *Lab
	theRecorder *recorder
)

const ttl = 3 * time.Second // agent_ttl of the tests' machines

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	debs, err := packages()
	if err == nil {
		err = missing()
	}
	if err == nil {
		_, err = buildBase(context.Background()) // without the network there is none, if it is not cached
	}
	if err != nil {
		why = err
		return m.Run()
	}
	before := leftovers()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	start := time.Now()
	theLab, err = Start(ctx, Config{Dir: DefaultDir + "-test", Packages: debs, AgentTTL: ttl,
		Progress: func(step string) { fmt.Printf("%5.1f s  %s\n", time.Since(start).Seconds(), step) }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("three machines are ready after %.1f s\n", time.Since(start).Seconds())
	theRecorder, err = record(theLab)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := theRecorder.close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := theLab.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if after := leftovers(); after != before {
		fmt.Fprintf(os.Stderr, "the lab left something behind.\nbefore:\n%s\nafter:\n%s\n", before, after)
		return 1
	}
	return code
}

// why says why there is no lab here.
var why error

// packages are those that "make packages" builds. It removes those of another version.
func packages() ([]string, error) {
	debs, err := filepath.Glob("../../bin/packages/*.deb")
	if err == nil && len(debs) == 0 {
		err = errors.New("bin/packages has no package: make packages")
	}
	return debs, err
}

// leftovers lists what a lab may leave: mounts, links, cgroups and files.
func leftovers() string {
	out, err := run(context.Background(), "sh", "-c", `
mount | grep fleet-lab | sort
ip -o link | cut -d: -f2 | grep fleet-lab
ls -d /run/netns/fleet-lab /var/tmp/fleet-lab* 2>/dev/null
find /sys/fs/cgroup -maxdepth 2 -name 'fleet-lab*' | sort
true`)
	if err != nil {
		return err.Error()
	}
	return out
}

// withLab returns the lab with its apps served by every router.
func withLab(t *testing.T) *Lab {
	t.Helper()
	l := bareLab(t)
	for i, text := range []string{router, webApp} {
		name := fmt.Sprintf("/root/manifest-%d.yaml", i)
		require.NoError(t, l.Machines[0].Write(name, text))
		// The test before may have left etcd in an election.
		within(t, 2*time.Minute, "the lab's apps are applied", func() error {
			_, err := l.Machines[0].Exec(t.Context(), "fleetctl", "apply", "-f", name, "--wait", "--timeout", "1m")
			return err
		})
	}
	served(t, l.Machines, 2)
	return l
}

// bareLab returns the lab with all machines up, and with what runs on them.
func bareLab(t *testing.T) *Lab {
	t.Helper()
	if theLab == nil {
		t.Skipf("no real machines here: %v", why)
	}
	t.Cleanup(func() {
		theRecorder.check(t)
		if t.Failed() {
			for _, m := range theLab.Machines {
				said, _ := m.Exec(context.Background(), "sh", "-c", "fleetctl list-machines; fleetctl list-units; fleetctl events | tail -n 40; journalctl -u fleetd -n 40 --no-pager")
				t.Logf("%s:\n%s", m.Name, said)
			}
		}
	})
	require.NoError(t, theLab.Heal(t.Context()))
	require.NoError(t, theLab.Each(func(m *Machine) error {
		if m.Up() {
			return nil
		}
		return m.Boot(t.Context())
	}))
	return theLab
}

var router = func() string {
	text, err := os.ReadFile("../../manifests/examples/router.yaml")
	if err != nil {
		panic(err)
	}
	return strings.ReplaceAll(string(text), "example.com", "lab.example")
}()

const webApp = `apiVersion: fleet/v1
kind: App
metadata: {name: web}
spec:
  replicas: 2
  exec: {command: [/usr/bin/example-app, --listen, "${FLEET_MACHINE_IP}:3000", --instance, "%n"]}
  ports: [{name: http, port: 3000}]
  placement: {conflicts: [web@*.service]}
  announce: {port: http}
  healthCheck: {http: {path: /healthz}, interval: 1s}
  route: {hosts: [web.lab.example]}
`

// fleetctl runs fleetctl on the first machine that is up; it must succeed.
func fleetctl(t *testing.T, args string) string {
	t.Helper()
	for _, m := range theLab.Machines {
		if m.Up() {
			out, err := m.Exec(t.Context(), append([]string{"fleetctl"}, strings.Fields(args)...)...)
			require.NoError(t, err)
			return out
		}
	}
	t.Fatal("no machine is up")
	return ""
}

// within polls until check passes and returns how long it took.
func within(t *testing.T, limit time.Duration, what string, check func() error) time.Duration {
	t.Helper()
	start := time.Now()
	err := poll(t.Context(), limit, check)
	require.NoError(t, err, what)
	return time.Since(start)
}

// served waits until the routers of the machines send requests to so many instances of the app.
func served(t *testing.T, machines []*Machine, instances int) {
	t.Helper()
	for _, m := range machines {
		within(t, time.Minute, "served by the router of "+m.Name, func() error {
			seen := map[string]bool{}
			for range 5 * instances {
				instance, err := get(t.Context(), m)
				if err != nil {
					return err
				}
				seen[instance] = true
			}
			if len(seen) != instances {
				return fmt.Errorf("%v answer, not %d instances", seen, instances)
			}
			return nil
		})
	}
}

// get asks the router of a machine, from this computer over a new connection, which instance of the app web answers.
func get(ctx context.Context, m *Machine) (string, error) { return getFrom(ctx, m, "web.lab.example") }

func getFrom(ctx context.Context, m *Machine, host string) (string, error) {
	return getPath(ctx, m, host, "/instance")
}

func getPath(ctx context.Context, m *Machine, host, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.Address+path, nil)
	if err != nil {
		return "", err
	}
	req.Host = host
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return strings.TrimSpace(string(body)), err
}

// startLoad sends GETs and POSTs to the web app through the routers of the machines, from this computer, over new and kept connections.
func startLoad(t *testing.T, machines ...*Machine) *load.Load {
	t.Helper()
	return startLoadOn(t, "web.lab.example", machines...)
}

func startLoadOn(t *testing.T, host string, machines ...*Machine) *load.Load {
	t.Helper()
	var targets []load.Target
	for _, m := range machines {
		targets = append(targets, load.Target{Name: m.Name, Address: m.Address + ":80", Host: host})
	}
	l := load.Start(targets...)
	t.Cleanup(func() { l.Stop() })
	return l
}

// active are the machines that run a unit, as systemd on each of them says.
func active(t *testing.T, machines []*Machine, unit string) (names []string) {
	t.Helper()
	for _, m := range machines {
		if state, _ := m.Exec(t.Context(), "systemctl", "is-active", unit); strings.TrimSpace(state) == "active" {
			names = append(names, m.Name)
		}
	}
	return names
}

// invocations are what runs of the apps, by machine and unit: a restart changes a value.
func invocations(t *testing.T, machines []*Machine) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range machines {
		for _, unit := range []string{"web@1.service", "web@2.service", "web-discovery@1.service", "web-discovery@2.service", "router.service", "docker.service", "etcd.service"} {
			id, err := m.Exec(t.Context(), "systemctl", "show", "-p", "InvocationID", "--value", unit)
			require.NoError(t, err)
			if state, _ := m.Exec(t.Context(), "systemctl", "is-active", unit); strings.TrimSpace(state) == "active" {
				all[m.Name+" "+unit] = strings.TrimSpace(id)
			}
		}
	}
	return all
}

// placements are where units are placed, as etcd has it.
func placements(t *testing.T, m *Machine) []string {
	t.Helper()
	out, err := m.Exec(t.Context(), "etcdctl", "get", "--prefix", "--keys-only", "/fleet/placements/")
	require.NoError(t, err)
	return slices.Sorted(slices.Values(strings.Fields(out)))
}

// others are the machines but one.
func others(l *Lab, but *Machine) (machines []*Machine) {
	for _, m := range l.Machines {
		if m != but {
			machines = append(machines, m)
		}
	}
	return machines
}

// running returns the machine that runs a unit.
func running(t *testing.T, l *Lab, unit string) *Machine {
	t.Helper()
	names := active(t, l.Machines, unit)
	require.Len(t, names, 1, unit)
	m, err := l.Machine(names[0])
	require.NoError(t, err)
	return m
}
