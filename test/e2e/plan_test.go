package e2e

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/dev"
)

// TestPlanAskedOfAFollower: whichever fleetd is asked, the leader makes the plan, and where it does not answer the one that is asked. A
// plan that one fleetd was asked for is applied by another one.
func TestPlanAskedOfAFollower(t *testing.T) {
	calm(t)
	leader := 0
	eventually(t, 10*time.Second, "a machine leads", func() error {
		for _, m := range allMachines {
			out, err := try("curl -sf http://%s:%d/metrics", dev.Address(m), dev.APIPort)
			if err == nil && strings.Contains(out, "\nfleet_leading 1\n") {
				leader = m
				return nil
			}
		}
		return errors.New("none does")
	})
	file := greeter(t, "1", "")
	defer func() { _, _ = try("fleetctl delete app greeter") }() // where the test failed it is not there
	saved := filepath.Join(t.TempDir(), "plan.json")
	plan := func(machine int) (p wire.Plan, took time.Duration) {
		t.Helper()
		start := time.Now()
		out, err := try("fleetctl --endpoint http://%s:%d plan -f %s --out %s", dev.Address(machine), dev.APIPort, file, saved)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, out)
		require.Equal(t, 1, exit.ExitCode(), "something would happen: %s", out)
		took = time.Since(start)
		text, err := os.ReadFile(saved)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &p))
		return p, took
	}
	own, _ := plan(leader)
	require.NotEmpty(t, own.Actions)
	followers := []int{1 + leader%3, 1 + (leader+1)%3}
	for _, m := range followers {
		p, took := plan(m)
		require.Equal(t, own.Actions, p.Actions)
		require.Less(t, took, 2*time.Second, "the leader answers")
	}
	pid := strings.TrimSpace(run(t, "fleet-dev exec %d systemctl --user show -p MainPID --value fleetd.service", leader))
	run(t, "kill -STOP %s", pid)
	p, took := plan(followers[0])
	run(t, "kill -CONT %s", pid)
	require.Equal(t, own.Actions, p.Actions)
	require.Greater(t, took, 1900*time.Millisecond, "the leader was asked, and given up")
	require.Less(t, took, 10*time.Second)

	run(t, "fleetctl --endpoint http://%s:%d apply %s --wait --timeout 1m", dev.Address(followers[1]), dev.APIPort, saved)
	announced(t, "greeter", "greeter@1")
	require.Contains(t, run(t, "fleetctl --endpoint http://%s:%d explain greeter@1", dev.Address(followers[0]), dev.APIPort), "greeter@1.service")
	run(t, "fleetctl delete app greeter")
	calm(t)
}
