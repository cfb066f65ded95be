package e2e

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/test/load"
)

// tried is the manifest of an app with a canary, that answers so many per cent of its requests with 500.
func tried(version string, fails int, canary string) string {
	return fmt.Sprintf(`apiVersion: fleet/v1
kind: App
metadata: {name: tried}
spec:
  replicas: 2
  exec: {command: ["%%t/fleet/bin/example-app", --instance, "%%n", --fail-percent, "%d"]}
  env: {EXAMPLE_VERSION: %q}
  ports: [{name: http, hostPort: auto}]
  healthCheck: {http: {path: /healthz}, interval: 500ms}
  announce: {port: http}
  route: {hosts: [tried.localhost]}
  update: {canary: {%s}}
`, fails, version, canary)
}

// TestCanary: a version that answers 5 % of its requests with 500 is found by its canary, and taken back; one that does not is
// followed by all instances. One with a weight gets that share of the requests, until it is followed.
func TestCanary(t *testing.T) {
	calm(t)
	applied := func(version string, fails int) (string, error) {
		return try("fleetctl apply -f - --wait --timeout 4m <<'END'\n%sEND", tried(version, fails, "instances: 1"))
	}
	out, err := applied("1", 0)
	require.NoError(t, err, out)
	defer run(t, "fleetctl delete app tried")
	var targets []load.Target
	for _, m := range allMachines {
		targets = append(targets, load.Target{Name: fmt.Sprintf("m%d", m), Address: dev.Address(m) + ":8080", Host: "tried.localhost"})
	}
	during := func(version string, fails int) (load.Result, string, error) {
		stream := load.Options{Patience: patience}.Start(targets...)
		defer stream.Stop()
		began := time.Now()
		out, err := applied(version, fails)
		took := time.Since(began)
		result := stream.Stop()
		t.Logf("version %s: %.1f s: %s\n%s", version, took.Seconds(), result, out)
		return result, out, err
	}
	serves := func(version string) {
		for _, m := range allMachines {
			require.Equal(t, version+"\n", run(t, "curl -sf -H 'Host: tried.localhost' http://%s:8080/version", dev.Address(m)))
		}
	}
	eventually(t, 10*time.Second, "routed", func() error {
		out, err := try("curl -sf -H 'Host: tried.localhost' http://%s:8080/version", dev.Address(allMachines[len(allMachines)-1]))
		if err != nil {
			err = fmt.Errorf("%w: %s", err, out)
		}
		return err
	})
	bad, out, err := during("2", 5)
	require.Error(t, err)
	require.Contains(t, out, "the canary is worse than revision")
	require.Less(t, len(bad.Failed)*20, bad.Total(), "fewer than those of a version that replaced all")
	serves("1")
	require.Contains(t, run(t, "fleetctl history app/tried"), "rejected: the canary is worse")

	good, out, err := during("3", 0)
	require.NoError(t, err, out)
	require.Empty(t, good.Failed)
	serves("3")

	require.Contains(t, run(t, "fleetctl apply -f - <<'END'\n%sEND", tried("4", 0, "weight: 5%, pause: true")), "configured")
	share := func(n int) float64 { // of so many requests to each router
		answers := run(t, "for i in $(seq %d); do for m in %s; do curl -sf -H 'Host: tried.localhost' http://$m:8080/version; done; done", n, strings.Join(addresses(), " "))
		return float64(strings.Count(answers, "4\n")) / float64(strings.Count(answers, "\n"))
	}
	eventually(t, 60*time.Second, "the canary is served", func() error {
		if share(20) == 0 {
			return errors.New(run(t, "fleetctl rollout status app/tried || true"))
		}
		return nil
	})
	is := share(300)
	t.Logf("the canary gets %.1f %% of the requests", 100*is)
	require.InDelta(t, 0.05, is, 0.02)
	require.Contains(t, run(t, "fleetctl rollout status app/tried || true"), "is tried by 1 of its instances, with 5% of the requests, which all others follow after fleetctl rollout resume")
	run(t, "fleetctl rollout resume app/tried")
	run(t, "fleetctl rollout status app/tried --wait")
	serves("4")
}

// addresses are those of all machines.
func addresses() (all []string) {
	for _, m := range allMachines {
		all = append(all, dev.Address(m))
	}
	return all
}
