package e2e

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/failures"
)

var update = flag.Bool("update", false, "write the golden files of testdata/failures")

// failing is the manifest of an app whose second version fails.
const failing = `apiVersion: fleet/v1
kind: App
metadata: {name: failing}
spec:
  replicas: 2
  exec: {command: %s}
  ports: [{name: http, hostPort: auto}]
  healthCheck: {http: {path: %s}, interval: 500ms, timeout: 1s}
  announce: {port: http}
  route: {hosts: [failing.localhost]}
  update: {healthyDeadline: %s, onFailure: revert}
`

// TestWaysToFail: what apply --wait and the history say of each way in which a new version can fail, while the version before serves.
// How a pull fails, with docker, is test/lab TestPullFails.
func TestWaysToFail(t *testing.T) {
	calm(t)
	const app = `["%t/fleet/bin/example-app", --instance, "%n", --version-label, `
	apply := func(command, path, deadline, more string) (string, error) {
		return try("fleetctl apply -f - --wait --timeout 2m <<'END'\n"+failing+"%sEND", command, path, deadline, more)
	}
	out, err := apply(app+`"1"]`, "/healthz", "1m", "")
	require.NoError(t, err, out)
	defer run(t, "fleetctl delete app failing")
	for _, tt := range []struct{ name, command, path, deadline, more string }{
		{"refused", `[/bin/sh, -c, "echo I forgot to listen; exec sleep infinity"]`, "/healthz", "5s", ""},
		{"timed out", app + `"2", --hang]`, "/healthz", "5s", ""},
		{"404", app + `"2"]`, "/health", "5s", ""},
		{"500", app + `"2", --fail-percent, "100"]`, "/version", "5s", ""},
		{"wrong port", app + `"2", --listen, "127.0.0.1:3999"]`, "/healthz", "5s", ""},
		{"exits at once", `[/bin/sh, -c, "for i in $(seq 30); do echo line $i; done; echo the database is away >&2; exit 3"]`, "/healthz", "1m", ""},
		{"exits after a while", `[/bin/sh, -c, "echo waiting for the database; sleep 2; echo no answer >&2; exit 7"]`, "/healthz", "1m", ""},
		{"fits nowhere", app + `"2"]`, "/healthz", "5s", "  placement: {machineMetadata: {zone: mars}}\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, err := apply(tt.command, tt.path, tt.deadline, tt.more)
			require.ErrorContains(t, err, "exit status 5", out)
			failures.Check(t, tt.name, *update, out, func(command string) string { return run(t, "%s", command) })
			for _, address := range addresses() {
				require.Equal(t, "1\n", run(t, "curl -sf -H 'Host: failing.localhost' http://%s:8080/version", address), "what still serves")
			}
			eventually(t, 30*time.Second, "the failed instance is gone", func() error {
				if list := units(t, "failing@3"); len(list) > 0 {
					return fmt.Errorf("%v", list)
				}
				return nil
			})
		})
	}
}

// TestCrashAfterCompletion: a version whose instances end again and again after the roll-out was complete is taken back, too.
func TestCrashAfterCompletion(t *testing.T) {
	calm(t)
	manifest := func(more string) string {
		return fmt.Sprintf(failing, `["%t/fleet/bin/example-app", --instance, "%n"`+more+`]`, "/healthz", "1m")
	}
	run(t, "fleetctl apply -f - --wait --timeout 1m <<'END'\n%sEND", manifest(`, --version-label, "1"`))
	defer run(t, "fleetctl delete app failing")
	run(t, "fleetctl apply -f - --wait --timeout 1m <<'END'\n%sEND", manifest(`, --version-label, "2", --exit-after, 6s`))
	last := func() string {
		return run(t, "fleetctl history app/failing -o json | jq -r '.items[-1] | .outcome + \": \" + .message'")
	}
	require.Equal(t, "complete: \n", last())
	eventually(t, time.Minute, "it is taken back", func() error {
		if is := last(); !strings.HasPrefix(is, "rejected: failing@") || !strings.Contains(is, " in a restart loop: ") || !strings.Contains(is, "exit status 1, restarted 3 times") {
			return errors.New(is)
		}
		return nil
	})
	run(t, "fleetctl rollout status app/failing --wait --timeout 1m || true")
	for _, address := range addresses() {
		eventually(t, 30*time.Second, "what was before serves", func() error {
			out, err := try("curl -sf -H 'Host: failing.localhost' http://%s:8080/version", address)
			if err == nil && out != "1\n" {
				err = errors.New(out)
			}
			return err
		})
	}
}
