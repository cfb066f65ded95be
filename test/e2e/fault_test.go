package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

var (
	allMachines = []int{1, 2, 3}
	both        = []string{"example-app@1", "example-app@2"}
)

// calm is the state in which every test here begins and ends: both instances on different machines, announced and served.
func calm(t *testing.T) {
	t.Helper()
	eventually(t, 30*time.Second, "applied", func() error { // etcd may have come back this moment
		out, err := try("fleetctl apply -f manifests/dev --wait --timeout 2m")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	announced(t, app, both...)
	servedBy(t, allMachines, both...)
	require.Equal(t, 1, running(t, "example-app@1.service"))
	require.Equal(t, 1, running(t, "example-app@2.service"))
	require.NotEqual(t, machineOf(t, "example-app@1.service"), machineOf(t, "example-app@2.service"), "Conflicts keeps them apart")
}

func TestStopAndStart(t *testing.T) {
	calm(t)
	stream := startTraffic(t, allMachines...)
	run(t, "fleetctl stop example-app@1.service")
	announced(t, app, "example-app@2")
	servedBy(t, allMachines, "example-app@2")
	eventually(t, 10*time.Second, "stopped with its sidekick", func() error {
		if n := running(t, "example-app@1.service") + running(t, "example-app-discovery@1.service"); n > 0 {
			return fmt.Errorf("%d of the two still run", n)
		}
		return nil
	})
	run(t, "fleetctl start example-app@1.service")
	calm(t)
	stream.noOutage(t, allMachines...)
}

func TestProcessKilled(t *testing.T) {
	calm(t)
	m := machineOf(t, "example-app@1.service")
	before := invocations(t)
	created := "etcdctl get /services/web/example-app/example-app@1 -w json | jq .kvs[0].create_revision"
	announcedAt := run(t, "%s", created)
	stream := startTraffic(t, allMachines...)
	run(t, "fleet-dev exec %d systemctl --user kill -s KILL example-app@1.service", m)
	key := fmt.Sprintf("m%d/example-app@1.service", m)
	eventually(t, 20*time.Second, "systemd restarts it", func() error {
		if now := invocations(t)[key]; now == "" || now == before[key] {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	calm(t)
	stream.noOutageBut(t, underWay(), allMachines...)
	require.Equal(t, m, machineOf(t, "example-app@1.service"), "a crash moves nothing")
	require.NotEqual(t, announcedAt, run(t, "%s", created), "its sidekick took the endpoint away and brought it back")
}

func TestUnhealthyInstanceIsWithdrawn(t *testing.T) {
	calm(t)
	address := endpoints(t, app)["example-app@1"]
	before := invocations(t)
	stream := startTraffic(t, allMachines...)
	run(t, "curl -sf -X POST 'http://%s/control/health?ok=false'", address)
	announced(t, app, "example-app@2")
	servedBy(t, allMachines, "example-app@2")
	run(t, "curl -sf -X POST 'http://%s/control/health?ok=true'", address)
	announced(t, app, both...)
	servedBy(t, allMachines, both...)
	stream.noOutage(t, allMachines...)
	require.Equal(t, before, invocations(t), "nothing was restarted")
}

func TestMachineKilled(t *testing.T) {
	calm(t)
	m := machineOf(t, "example-app@2.service")
	var rest []int
	for _, n := range allMachines {
		if n != m {
			rest = append(rest, n)
		}
	}
	stream := startTraffic(t, rest...)
	run(t, "fleet-dev kill-machine %d", m)
	eventually(t, 60*time.Second, "placed on another machine", func() error {
		for _, u := range units(t, "example-app@2.service") {
			if u.ip != dev.Address(m) && u.active == "active" {
				return nil
			}
		}
		return fmt.Errorf("%v", units(t, "example-app@2.service"))
	})
	announced(t, app, both...)
	servedBy(t, rest, both...)
	stream.noOutageBut(t, underWay(), rest...)
	run(t, "fleetctl apply -f manifests/dev --wait --timeout 20s") // a global app is not short of a machine that is away
	returned := time.Now().Unix()
	run(t, "fleet-dev start-machine %d", m)
	eventually(t, 30*time.Second, "three machines", func() error {
		if out := run(t, "fleetctl list-machines --no-legend"); strings.Count(out, "\n") != 3 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	calm(t)
	if os.Geteuid() == 0 { // an ordinary user's machines have one journal
		journal := fmt.Sprintf("journalctl -q -D .dev/m%d/journal --since @%d -o cat USER_UNIT=", m, returned)
		require.NotEmpty(t, run(t, "%s", journal+"router.service"), "what systemd says of the units that it starts")
		require.Empty(t, run(t, "%s", journal+"example-app@2.service"), "it runs elsewhere now, and was not even started here")
	}
}

// The instances of a drained machine move without an outage; those that fit nowhere else stay.
func TestDrain(t *testing.T) {
	calm(t)
	idOf := func(unit string) string { return units(t, unit)[0].id }
	stream := startTraffic(t, allMachines...)
	from := idOf("example-app@1.service")
	out := run(t, "fleetctl drain %s --timeout 1m", from)
	require.Contains(t, out, "machine/"+from+" drained")
	for _, u := range units(t, "") {
		require.True(t, u.id != from || u.name == "router.service", "%v is still there", u)
	}
	announced(t, app, both...) // the second one may go when the first is back
	other := idOf("example-app@2.service")
	out, err := try("fleetctl drain %s --timeout 3s", other)
	require.Error(t, err)
	require.Contains(t, out, "0 of 2 other machines fit example-app@2.service")
	require.Equal(t, other, idOf("example-app@2.service"))
	require.Contains(t, run(t, "fleetctl uncordon %s %s", from, other), "machine/"+other+" uncordoned")
	calm(t)
	stream.noOutage(t, allMachines...)
}

func TestFleetdKilled(t *testing.T) {
	calm(t)
	units, keys := invocations(t), run(t, "etcdctl get --prefix /services/web/ -w json | jq '.kvs'")
	stream := startTraffic(t, allMachines...)
	for _, m := range allMachines { // one of them leads
		pid := strings.TrimSpace(run(t, "fleet-dev exec %d systemctl --user show -p MainPID --value fleetd.service", m))
		run(t, "kill -9 %s", pid)
		eventually(t, 30*time.Second, "fleetd is back", func() error {
			now, err := try("curl -sf http://%s:%d/readyz && fleet-dev exec %d systemctl --user show -p MainPID --value fleetd.service", dev.Address(m), dev.APIPort, m)
			if err != nil || strings.HasSuffix(strings.TrimSpace(now), pid) {
				return fmt.Errorf("%s %v", now, err)
			}
			return nil
		})
	}
	time.Sleep(15 * time.Second) // longer than the leases of machines and leader: what would go wrong has its time
	stream.noOutage(t, allMachines...)
	require.Equal(t, units, invocations(t), "no unit restarted or moved")
	require.JSONEq(t, keys, run(t, "etcdctl get --prefix /services/web/ -w json | jq '.kvs'"), "no endpoint was touched")
	calm(t)
}

func TestEtcdAway(t *testing.T) {
	calm(t)
	units := invocations(t)
	addresses := endpoints(t, app)
	stream := startTraffic(t, allMachines...)
	run(t, "fleet-dev stop-etcd")
	time.Sleep(40 * time.Second) // longer than any lease
	run(t, "fleet-dev start-etcd")
	time.Sleep(20 * time.Second) // two TTLs of a machine
	stream.noOutage(t, allMachines...)
	require.Equal(t, units, invocations(t), "nothing restarted or moved")
	require.Equal(t, addresses, endpoints(t, app))
	calm(t)
}

// exampleApp writes a changed dev manifest and returns its path.
func exampleApp(t *testing.T, oldNew ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(top, "manifests/dev/example-app.yaml"))
	require.NoError(t, err)
	changed := strings.NewReplacer(oldNew...).Replace(string(text))
	require.NotEqual(t, string(text), changed)
	file := filepath.Join(t.TempDir(), "example-app.yaml")
	require.NoError(t, os.WriteFile(file, []byte(changed), 0o644))
	return file
}

func TestRollOut(t *testing.T) {
	calm(t)
	before := invocations(t)
	stream := startTraffic(t, allMachines...)
	run(t, "fleetctl apply -f %s --wait --timeout 2m", exampleApp(t, "\nspec:\n", "\nspec:\n  env:\n    EXAMPLE_VERSION: \"2\"\n"))
	servedBy(t, allMachines, both...)
	stream.noOutage(t, allMachines...)
	for key, id := range invocations(t) {
		if strings.Contains(key, "/example-app@") {
			require.NotEqual(t, before[key], id, "%s was replaced", key)
		}
	}
	require.Equal(t, "2", strings.TrimSpace(run(t, "curl -sf -H 'Host: example-app.localhost' http://127.0.0.11:8080/version")))
	calm(t)
}

func TestRollOutStops(t *testing.T) {
	calm(t)
	stream := startTraffic(t, allMachines...)
	file := exampleApp(t, "\nspec:\n", "\nspec:\n  update:\n    healthyDeadline: 5s\n  env:\n    EXAMPLE_FAIL_HEALTH: \"true\"\n")
	out, err := try("fleetctl apply -f %s --wait --timeout 1m", file)
	require.Error(t, err)
	require.Contains(t, out, "RolloutStalled")
	require.Len(t, endpoints(t, app), 1, "the other instance was left alone")
	require.Contains(t, run(t, "fleetctl describe app example-app"), "RolloutStalled")
	stream.noOutage(t, allMachines...)
	calm(t)
}

func TestFitsNowhere(t *testing.T) {
	calm(t)
	run(t, `fleetctl apply -f - <<'END'
apiVersion: fleet/v1
kind: App
metadata:
  name: greeter
spec:
  exec:
    command: ["%%t/fleet/bin/example-app", "--listen", "${FLEET_MACHINE_IP}:3100"]
  placement:
    machineMetadata:
      zone: mars
END`)
	defer run(t, "fleetctl delete app greeter")
	for _, command := range []string{"fleetctl describe app greeter", "fleetctl list-units -o wide"} {
		eventually(t, 10*time.Second, command, func() error {
			if out := run(t, "%s", command); !strings.Contains(out, "zone=mars") {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
	}
}

func TestManifestWithEtcdctl(t *testing.T) {
	calm(t)
	manifest := `apiVersion: fleet/v1
kind: App
metadata:
  name: greeter
spec:
  exec:
    command: ["%t/fleet/bin/example-app", "--listen", "${FLEET_MACHINE_IP}:3100", "--instance", "%n"]
  ports:
  - port: 3100
  announce: {}
  route:
    hosts: [greeter.localhost]
`
	put := func(text string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "greeter.yaml")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		run(t, "etcdctl put /fleet/apps/greeter < %s", file)
	}
	put(manifest)
	settled(t, "greeter")
	announced(t, "greeter", "greeter@1")
	before := invocations(t)
	for name, broken := range map[string]struct{ text, line string }{
		"broken YAML":   {manifest + "  - : [\n", "line 13"},
		"unknown field": {manifest + "  colour: blue\n", "line 13: spec.colour"},
		"wrong type":    {manifest + "  replicas: many\n", "line 13: spec.replicas"},
	} {
		put(broken.text)
		eventually(t, 10*time.Second, name, func() error {
			out := run(t, "fleetctl get app greeter -o yaml")
			if !strings.Contains(out, "type: Accepted") || !strings.Contains(out, `status: "False"`) || !strings.Contains(out, broken.line) {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		require.Equal(t, before, invocations(t), "%s: what ran keeps running", name)
		announced(t, "greeter", "greeter@1")
	}
	put(manifest)
	settled(t, "greeter")
	require.Equal(t, before, invocations(t))
	run(t, "etcdctl del /fleet/apps/greeter")
	eventually(t, 30*time.Second, "all of it is gone", func() error {
		if out := run(t, "fleetctl list-units -o wide --no-legend; etcdctl get --prefix --keys-only /services/web/; etcdctl get --prefix --keys-only /fleet/ | grep -v /events/; curl -s -H 'Host: greeter.localhost' http://127.0.0.11:8080/"); strings.Contains(out, "greeter@") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}
