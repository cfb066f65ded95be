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

// routerPIDs are the processes of all routers.
func routerPIDs(t *testing.T) (pids []string) {
	t.Helper()
	for _, m := range allMachines {
		pids = append(pids, strings.TrimSpace(run(t, "fleet-dev exec %d systemctl --user show --value -p MainPID router.service", m)))
	}
	return pids
}

// TestRouterIsReplaced: nginx serves on while its router is restarted by systemd, for a person or for a new version.
func TestRouterIsReplaced(t *testing.T) {
	run(t, "fleetctl apply -f %s --wait --timeout 1m", greeter(t, "1", ""))
	defer run(t, "fleetctl delete app greeter")
	announced(t, "greeter", "greeter@1")
	old, err := os.ReadFile("../../manifests/dev/router.yaml")
	require.NoError(t, err)
	apply := func(text string) {
		path := filepath.Join(t.TempDir(), "router.yaml")
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		run(t, "fleetctl apply -f %s --wait --timeout 1m", path)
	}
	replaced := func(name string, do func()) {
		t.Run(name, func(t *testing.T) {
			before := routerPIDs(t)
			nothingLost(t, do)
			for i, pid := range routerPIDs(t) {
				require.NotEqual(t, before[i], pid)
			}
		})
	}
	replaced("by systemctl", func() {
		for _, m := range allMachines {
			run(t, "fleet-dev exec %d systemctl --user restart router.service", m)
		}
	})
	replaced("by a new version", func() { apply(strings.Replace(string(old), "localhost,", "localhost, --timeout, 4m,", 1)) })
	replaced("by the one before", func() { apply(string(old)) })
}

// TestRouterThatHangs: what cannot be asked has not acknowledged, until its lease ends.
func TestRouterThatHangs(t *testing.T) {
	run(t, "fleetctl apply -f %s --wait --timeout 1m", greeter(t, "1", ""))
	defer run(t, "fleetctl delete app greeter")
	announced(t, "greeter", "greeter@1")
	pid := routerPIDs(t)[0]
	require.NotEqual(t, "0", pid)
	run(t, "kill -STOP %s", pid)
	defer run(t, "kill -CONT %s", pid)
	began := time.Now()
	path := greeter(t, "2", "")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, []byte(strings.Replace(string(text), "healthyDeadline: 5s", "healthyDeadline: 1m", 1)), 0o644))
	run(t, "fleetctl apply -f %s", path)
	eventually(t, 10*time.Second, "waiting for it", func() error {
		out := run(t, "fleetctl describe app greeter")
		if !strings.Contains(out, "served yet by the routers on ") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	run(t, "fleetctl apply -f %s --wait --timeout 1m", path)
	require.Greater(t, time.Since(began), 5*time.Second, "its lease had to end")
	run(t, "kill -CONT %s", pid)
	eventually(t, 10*time.Second, "served by all", func() error {
		for _, m := range allMachines {
			if out, err := try("curl -sf -H 'Host: greeter.localhost' http://%s:8080/version", dev.Address(m)); err != nil || strings.TrimSpace(out) != "2" {
				return fmt.Errorf("machine %d: %v: %s", m, err, out)
			}
		}
		return nil
	})
}
