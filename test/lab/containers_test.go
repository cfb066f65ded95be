package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Azurite's well-known account.
const (
	azureAccount = "devstoreaccount1"
	azureKey     = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	azurePort    = "10000"
)

// startStorage runs Azurite, an Azure Blob server, on this computer where the machines reach it.
func startStorage(t *testing.T) *os.Process {
	t.Helper()
	program, err := filepath.Abs(built(t, "azurite/node_modules/azurite/dist/src/blob/main.js"))
	require.NoError(t, err)
	cmd := exec.Command("node", program, "--blobHost", HostAddress, "--blobPort", azurePort,
		"--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry")
	cmd.Dir = t.TempDir()
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	within(t, 30*time.Second, "Azurite listens", func() error {
		conn, err := net.Dial("tcp", net.JoinHostPort(HostAddress, azurePort))
		if err == nil {
			conn.Close()
		}
		return err
	})
	return cmd.Process
}

// withRegistry runs a registry on every machine, with its images in storage, and pushes the example app. When the test ends the
// apps go too, and no container may be left.
func withRegistry(t *testing.T, l *Lab, apps ...string) (storage *os.Process) {
	t.Helper()
	image := built(t, "images/example-app.tar")
	storage = startStorage(t)
	manifest, err := os.ReadFile("../../manifests/registry.yaml")
	require.NoError(t, err)
	for _, m := range l.Machines {
		require.NoError(t, m.Write("etc/fleet/registry-credentials", credentials()))
		require.NoError(t, os.Chmod(filepath.Join(m.Root(), "etc/fleet/registry-credentials"), 0o600))
	}
	first := l.Machines[0]
	first.copy(t, image, "root/example-app.tar", 0o644)
	require.NoError(t, first.Write("root/registry.yaml", string(manifest)))
	fleetctl(t, "apply -f /root/registry.yaml --wait --timeout 1m")
	require.Contains(t, fleetctl(t, "push /root/example-app.tar"), "sha256:")
	t.Cleanup(func() {
		ctx := context.Background() // that of the test has ended
		_, err := first.Exec(ctx, append([]string{"fleetctl", "delete", "app/registry"}, apps...)...)
		require.NoError(t, err)
		containers(t, ctx, l, 0) // else there is one that no unit accounts for
	})
	return storage
}

// credentials are those of the registry, for the storage.
func credentials() string {
	return fmt.Sprintf("azure:\n  accountname: %s\n  accountkey: %s\n  container: images\n  serviceurl: http://%s:%s/%s\n",
		azureAccount, azureKey, HostAddress, azurePort, azureAccount)
}

// built returns a file that "make test-lab" builds.
func built(t *testing.T, name string) string {
	t.Helper()
	name = filepath.Join("../../bin", name)
	if _, err := os.Stat(name); err != nil {
		t.Skipf("%v: make test-lab", err)
	}
	return name
}

func (m *Machine) copy(t *testing.T, from, to string, perm os.FileMode) {
	t.Helper()
	text, err := os.ReadFile(from)
	require.NoError(t, err)
	require.NoError(t, m.Write(to, string(text)))
	require.NoError(t, os.Chmod(filepath.Join(m.Root(), to), perm))
}

const boxApp = `apiVersion: fleet/v1
kind: App
metadata: {name: box}
spec:
  replicas: 2
  container: {image: localhost:5000/example-app:latest}
  env: {PORT: "3100"}
  ports: [{name: http, port: 3100}]
  placement: {conflicts: [box@*.service]}
  announce: {port: http}
  healthCheck: {http: {path: /healthz}, interval: 1s}
  route: {hosts: [box.lab.example]}
`

// TestContainers: a registry on every machine with its images in Azure Blob storage, an image that is pushed on one machine and pulled
// on others, two containers behind the routers, and docker restarted below them.
func TestContainers(t *testing.T) {
	l := withLab(t)
	withRegistry(t, l, "app/box")
	first := l.Machines[0]
	require.NoError(t, first.Write("root/box.yaml", boxApp))
	start := time.Now()
	fleetctl(t, "apply -f /root/box.yaml --wait --timeout 2m")
	t.Logf("two containers are served %.1f s after they were applied", time.Since(start).Seconds())
	on := running(t, l, "box@1.service")
	untouched := invocations(t, l.Machines)
	for _, how := range []string{"restart", "kill --signal=SIGKILL"} {
		_, err := on.Exec(t.Context(), append([]string{"systemctl"}, append(strings.Fields(how), "docker.service")...)...)
		require.NoError(t, err)
		back := within(t, time.Minute, "box@1.service runs its container again after docker: "+how, func() error {
			names, err := on.Exec(t.Context(), "docker", "ps", "--format", "{{.Names}}")
			if err != nil {
				return err
			}
			if strings.TrimSpace(names) != "box.1" || len(active(t, []*Machine{on}, "box@1.service")) == 0 {
				return errors.New("not yet")
			}
			return nil
		})
		t.Logf("docker: systemctl %s: its container runs again after %.1f s", how, back.Seconds())
	}
	for unit, id := range invocations(t, l.Machines) {
		if !strings.HasSuffix(unit, "docker.service") {
			require.Equal(t, untouched[unit], id, unit)
		}
	}
}
