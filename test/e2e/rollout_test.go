package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/test/change"
	"github.com/fleet-starter/fleet/test/load"
)

// greeter writes the manifest of an app with a single instance, whose port the scheduler chooses: an instance that replaces it fits
// beside it.
func greeter(t *testing.T, version, more string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "greeter.yaml")
	require.NoError(t, os.WriteFile(path, fmt.Appendf(nil, `apiVersion: fleet/v1
kind: App
metadata:
  name: greeter
spec:
  exec:
    command: ["%%t/fleet/bin/example-app", --instance, "%%n"]
  env:
    EXAMPLE_VERSION: %q
%s  ports:
  - {name: http, port: 3000, hostPort: auto}
  announce: {port: http}
  healthCheck:
    http: {path: /healthz}
    interval: 1s
  update:
    healthyDeadline: 5s
    onFailure: revert
  route:
    hosts: [greeter.localhost]
`, version, more), 0o644))
	return path
}

// enough is how many requests are sent at least while something is done to the app.
const enough = 400

// nothingLost sends requests of all kinds through all routers while change runs, and checks that each of them was answered. No route
// and no certificate changes, so nginx has no reason to close a connection either.
func nothingLost(t *testing.T, change func()) load.Result {
	t.Helper()
	var targets []load.Target
	for _, m := range allMachines {
		targets = append(targets, load.Target{Name: fmt.Sprintf("m%d", m), Address: dev.Address(m) + ":8080", Host: "greeter.localhost"})
	}
	stream := load.Options{Patience: patience}.Start(targets...)
	t.Cleanup(func() { stream.Stop() })
	start := time.Now()
	change()
	announced(t, "greeter", "greeter@1")
	took := time.Since(start)
	eventually(t, 10*time.Second, "requests", func() error {
		if sent := stream.SoFar().Total(); sent < enough {
			return fmt.Errorf("%d requests were sent, not %d", sent, enough)
		}
		return nil
	})
	result := stream.Stop()
	t.Logf("%.1f s: %s", took.Seconds(), result)
	require.Empty(t, result.Failed, "answered: %v", result.Answered)
	for _, kind := range load.Kinds {
		require.NotZero(t, result.Sent[kind], "%s", kind)
	}
	return result
}

// greets checks which version serves.
func greets(t *testing.T, version string) {
	t.Helper()
	for _, m := range allMachines {
		require.Equal(t, version, strings.TrimSpace(run(t, "curl -sf -H 'Host: greeter.localhost' http://%s:8080/version", dev.Address(m))))
	}
}

// An app with a single instance is always there: what replaces it is started beside it, and what never gets ready is taken back.
func TestSingleInstance(t *testing.T) {
	run(t, "fleetctl apply -f %s --wait --timeout 1m", greeter(t, "1", ""))
	defer run(t, "fleetctl delete app greeter")
	announced(t, "greeter", "greeter@1")
	eventually(t, 10*time.Second, "routed", func() error {
		for _, m := range allMachines {
			if out, err := try("curl -sf -H 'Host: greeter.localhost' http://%s:8080/version", dev.Address(m)); err != nil {
				return fmt.Errorf("machine %d: %w: %s", m, err, out)
			}
		}
		return nil
	})
	t.Run("new version", func(t *testing.T) {
		nothingLost(t, func() { run(t, "fleetctl apply -f %s --wait --timeout 1m", greeter(t, "2", "")) })
		greets(t, "2")
	})
	t.Run("restart", func(t *testing.T) {
		before := invocations(t)
		nothingLost(t, func() { run(t, "fleetctl restart app/greeter") })
		for key, id := range invocations(t) {
			if strings.HasSuffix(key, "/greeter@1.service") {
				require.NotEqual(t, before[key], id, "%s was restarted", key)
			}
		}
	})
	t.Run("drain", func(t *testing.T) {
		from := units(t, "greeter@1.service")[0].id
		nothingLost(t, func() {
			run(t, "fleetctl drain %s --timeout 1m", from)
			require.NotEqual(t, from, units(t, "greeter@1.service")[0].id)
			run(t, "fleetctl uncordon %s", from)
			settled(t, "greeter")
		})
	})
	t.Run("never ready", func(t *testing.T) {
		const why = "greeter@2.service is not ready after 5s: active, but not announced: its health check fails or has not passed yet"
		before := invocations(t)
		result := nothingLost(t, func() {
			out, err := try("fleetctl apply -f %s --wait --timeout 1m", greeter(t, "3", "    EXAMPLE_FAIL_HEALTH: \"true\"\n"))
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "%s", out)
			require.Equal(t, 5, exit.ExitCode(), "%s", out)
			// Other tests have had an app of this name: the numbers of its revisions go on.
			require.Regexp(t, `fleetctl: app/greeter: revision \d+ was taken back: `+regexp.QuoteMeta(why)+`; revision \d+ keeps running`, out)
			require.Regexp(t, `its health check:\n.*\| GET http://127\.0\.0\.\d+:\d+/healthz answered 503 Service Unavailable`, out)
		})
		for answer := range result.Answered {
			require.Equal(t, "greeter@1.service", answer.Instance, "%v", answer)
		}
		greets(t, "2")
		for key, id := range invocations(t) {
			if strings.HasSuffix(key, "/greeter@1.service") {
				require.Equal(t, before[key], id, "%s ran on", key)
			}
		}
		require.Regexp(t, `(?m)^\d+\t.*\trejected: `+regexp.QuoteMeta(why)+`$`, run(t, "fleetctl history app/greeter"))
	})
}

// TestChangesLoseNothing changes an app in each way while requests are sent to it.
func TestChangesLoseNothing(t *testing.T) {
	c := &change.Cluster{
		Fleetctl: func(args ...string) (string, error) { return try("fleetctl %s", strings.Join(args, " ")) },
		Write: func(manifest string) (string, error) {
			path := filepath.Join(t.TempDir(), "greeter.yaml")
			return path, os.WriteFile(path, []byte(manifest), 0o644)
		},
		Program: "%t/fleet/bin/example-app", Key: "name", Host: "greeter.localhost", Patience: patience,
	}
	for _, m := range allMachines {
		c.Machines = append(c.Machines, fmt.Sprintf("m%d", m))
		c.Routers = append(c.Routers, load.Target{Name: fmt.Sprintf("m%d", m), Address: dev.Address(m) + ":8080"})
	}
	c.Test(t)
}
