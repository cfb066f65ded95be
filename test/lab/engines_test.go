package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// toolsImage is an image of a shell and a few programs of the machine itself, in both runtimes: it needs no registry.
const toolsImage = `set -e
docker image inspect localhost:5000/tools:1 >/dev/null 2>&1 && podman image exists localhost:5000/tools:1 && exit
mkdir -p /root/tools/bin && cd /root/tools
cp /bin/dash bin/sh && cp /bin/sleep bin/
for l in $(ldd /bin/dash /bin/sleep | grep -o '/lib[^ ]*' | sort -u); do mkdir -p .$(dirname $l) && cp -L $l .$l; done
tar -c . | docker import - localhost:5000/tools:1
tar -c . | podman import - localhost:5000/tools:1`

// engines are the runtimes of an App.
var engines = []string{"docker", "podman"}

// stays is a script that runs until it is stopped, and ends then: the first process of a container has no default for SIGTERM, so that
// a runtime would wait 10 s before it kills one that has no trap.
const stays = "trap exit TERM; while sleep 0.2; do :; done"

// onFirst is an app of the tools' image on the first machine.
func onFirst(name, engine, script, more string) string {
	return fmt.Sprintf(`apiVersion: fleet/v1
kind: App
metadata: {name: %s}
spec:
  container: {runtime: %s, image: "localhost:5000/tools:1", pull: Never, command: [/bin/sh, -c], args: [%q]%s}
  placement: {machineMetadata: {machine: m1}}
`, name, engine, script, more)
}

// withTools returns the lab with the tools' image on its first machine, where no container may be left when the test ends.
func withTools(t *testing.T, apps ...string) (*Lab, *Machine) {
	t.Helper()
	l := withLab(t)
	m := l.Machines[0]
	_, err := m.Exec(t.Context(), "sh", "-c", toolsImage)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx := context.Background() // that of the test has ended
		for _, app := range apps {
			_, _ = m.Exec(ctx, "fleetctl", "delete", "app/"+app) // a test may have deleted it
		}
		for _, engine := range engines {
			require.NoError(t, poll(ctx, time.Minute, func() error { return hasContainers(ctx, m, engine) }))
		}
	})
	return l, m
}

// hasContainers returns an error unless a machine has these containers, by name, and no other.
func hasContainers(ctx context.Context, m *Machine, engine string, names ...string) error {
	out, err := m.Exec(ctx, engine, "ps", "--all", "--format", "{{.Names}}")
	found := strings.Fields(out)
	slices.Sort(found)
	if err == nil && !slices.Equal(found, names) {
		err = fmt.Errorf("%s on %s has the containers %q, not %q", engine, m.Name, found, names)
	}
	return err
}

func applyOn(t *testing.T, m *Machine, manifest string, flags ...string) error {
	t.Helper()
	require.NoError(t, m.Write("root/app.yaml", manifest))
	_, err := m.Exec(t.Context(), append([]string{"fleetctl", "apply", "-f", "/root/app.yaml"}, flags...)...)
	return err
}

// count is how often a machine's journal has a line.
func count(t *testing.T, m *Machine, line string) int {
	t.Helper()
	out, err := m.Exec(t.Context(), "journalctl", "--output=cat", "--no-pager")
	require.NoError(t, err)
	n := 0
	for l := range strings.Lines(out) {
		if strings.TrimSpace(l) == line {
			n++
		}
	}
	return n
}

// TestEndsOfContainers: what the runtime knows of a container that ends is in list-units and in describe within seconds.
func TestEndsOfContainers(t *testing.T) {
	var apps []string
	for _, engine := range engines {
		apps = append(apps, engine+"-exits", engine+"-oom", engine+"-missing", engine+"-keeps", engine+"-clash")
	}
	_, m := withTools(t, apps...)
	oom := map[string]string{"docker": "container exited with 137, OOMKilled", "podman": "container exited with 137"} // podman knows more with cgroups v2
	for _, engine := range engines {
		// One that has ended keeps the name from no unit: a version before gave containers no labels.
		_, err := m.Exec(t.Context(), engine, "run", "--name", engine+"-keeps.1", "localhost:5000/tools:1", "/bin/sh", "-c", "exit 0")
		require.NoError(t, err)
		require.NoError(t, applyOn(t, m, onFirst(engine+"-keeps", engine, stays, ""), "--wait", "--timeout", "30s"))
		for _, tc := range []struct{ name, manifest, words string }{
			{"exits", onFirst(engine+"-exits", engine, "exit 3", ""), "container exited with 3"},
			{"oom", onFirst(engine+"-oom", engine, "x=xxxxxxxxxxxxxxxx; while :; do x=$x$x; done", "") + "  resources: {limits: {memory: 32M}}\n", oom[engine]},
			{"missing", strings.Replace(onFirst(engine+"-missing", engine, "", ""), "[/bin/sh, -c]", "[/no/such]", 1), "/no/such"},
			{"clash", strings.Replace(onFirst(engine+"-clash", engine, stays, ""), "{runtime:", "{name: "+engine+"-keeps.1, runtime:", 1), "already in use"},
		} {
			start := time.Now()
			require.NoError(t, applyOn(t, m, tc.manifest))
			unit := engine + "-" + tc.name + "@1.service"
			for _, command := range []string{"list-units -o wide --full", "describe unit " + unit} {
				within(t, 20*time.Second, unit+": "+command, func() error {
					out, err := m.Exec(t.Context(), append([]string{"fleetctl"}, strings.Fields(command)...)...)
					for line := range strings.Lines(out) {
						if strings.Contains(line, tc.words) && (command[0] == 'd' || strings.HasPrefix(line, unit)) {
							return err
						}
					}
					return fmt.Errorf("%q is not in\n%s", tc.words, out)
				})
			}
			t.Logf("%s: %s: told after %.1f s", engine, tc.name, time.Since(start).Seconds())
			fleetctl(t, "delete app/"+engine+"-"+tc.name)
		}
		within(t, time.Minute, "only what runs is left", func() error { return hasContainers(t.Context(), m, engine, engine+"-keeps.1") })
	}
}

// TestContainersOfAUnit: labels, one line in the journal for each that the container writes, and one container whatever happens to the
// client or the engine.
func TestContainersOfAUnit(t *testing.T) {
	l, m := withTools(t, "docker-one", "podman-one")
	for _, engine := range engines {
		app, line := engine+"-one", "said in "+engine
		require.NoError(t, applyOn(t, m, onFirst(app, engine, "trap exit TERM; echo "+line+"; while sleep 0.2; do :; done", ""), "--wait", "--timeout", "30s"))
		require.NoError(t, hasContainers(t.Context(), m, engine, app+".1"))
		labels, err := m.Exec(t.Context(), engine, "inspect", "--format",
			`{{index .Config.Labels "fleet.app"}} {{index .Config.Labels "fleet.unit"}} {{index .Config.Labels "fleet.machine"}} {{len (index .Config.Labels "fleet.revision")}}`, app+".1")
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%s %s@1.service %s 12\n", app, app, m.ID), labels)
		require.Equal(t, 1, count(t, m, line), "%s: lines in the journal", engine)

		_, err = m.Exec(t.Context(), "systemctl", "kill", "--signal=KILL", app+"@1.service")
		require.NoError(t, err)
		back := within(t, 30*time.Second, "it runs again", func() error { return twice(t, m, app, engine, line) })
		t.Logf("%s: its client killed: one container runs again after %.1f s", engine, back.Seconds())
		require.NoError(t, hasContainers(t.Context(), m, engine, app+".1"))
	}

	untouched := invocations(t, l.Machines)
	for _, liveRestore := range []bool{false, true} {
		require.NoError(t, m.Write("etc/docker/daemon.json", fmt.Sprintf(`{"live-restore": %t}`, liveRestore)))
		for _, how := range []string{"restart", "kill --signal=KILL"} { // the first one makes it read the file
			before := count(t, m, "said in docker")
			_, err := m.Exec(t.Context(), "systemctl", "reset-failed", "docker.service") // it may be started three times in a minute
			require.NoError(t, err)
			_, err = m.Exec(t.Context(), append(append([]string{"systemctl"}, strings.Fields(how)...), "docker.service")...)
			require.NoError(t, err)
			back := within(t, time.Minute, "it runs again", func() error {
				if count(t, m, "said in docker") == before {
					return errors.New("it has not been started again")
				}
				return errors.Join(isActive(t, m, "docker-one@1.service"), hasContainers(t.Context(), m, "docker", "docker-one.1"))
			})
			t.Logf("docker: systemctl %s, live-restore %t: one container runs again after %.1f s", how, liveRestore, back.Seconds())
		}
	}
	for unit, id := range invocations(t, l.Machines) {
		if !strings.HasSuffix(unit, "docker.service") {
			require.Equal(t, untouched[unit], id, unit)
		}
	}
}

// twice returns an error unless the app has written its line twice, and runs.
func twice(t *testing.T, m *Machine, app, engine, line string) error {
	if n := count(t, m, line); n != 2 {
		return fmt.Errorf("its line was written %d times", n)
	}
	return isActive(t, m, app+"@1.service")
}

func isActive(t *testing.T, m *Machine, unit string) error {
	if len(active(t, []*Machine{m}, unit)) == 0 {
		return fmt.Errorf("%s is not active", unit)
	}
	return nil
}

// TestContainersThatNoUnitAccountsFor: of an app that was deleted while docker was stopped, with and without live-restore, and of one that was
// deleted while its machine had no power.
func TestContainersThatNoUnitAccountsFor(t *testing.T) {
	l, m := withTools(t, "docker-left", "podman-left")
	manifest := func(engine string) string { return onFirst(engine+"-left", engine, stays, "") }
	gone := func(engine string) {
		t.Helper()
		took := within(t, time.Minute, "removed", func() error { return hasContainers(t.Context(), m, engine) })
		t.Logf("%s: removed after %.1f s", engine, took.Seconds())
	}
	told := func(engine string) {
		t.Helper()
		within(t, 10*time.Second, "an event says so", func() error {
			if events := fleetctl(t, "events --for unit/"+engine+"-left@1.service"); !strings.Contains(events, "ContainerNotPlaced") {
				return errors.New(events)
			}
			return nil
		})
	}
	for _, liveRestore := range []bool{false, true} {
		require.NoError(t, m.Write("etc/docker/daemon.json", fmt.Sprintf(`{"live-restore": %t}`, liveRestore)))
		_, err := m.Exec(t.Context(), "systemctl", "restart", "docker.service")
		require.NoError(t, err)
		require.NoError(t, applyOn(t, m, manifest("docker"), "--wait", "--timeout", "30s"))
		_, err = m.Exec(t.Context(), "sh", "-c", "systemctl mask --runtime docker.service docker.socket; systemctl stop docker.socket docker.service")
		require.NoError(t, err)
		fleetctl(t, "delete app/docker-left")
		within(t, time.Minute, "its unit is gone", func() error {
			if out := fleetctl(t, "list-units --no-legend"); strings.Contains(out, "docker-left@1") {
				return errors.New(out)
			}
			return nil
		})
		_, err = m.Exec(t.Context(), "sh", "-c", "systemctl unmask --runtime docker.service docker.socket; systemctl start docker.socket docker.service")
		require.NoError(t, err)
		require.NoError(t, hasContainers(t.Context(), m, "docker", "docker-left.1"), "it was left")
		t.Logf("docker stopped while the app is deleted, live-restore %t", liveRestore)
		gone("docker")
		told("docker")
	}

	for _, engine := range engines {
		require.NoError(t, applyOn(t, m, manifest(engine), "--wait", "--timeout", "30s"))
	}
	require.NoError(t, m.Kill(t.Context()))
	within(t, time.Minute, "the apps are deleted", func() error { // etcd may have lost its leader
		_, err := l.Machines[1].Exec(t.Context(), "fleetctl", "delete", "--ignore-not-found", "app/docker-left", "app/podman-left")
		return err
	})
	require.NoError(t, m.Boot(t.Context()))
	require.NoError(t, l.Joined(t.Context(), len(l.Machines)))
	t.Log("power cut, and the apps deleted meanwhile")
	for _, engine := range engines { // podman itself may remove one with --rm after a boot: then fleetd has nothing to tell
		gone(engine)
	}
	served(t, l.Machines, 2)
}

// TestPodmanPullsFromTheRegistry: with the file that docs/images-and-data.md names, and not without.
func TestPodmanPullsFromTheRegistry(t *testing.T) {
	l := withLab(t)
	m := l.Machines[0]
	registry, image := built(t, "fleet-registry"), built(t, "images/example-app.tar")
	page, err := os.ReadFile("../../docs/images-and-data.md")
	require.NoError(t, err)
	_, conf, found := strings.Cut(string(page), "```toml\n")
	conf, _, _ = strings.Cut(conf, "```")
	require.True(t, found)
	manifest, err := os.ReadFile("../../manifests/registry.yaml")
	require.NoError(t, err)
	for _, m := range l.Machines {
		m.copy(t, registry, "usr/bin/fleet-registry", 0o755)
		require.NoError(t, m.Write("etc/fleet/registry-credentials", "filesystem:\n  rootdirectory: /srv/images\n"))
		_, err := m.Exec(t.Context(), "sh", "-c", "chmod 600 /etc/fleet/registry-credentials; mkdir -p /srv/images; chmod 777 /srv/images")
		require.NoError(t, err)
	}
	m.copy(t, image, "root/example-app.tar", 0o644)
	require.NoError(t, m.Write("root/registry.yaml", strings.Replace(string(manifest), "PrivateTmp:", "ReadWritePaths: /srv/images\n      PrivateTmp:", 1)))
	fleetctl(t, "apply -f /root/registry.yaml --wait --timeout 1m")
	t.Cleanup(func() {
		_, err := m.Exec(context.Background(), "fleetctl", "delete", "app/registry", "app/pulled")
		require.NoError(t, err)
		require.NoError(t, poll(context.Background(), time.Minute, func() error { return hasContainers(context.Background(), m, "podman") }))
		_, err = m.Exec(context.Background(), "rm", "-r", "/srv/images", "/etc/containers/registries.conf.d/fleet.conf")
		require.NoError(t, err)
	})
	require.Contains(t, fleetctl(t, "push /root/example-app.tar"), "sha256:")
	_, err = m.Exec(t.Context(), "podman", "pull", "localhost:5000/example-app:latest")
	require.ErrorContains(t, err, "HTTPS")
	require.NoError(t, m.Write("etc/containers/registries.conf.d/fleet.conf", conf))
	require.NoError(t, applyOn(t, m, `apiVersion: fleet/v1
kind: App
metadata: {name: pulled}
spec:
  container: {runtime: podman, image: localhost:5000/example-app:latest}
  env: {PORT: "3200"}
  placement: {machineMetadata: {machine: m1}}
`, "--wait", "--timeout", "1m"))
	require.NoError(t, hasContainers(t.Context(), m, "podman", "pulled.1"))
}
