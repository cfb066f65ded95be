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

// serverApp returns an App that runs example-app on its own port.
func serverApp(t *testing.T, name, mode string, port int, version string) string {
	file := filepath.Join(t.TempDir(), name+".yaml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `apiVersion: fleet/v1
kind: App
metadata: {name: %[1]s}
spec:
  %[2]s
  exec: {command: ["%%t/fleet/bin/example-app", --listen, "${FLEET_MACHINE_IP}:%[3]d", --instance, "%%n"]}
  env: {EXAMPLE_VERSION: %[4]q}
  ports: [{name: http, port: %[3]d}]
  announce: {port: http}
  healthCheck: {http: {path: /healthz}, interval: 1s}
  route: {hosts: [%[1]s.localhost]}
`, name, mode, port, version), 0o644))
	return file
}

func apply(t *testing.T, file string) { run(t, "fleetctl apply -f %s --wait --timeout 1m", file) }

// TestReadyIsServed: right after apply --wait every machine's router answers.
func TestReadyIsServed(t *testing.T) {
	calm(t)
	for n := range 6 {
		name := fmt.Sprintf("ready%d", n)
		apply(t, serverApp(t, name, "replicas: 1", 3200+n, "1"))
		for _, m := range allMachines {
			code := run(t, "curl -s -o /dev/null -w '%%{http_code}' -H 'Host: %s.localhost' http://%s:8080/", name, dev.Address(m))
			require.Equal(t, "200", code, "%s on machine %d", name, m)
		}
		run(t, "fleetctl delete app %s", name)
	}
}

// TestNeverReady: an app that cannot run is never Ready, on one machine or on all, and the reason is told.
func TestNeverReady(t *testing.T) {
	calm(t)
	for _, mode := range []string{"replicas: 1", "global: true"} {
		out, err := try(`fleetctl apply --wait --timeout 1m -f - <<'END'
apiVersion: fleet/v1
kind: App
metadata: {name: broken}
spec:
  %s
  exec: {command: [/bin/sh, -c, "echo the database is away >&2; exit 3"]}
END`, mode)
		run(t, "fleetctl delete app broken")
		require.Error(t, err)
		require.Contains(t, out, "RestartLoop")
		require.Contains(t, out, "result exit-code, exit status 3, restarts: ")
		require.Contains(t, out, "| the database is away")
	}
}

// TestChangeOfMode: an app changes from replicas to global and back, with one host port, while requests are served.
func TestChangeOfMode(t *testing.T) {
	calm(t)
	replicas, global := serverApp(t, "mode", "replicas: 3", 3301, "1"), serverApp(t, "mode", "global: true", 3301, "1")
	defer run(t, "fleetctl delete app mode")
	apply(t, replicas)
	for _, file := range []string{global, replicas} {
		stop, codes := make(chan struct{}), make(chan string, 1)
		go func() {
			var bad []string
			for {
				select {
				case <-stop:
					codes <- strings.Join(bad, " ")
					return
				case <-time.After(20 * time.Millisecond):
				}
				if code, _ := try("curl -s -m 3 -o /dev/null -w '%%{http_code}' -H 'Host: mode.localhost' http://127.0.0.11:8080/"); code != "200" {
					bad = append(bad, code)
				}
			}
		}()
		apply(t, file)
		close(stop)
		require.Empty(t, <-codes, "no request is lost")
	}
	require.Len(t, units(t, "mode@"), 3)
}

// TestRollOutBesideADeadMachine: of three instances with one host port, one is on a dead machine; the other two are rolled.
func TestRollOutBesideADeadMachine(t *testing.T) {
	calm(t)
	apply(t, serverApp(t, "trio", "replicas: 3", 3302, "1"))
	m := machineOf(t, "trio@1.service")
	run(t, "fleet-dev kill-machine %d", m)
	defer func() {
		run(t, "fleet-dev start-machine %d", m)
		run(t, "fleetctl delete app trio")
		eventually(t, 30*time.Second, "three machines", func() error {
			if out := run(t, "fleetctl list-machines --no-legend"); strings.Count(out, "\n") != 3 {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
		calm(t)
	}()
	eventually(t, 60*time.Second, "its machine is gone", func() error {
		if n := len(endpoints(t, "trio")); n != 2 {
			return fmt.Errorf("%d endpoints", n)
		}
		if out := run(t, "fleetctl list-machines --no-legend"); strings.Count(out, "\n") != 2 {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	run(t, "fleetctl apply -f %s", serverApp(t, "trio", "replicas: 3", 3302, "2"))
	eventually(t, 60*time.Second, "both that live are of the new version", func() error {
		addresses := endpoints(t, "trio")
		for _, address := range addresses {
			if out, _ := try("curl -s -m 2 http://%s/version", address); strings.TrimSpace(out) != "2" {
				return fmt.Errorf("%s: %s", address, out)
			}
		}
		if len(addresses) != 2 {
			return fmt.Errorf("%v", addresses)
		}
		return nil
	})
}
