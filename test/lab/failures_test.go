package lab

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/failures"
)

const failingApp = `apiVersion: fleet/v1
kind: App
metadata: {name: failing}
spec:
  replicas: 2
  container: {image: "localhost:5000/example-app:%s", args: [--version-label, %q]}
  ports: [{name: http, port: 3000, hostPort: auto}]
  announce: {port: http}
  healthCheck: {http: {path: /healthz}, interval: 1s}
  route: {hosts: [failing.lab.example]}
  update: {healthyDeadline: 20s, onFailure: revert}
`

// TestPullFails: what is said of a new version whose image the registry does not have, which is taken back while the one before serves.
// The other ways to fail are test/e2e TestWaysToFail.
func TestPullFails(t *testing.T) {
	l := withLab(t)
	withRegistry(t, l)
	first := l.Machines[0]
	applied(t, "failing", fmt.Sprintf(failingApp, "latest", "1"))
	serves := func() error {
		for _, m := range l.Machines {
			if version, err := getPath(t.Context(), m, "failing.lab.example", "/version"); err != nil || version != "1" {
				return fmt.Errorf("%s answers %q, %v", m.Name, version, err)
			}
		}
		return nil
	}
	within(t, 30*time.Second, "every router serves it", serves)

	requests := startLoadOn(t, "failing.lab.example", l.Machines...)
	require.NoError(t, first.Write("root/failing.yaml", fmt.Sprintf(failingApp, "missing", "2")))
	start := time.Now()
	out, err := first.Command(t.Context(), "fleetctl", "apply", "-f", "/root/failing.yaml", "--wait", "--timeout", "2m").CombinedOutput()
	t.Logf("taken back after %.1f s", time.Since(start).Seconds())
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit, "%s", out)
	require.Equal(t, 5, exit.ExitCode(), "%s", out)
	require.Contains(t, string(out), "localhost:5000/example-app:missing")
	require.Contains(t, string(out), "manifest unknown", "docker's own words")
	failures.Check(t, "pull failed", *update, string(out), func(command string) string {
		text, err := first.Exec(t.Context(), "sh", "-c", command)
		require.NoError(t, err)
		return text
	})
	require.NoError(t, serves(), "what was before")
	sent := requests.Stop()
	t.Logf("meanwhile %s", sent)
	require.Empty(t, unexcused(sent.Failed))
}
