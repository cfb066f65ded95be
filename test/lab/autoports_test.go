package lab

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pairApp has two instances on the first machine: each container listens on the same port, and the machine has one for each.
const pairApp = `apiVersion: fleet/v1
kind: App
metadata: {name: pair}
spec:
  replicas: 2
  container: {image: "localhost:5000/example-app:latest", pull: Never, args: [--instance, "%n"]}
  ports: [{name: http, port: 3000, hostPort: auto}]
  placement: {machineMetadata: {machine: m1}}
  announce: {}
  healthCheck: {http: {path: /healthz}, interval: 1s}
  route: {hosts: [pair.lab.example]}
`

// TestAutoPortsOfContainers: two containers of an app on one machine get a port each. What docker publishes is announced, checked and
// routed, and a roll-out, which starts a third one beside them, loses nothing.
func TestAutoPortsOfContainers(t *testing.T) {
	l := withLab(t)
	m := l.Machines[0]
	m.copy(t, built(t, "images/example-app.tar"), "root/example-app.tar", 0o644)
	_, err := m.Exec(t.Context(), "docker", "load", "-i", "/root/example-app.tar")
	require.NoError(t, err)
	t.Cleanup(func() { containers(t, context.Background(), l, 0) })
	start := time.Now()
	applied(t, "pair", pairApp)
	t.Logf("two containers of one machine are served %.1f s after they were applied", time.Since(start).Seconds())
	follow := func(instances ...int) {
		t.Helper()
		seen := map[string]bool{}
		for _, n := range instances {
			published, err := m.Exec(t.Context(), "docker", "port", fmt.Sprintf("pair.%d", n), "3000/tcp")
			require.NoError(t, err)
			_, port, _ := strings.Cut(strings.Fields(published)[0], ":")
			require.Equal(t, m.Address+":"+port, endpointOf(t, "pair", fmt.Sprintf("pair@%d", n)))
			seen[port] = true
		}
		require.Len(t, seen, len(instances), "each has a port of its own")
		for _, router := range l.Machines {
			within(t, 20*time.Second, "both serve at "+router.Name, func() error {
				answers := map[string]bool{}
				for range 10 {
					who, err := getFrom(t.Context(), router, "pair.lab.example")
					if err != nil {
						return err
					}
					answers[who] = true
				}
				if len(answers) != len(instances) {
					return fmt.Errorf("%v answer", answers)
				}
				return nil
			})
		}
	}
	follow(1, 2)
	requests := startLoadOn(t, "pair.lab.example", l.Machines...)
	fleetctl(t, "restart app/pair --timeout 1m")
	sent := requests.Stop()
	t.Logf("while both are restarted, %s", sent)
	require.Empty(t, unexcused(sent.After(time.Time{})))
	follow(1, 2)
}
