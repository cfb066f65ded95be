package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

// TestFleetdHangs: manifests/fleetd.service is active when fleetd answers, and a fleetd that hangs is killed by the watchdog and started
// again. Nothing else restarts, and no request fails. The test changes only the unit's command and, in its second half, WatchdogSec=.
func TestFleetdHangs(t *testing.T) {
	calm(t)
	m := machineOf(t, "example-app@1.service")
	systemctl := func(command string) string {
		t.Helper()
		return strings.TrimSpace(run(t, "fleet-dev exec %d systemctl --user %s", m, command))
	}
	units := filepath.Join(top, fmt.Sprintf(".dev/m%d/config/systemd/user", m))
	file, dropIn := filepath.Join(units, "fleetd.service"), filepath.Join(units, "fleetd.service.d")
	local, err := os.ReadFile(file)
	require.NoError(t, err)
	manifest, err := os.ReadFile(filepath.Join(top, "manifests/fleetd.service"))
	require.NoError(t, err)
	command := regexp.MustCompile(`(?m)^ExecStart=.*fleetd.*$`)
	require.Len(t, command.FindAll(manifest, -1), 1)
	require.NoError(t, os.WriteFile(file, command.ReplaceAllLiteral(manifest, command.Find(local)), 0o644))
	defer func() {
		require.NoError(t, os.RemoveAll(dropIn))
		require.NoError(t, os.WriteFile(file, local, 0o644))
		systemctl("daemon-reload")
		systemctl("restart fleetd.service")
		calm(t)
	}()

	before := invocations(t)
	stream := startTraffic(t, allMachines...)
	systemctl("daemon-reload")
	run(t, "fleet-dev exec %d systemctl --user restart fleetd.service && curl -sf http://%s:%d/healthz", m, dev.Address(m), dev.APIPort)
	require.Equal(t, "Type=notify\nRestart=always\nWatchdogUSec=30s\nRuntimeDirectoryPreserve=yes",
		systemctl("show -p Type -p Restart -p WatchdogUSec -p RuntimeDirectoryPreserve fleetd.service"))

	require.NoError(t, os.MkdirAll(dropIn, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dropIn, "soon.conf"), []byte("[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n"), 0o644))
	systemctl("daemon-reload")
	systemctl("restart fleetd.service")
	time.Sleep(3 * time.Second) // what is well is left alone
	require.Equal(t, "0", systemctl("show -p NRestarts --value fleetd.service"))
	pid := systemctl("show -p MainPID --value fleetd.service")
	run(t, "kill -STOP %s", pid)
	eventually(t, 30*time.Second, "it is started again", func() error {
		state := systemctl("show -p NRestarts -p ActiveState fleetd.service")
		if state != "NRestarts=1\nActiveState=active" {
			return fmt.Errorf("%s", state)
		}
		return nil
	})
	require.NotEqual(t, pid, systemctl("show -p MainPID --value fleetd.service"))
	run(t, "curl -sf http://%s:%d/healthz", dev.Address(m), dev.APIPort)
	stream.noOutage(t, allMachines...)
	require.Equal(t, before, invocations(t), "nothing else was restarted")
}
