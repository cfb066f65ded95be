package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/test/load"
)

// lab is a second local cluster: its machines have network links that can be cut, and its etcd runs in processes that can be killed. It
// shares no address with the cluster of the other tests.
type lab struct {
	dir     string
	etcd    []string // the program and flags of its version
	members []*member
}

// labHost is this computer's address in the network of the lab's machines.
const labHost = "10.213.0.1"

func labAddress(machine int) string { return fmt.Sprintf("10.213.0.%d", 10+machine) }

// theLab is up from the first test that needs it until the last test has ended.
var theLab *lab

// withLab returns the lab once both of its apps are placed, announced and served by every router. It skips the test if this computer
// does not allow network namespaces.
func withLab(t *testing.T) *lab {
	t.Helper()
	canCut(t)
	if theLab == nil {
		startLab(t, "etcd", 3, "--unsafe-no-fsync")
	}
	l := theLab
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := l.try("fleetctl list-units; fleetctl events; etcdctl get --prefix /fleet/routers/; fleet-dev logs --dir %s/dev --no-pager -n 200", l.dir)
			t.Logf("%s", out)
			for m := 1; m <= 3; m++ {
				out, _ := l.try("fleet-dev --dir %s/dev exec %d journalctl --user --no-pager -n 60 -u router.service", l.dir, m)
				t.Logf("router of machine %d:\n%s", m, out)
			}
		}
	})
	l.calm(t)
	return l
}

// canCut skips the test if this computer does not allow network namespaces.
func canCut(t *testing.T) {
	t.Helper()
	if out, err := shell("unshare --net ip link add probe0 type veth peer name probe1"); err != nil {
		t.Skipf("no machine can be cut off here: it takes root and the right to make network namespaces: %v: %s", err, out)
	}
}

// startLab starts an etcd with that many members, and three machines.
func startLab(t *testing.T, etcd string, members int, flags ...string) {
	t.Helper()
	out, err := shell("make -s etcd")
	require.NoError(t, err, "%s", out)
	program := filepath.Join(top, "bin", etcd)
	if _, err := os.Stat(program); err != nil {
		t.Skipf("no cluster is run with this etcd: there is no %s: make etcd: %s", program, out)
	}
	dir, err := os.MkdirTemp("", "lab")
	require.NoError(t, err)
	theLab = &lab{dir: dir, etcd: append([]string{program}, flags...)}
	theLab.startEtcd(t, members)
	out, err = shell(fmt.Sprintf("bin/fleet-dev --detach --cables --dir %s/dev --etcd-servers %s", dir, strings.Join(theLab.endpoints(), ",")))
	require.NoError(t, err, "%s", out)
}

// closeLab stops the lab and removes its files.
func closeLab() error {
	l := theLab
	if l == nil {
		return nil
	}
	theLab = nil
	out, err := shell("bin/fleet-dev down --dir " + l.dir + "/dev")
	if err != nil {
		err = fmt.Errorf("the lab's fleet-dev down: %w: %s", err, out)
	}
	for _, m := range l.members {
		m.kill()
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// The lab's apps: stay has an instance on every machine, so that none can move; move has a machine to spare.
const (
	stay = "stay"
	move = "move"
)

func (l *lab) calm(t *testing.T) {
	t.Helper()
	eventually(t, 60*time.Second, "applied", func() error {
		out, err := l.try("fleetctl apply -f manifests/dev/router.yaml -f %s -f %s --wait --timeout 1m",
			serverApp(t, stay, "replicas: 3", 3302, "1"), serverApp(t, move, "replicas: 2", 3303, "1"))
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
	l.servedBy(t, stay, []int{1, 2, 3}, 3)
	l.servedBy(t, move, []int{1, 2, 3}, 2)
}

// servedBy waits until that many instances of the app answer through each of the routers.
func (l *lab) servedBy(t *testing.T, app string, routers []int, instances int) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for _, r := range routers {
		eventually(t, 30*time.Second, fmt.Sprintf("router of machine %d", r), func() error {
			seen := map[string]bool{}
			for range 5 * instances {
				instance, err := getAt(t.Context(), client, labAddress(r), app+".localhost", "/instance")
				if err != nil {
					return err
				}
				seen[instance] = true
			}
			if len(seen) != instances {
				return fmt.Errorf("%v answer, not %d instances", seen, instances)
			}
			return nil
		})
	}
}

func (l *lab) endpoints() (urls []string) {
	for _, m := range l.members {
		urls = append(urls, m.client)
	}
	return urls
}

// run runs a command line for the lab's cluster; it must succeed.
func (l *lab) run(t *testing.T, format string, args ...any) string {
	t.Helper()
	out, err := l.try(format, args...)
	require.NoError(t, err, "%s\n%s", fmt.Sprintf(format, args...), out)
	return out
}

func (l *lab) try(format string, args ...any) (string, error) {
	return shell(". " + l.dir + "/dev/env; " + fmt.Sprintf(format, args...))
}

// dev runs "fleet-dev" for the lab's cluster.
func (l *lab) dev(t *testing.T, format string, args ...any) string {
	t.Helper()
	return l.run(t, "fleet-dev --dir "+l.dir+"/dev "+format, args...)
}

// on returns the machines that report the unit as running.
func (l *lab) on(t *testing.T, name string) (machines []int) {
	t.Helper()
	for line := range strings.Lines(l.run(t, "fleetctl list-units --no-legend --full --fields unit,machine,active,sub,phase")) {
		f := strings.Fields(line)
		_, ip, _ := strings.Cut(f[1], "/")
		var n int
		if _, err := fmt.Sscanf(ip, "10.213.0.%d", &n); err == nil && f[0] == name && f[2] == "active" {
			machines = append(machines, n-10)
		}
	}
	return machines
}

// invocation returns the unit's invocation ID from the machine's systemd; empty if it does not run there.
func (l *lab) invocation(t *testing.T, machine int, name string) string {
	t.Helper()
	state := l.dev(t, "exec %d systemctl --user show -p ActiveState --value %s", machine, name)
	if strings.TrimSpace(state) != "active" {
		return ""
	}
	return strings.TrimSpace(l.dev(t, "exec %d systemctl --user show -p InvocationID --value %s", machine, name))
}

// endpoint returns the address announced for the instance; empty if there is none.
func (l *lab) endpoint(t *testing.T, app, instance string) string {
	t.Helper()
	return strings.TrimSpace(l.run(t, "etcdctl get --print-value-only /services/web/%s/%s", app, instance))
}

// member is one member of an etcd cluster, a process.
type member struct {
	name, client, peer string
	argv               []string
	log                string
	cmd                *exec.Cmd
}

// startEtcd starts an etcd cluster with that many members, and returns when it has a leader.
func (l *lab) startEtcd(t *testing.T, members int) {
	t.Helper()
	for n := range members {
		m := &member{name: fmt.Sprintf("e%d", n+1), log: filepath.Join(l.dir, fmt.Sprintf("e%d.log", n+1))}
		m.client, m.peer = fmt.Sprintf("http://%s:%d", labHost, freePort(t)), fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
		l.members = append(l.members, m)
	}
	for _, m := range l.members {
		port := m.client[strings.LastIndex(m.client, ":"):]
		m.argv = append(slices.Clone(l.etcd), "--name", m.name, "--data-dir", filepath.Join(l.dir, m.name),
			"--listen-client-urls", "http://0.0.0.0"+port, "--advertise-client-urls", m.client,
			"--listen-peer-urls", m.peer, "--initial-advertise-peer-urls", m.peer, "--initial-cluster", l.initial(),
			"--heartbeat-interval", "50", "--election-timeout", "500", "--quota-backend-bytes", "33554432")
		m.start(t)
	}
	for _, m := range l.members {
		m.await(t)
	}
}

// initial returns the members as --initial-cluster takes them.
func (l *lab) initial() string {
	var list []string
	for _, m := range l.members {
		list = append(list, m.name+"="+m.peer)
	}
	return strings.Join(list, ",")
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "0.0.0.0:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

func (m *member) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(m.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer log.Close()
	m.cmd = exec.Command(m.argv[0], m.argv[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = log, log
	require.NoError(t, m.cmd.Start())
}

// await returns when the member reports that it is healthy, which it is only with a leader.
func (m *member) await(t *testing.T) {
	t.Helper()
	url := "http://127.0.0.1" + m.client[strings.LastIndex(m.client, ":"):] + "/health"
	eventually(t, 30*time.Second, m.name+" is healthy", func() error {
		res, err := http.Get(url)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if body, _ := io.ReadAll(res.Body); !bytes.Contains(body, []byte(`"health":"true"`)) {
			return fmt.Errorf("%s", body)
		}
		return nil
	})
}

// kill kills the member's process, as a power cut would.
func (m *member) kill() {
	if m.cmd != nil {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		m.cmd = nil
	}
}

// startLoad sends GETs to the lab's apps through routers, four streams over kept connections to each app and router, and returns when
// requests are answered. A request without an answer within the limit counts as lost.
func startLoad(t *testing.T, limit time.Duration, routers ...int) *load.Load {
	t.Helper()
	const senders = 4
	var targets []load.Target
	for _, router := range routers {
		for _, app := range []string{stay, move} {
			targets = append(targets, load.Target{Name: loadName(router, app), Address: labAddress(router) + ":8080", Host: app + ".localhost"})
		}
	}
	l := load.Options{Kinds: []load.Kind{{Method: http.MethodGet, Kept: true}}, Senders: senders, Patience: limit}.Start(targets...)
	t.Cleanup(func() { l.Stop() })
	eventually(t, 10*time.Second, "answers", func() error {
		if n := l.SoFar().Total(); n < 100*len(routers) {
			return fmt.Errorf("%d requests are answered", n)
		}
		return nil
	})
	return l
}

// loadName is what failures of startLoad call an app through a router.
func loadName(router int, app string) string { return fmt.Sprintf("%s through m%d", app, router) }
