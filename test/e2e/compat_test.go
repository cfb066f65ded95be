package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSeedSidekick: the seed's own sidekick, but for the app's name, announces its app with commands of etcd 2. It stops with the app,
// and comes back when the app is started, by a person or by systemd.
func TestSeedSidekick(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(top, "manifests/seed/units/example-app-discovery@.service"))
	require.NoError(t, err)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"seed-app-discovery@.service": strings.ReplaceAll(string(text), "example-app", "seed-app"),
		"seed-app@.service":           "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	const key = "/services/web/seed-app/seed-app@1"
	value := func() string { return strings.TrimSpace(run(t, "etcdctl get --print-value-only %s", key)) }
	active := func(unit string) string {
		return strings.TrimSpace(run(t, "fleetctl list-units --no-legend --fields unit,active | awk '$1 == \"%s\" {print $2}'", unit))
	}
	run(t, "cd %s && fleetctl start seed-app@1 seed-app-discovery@1", dir)
	defer run(t, "fleetctl destroy seed-app-discovery@1 seed-app@1")
	address := strings.TrimSpace(run(t, "fleetctl list-units --no-legend --fields unit,machine | awk -F '[\t/]+' '$1 == \"seed-app@1.service\" {print $3}'"))
	announced := func() error {
		if got := value(); got != address+":3000" {
			return fmt.Errorf("%s is %q, not %s:3000", key, got, address)
		}
		return nil
	}
	require.NotEmpty(t, address)
	eventually(t, 10*time.Second, "the app is announced", announced)
	// jq would round the lease's ID: it is larger than 2^53.
	require.Equal(t, "60", strings.TrimSpace(run(t, `etcdctl lease timetolive -w json $(printf %%x $(etcdctl get %s -w json | grep -o '"lease":[0-9]*' | cut -d: -f2)) | jq '.["granted-ttl"]'`, key)))

	run(t, "fleetctl stop seed-app@1")
	eventually(t, 10*time.Second, "it is withdrawn", func() error {
		if got, sidekick := value(), active("seed-app-discovery@1.service"); got != "" || sidekick != "inactive" {
			return fmt.Errorf("%s is %q, the sidekick is %s", key, got, sidekick)
		}
		return nil
	})
	run(t, "fleetctl start seed-app@1")
	eventually(t, 10*time.Second, "it is announced again", announced)

	number := strings.TrimPrefix(address, "127.0.0.1") // 127.0.0.11 is machine 1
	before := run(t, "fleet-dev exec %s systemctl --user show -p InvocationID --value seed-app@1", number)
	run(t, "fleet-dev exec %s systemctl --user kill --signal=SIGKILL seed-app@1", number)
	eventually(t, 15*time.Second, "systemd restarts it, and its sidekick is back", func() error {
		if now := run(t, "fleet-dev exec %s systemctl --user show -p InvocationID --value seed-app@1", number); now == before {
			return errors.New("not restarted yet")
		}
		if state := active("seed-app-discovery@1.service"); state != "active" {
			return fmt.Errorf("the sidekick is %s", state)
		}
		return announced()
	})
}
