package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRegistryUnit: manifests/registry.yaml, unedited, runs a registry on a machine booted by systemd. The registry starts while storage
// is away, says why it does not serve, and serves when storage answers. The account's key is only in its file and in the registry.
func TestRegistryUnit(t *testing.T) {
	m := bootMachine(t)
	if out, err := shell("make -s registry"); err != nil {
		t.Skipf("there is no bin/fleet-registry: %v: %s", err, out)
	}
	m.install(t, "manifests/fleetd.service", "etc/systemd/system/fleetd.service", 0o644)
	m.install(t, "manifests/registry.yaml", "root/registry.yaml", 0o644)
	for _, program := range []string{"fleetd", "fleetctl", "etcd"} {
		m.install(t, "bin/"+program, "usr/local/bin/"+program, 0o755)
	}
	m.install(t, "bin/fleet-registry", "usr/bin/fleet-registry", 0o755)
	m.write(t, "etc/systemd/system/etcd.service", "[Service]\nType=notify\nExecStart=/usr/local/bin/etcd --data-dir /run/etcd\n")
	// Azurite's well-known account.
	const key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	m.write(t, "etc/fleet/registry-credentials", "azure:\n  accountname: devstoreaccount1\n  accountkey: "+key+
		"\n  container: images\n  serviceurl: http://127.0.0.1:10000/devstoreaccount1\n")
	m.run(t, "chmod 600 /etc/fleet/registry-credentials; ip link set lo up; systemctl daemon-reload; systemctl start etcd.service fleetd.service")

	m.run(t, "fleetctl apply -f /root/registry.yaml --wait --timeout 1m")
	require.Equal(t, "active", m.run(t, "systemctl is-active registry.service"))
	const why = "storage is away: .*127.0.0.1:10000.*connection refused"
	require.Regexp(t, why, m.run(t, "systemctl show -p StatusText --value registry.service"))
	require.Regexp(t, `503 {"errors".*`+why, m.run(t, "curl -s -o /tmp/said -w '%{http_code} ' http://localhost:5000/v2/; cat /tmp/said"))

	secret := key[:40]
	for _, place := range []string{
		"systemctl show registry.service", "systemctl cat registry.service", "cat /proc/$(systemctl show -p MainPID --value registry.service)/environ",
		"cat /proc/$(systemctl show -p MainPID --value registry.service)/cmdline", "etcdctl get --prefix /", "journalctl -b --no-pager",
	} {
		require.NotContains(t, m.run(t, place), secret, place)
	}
	require.NotEqual(t, "root", m.run(t, "ps -o user= -p $(systemctl show -p MainPID --value registry.service)"))

	azurite := filepath.Join(top, "bin/azurite/node_modules/azurite/dist/src/blob/main.js") // "make azurite" installs it
	if !exists(azurite) {
		t.Skip("bin/azurite is missing: make azurite: that the registry serves when storage is back is left out")
	}
	m.run(t, "systemd-run --unit azurite node "+azurite+" --inMemoryPersistence --silent --skipApiVersionCheck --disableTelemetry")
	eventually(t, 30*time.Second, "the registry serves", func() error {
		if out, err := m.try("curl -sf http://localhost:5000/healthz"); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	require.Equal(t, "Storage answers", m.run(t, "systemctl show -p StatusText --value registry.service"))
	require.Equal(t, "0", m.run(t, "systemctl show -p NRestarts --value registry.service"))
}
