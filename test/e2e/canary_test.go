package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCanary: a version that answers 5 % of its requests with 500 is found by its canary, and taken back; one that does not is
// followed by all instances.
func TestCanary(t *testing.T) {
	calm(t)
	manifest := func(version, fails string) string {
		return "apiVersion: fleet/v1\nkind: App\nmetadata: {name: tried}\nspec:\n  replicas: 2\n" +
			"  exec: {command: [\"%t/fleet/bin/example-app\", --listen, \"${FLEET_MACHINE_IP}:${PORT}\", --version-label, \"" + version + "\", --fail-percent, \"" + fails + "\"]}\n" +
			"  ports: [{name: http, hostPort: auto}]\n  healthCheck: {http: {path: /healthz}, interval: 500ms}\n  announce: {}\n" +
			"  route: {hosts: [tried.localhost]}\n  update: {canary: {instances: 1}}\n"
	}
	applied := func(version, fails, wait string) (string, error) {
		return try("fleetctl apply -f - %s <<'END'\n%sEND", wait, manifest(version, fails))
	}
	out, err := applied("1", "0", "--wait")
	require.NoError(t, err, out)
	defer run(t, "fleetctl delete app tried")
	stop := make(chan struct{})
	counted := make(chan [2]int)
	go func() { // ends with stop
		var n [2]int
		defer func() { counted <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			out, _ := try("for i in $(seq 50); do curl -s -o /dev/null -w '%%{http_code}\\n' -H 'Host: tried.localhost' http://127.0.0.11:8080/; done")
			n[0] += strings.Count(out, "\n")
			n[1] += strings.Count(out, "\n") - strings.Count(out, "200\n")
		}
	}()
	began := time.Now()
	out, err = applied("2", "5", "--wait --timeout 4m")
	took := time.Since(began)
	close(stop)
	requests := <-counted
	t.Logf("taken back after %s: %d requests, %d of them not answered with 200\n%s", took.Round(100*time.Millisecond), requests[0], requests[1], out)
	require.Error(t, err)
	require.Contains(t, out, "the canary is worse than revision 1")
	require.Less(t, requests[1]*20, requests[0], "fewer than those of a version that replaced all")
	require.Contains(t, run(t, "curl -s -H 'Host: tried.localhost' http://127.0.0.11:8080/version"), "1")
	require.Contains(t, run(t, "fleetctl history app/tried"), "rejected: the canary is worse")
}
