package compat

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/machine"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// bin is where our programs and, in fleet1, the original's are.
var bin, _ = filepath.Abs("../../bin")

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

// runAll builds the programs as they are in this checkout.
func runAll(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fleet-compat-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	for _, line := range []string{"go build -o " + dir + "/ ./cmd/fleetd ./cmd/fleetctl", "[ -x bin/fleet1/fleetd ] || make -s fleet1", "[ -x bin/etcd-3.4 ] || make -s etcd"} {
		cmd := exec.Command("bash", "-c", line)
		cmd.Dir = filepath.Dir(bin)
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n%s", line, err, out)
			return 1
		}
	}
	programs = map[which]string{ours: dir, theirs: filepath.Join(bin, "fleet1")}
	return m.Run()
}

// which is whose programs.
type which string

const (
	ours   which = "ours"
	theirs which = "fleet 1.0"
)

// programs are the directories of both.
var programs map[which]string

// node is a machine with a fleetd.
type node struct {
	*machine.Machine
	dir, address, socket string
	conf                 map[string]string
	fleetd               *exec.Cmd
	log                  bytes.Buffer
}

// cluster is some machines with one etcd. Its fleetds are all of one kind.
type cluster struct {
	t     *testing.T
	kind  which
	etcd  string
	own   *etcdtest.Server // the etcd of ours
	nodes []*node
}

// newCluster starts machines and their fleetds, at 127.0.0.2N.
func newCluster(t *testing.T, kind which, n int) *cluster {
	t.Helper()
	if err := machine.Detect(); err != nil || os.Geteuid() != 0 {
		t.Skip("machines with their own machine-id and bus need root")
	}
	c := &cluster{t: t, kind: kind}
	if kind == ours {
		c.own = etcdtest.Start(t)
		c.etcd = c.own.Endpoint()
	} else {
		c.etcd = startEtcd2(t)
	}
	for i := range n {
		c.add(fmt.Sprintf("127.0.0.%d", 21+i))
	}
	return c
}

// startEtcd2 runs an etcd that has the API of etcd 2, which the original uses.
func startEtcd2(t *testing.T) string {
	client, peer := "http://"+freeAddress(t, "127.0.0.1"), "http://"+freeAddress(t, "127.0.0.1")
	cmd := exec.Command(filepath.Join(bin, "etcd-3.4"), "--enable-v2", "--data-dir", t.TempDir(), "--listen-client-urls", client, "--advertise-client-urls", client,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--log-level", "error")
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return client
}

// freeAddress returns an address that nothing listens on.
func freeAddress(t *testing.T, host string) string {
	l, err := net.Listen("tcp", host+":0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// add starts one more machine.
func (c *cluster) add(ip string) *node {
	t := c.t
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fleet-")
	require.NoError(t, err)
	n := &node{dir: dir, address: freeAddress(t, ip), socket: filepath.Join(dir, "api.sock")}
	t.Cleanup(func() {
		require.NoError(t, machine.Sweep(filepath.Join(dir, "run")))
		require.NoError(t, os.RemoveAll(dir))
	})
	n.boot(t)
	n.conf = map[string]string{"public_ip": ip, "agent_ttl": "3s", "systemd_user": "true",
		"units_directory": filepath.Join(dir, "units") + "/", "metadata": "hostname=" + ip, "etcd_request_timeout": "2.0"}
	c.nodes = append(c.nodes, n)
	c.configure(n)
	c.start(n)
	return n
}

// boot starts a machine, or starts one that was stopped again, with what is on its disk: what a real one has in /run is gone.
func (n *node) boot(t *testing.T) {
	t.Helper()
	for _, volatile := range []string{"units", "fleetd"} {
		require.NoError(t, os.RemoveAll(filepath.Join(n.dir, volatile)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := machine.Start(ctx, machine.Config{Name: filepath.Base(n.dir), RuntimeDir: filepath.Join(n.dir, "run"), StateDir: filepath.Join(n.dir, "state")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Kill()) })
	n.Machine = m
}

// configure has a machine use the cluster's etcd and kind of fleetd.
func (c *cluster) configure(n *node) {
	n.conf["etcd_servers"] = `["` + c.etcd + `"]`
	if c.kind == ours {
		n.conf["listen"] = "unix://" + n.socket + ",http://" + n.address
		n.conf["state_directory"], n.conf["runtime_directory"] = filepath.Join(n.dir, "lib"), filepath.Join(n.dir, "fleetd")
	}
}

// start runs a machine's fleetd until it answers.
func (c *cluster) start(n *node) {
	c.t.Helper()
	c.launch(n)
	eventually(c.t, 20*time.Second, func() error {
		out, err := c.fleetctl(c.kind, n, "list-machines", "--no-legend", "--full")
		if err == nil && !strings.Contains(out, n.ID()) {
			err = fmt.Errorf("%s is not among\n%s", n.ID(), out)
		}
		return err
	})
}

// launch starts a machine's fleetd. The original's sockets are opened for it, as systemd would.
func (c *cluster) launch(n *node) {
	t := c.t
	t.Helper()
	var lines strings.Builder
	for key, value := range n.conf {
		fmt.Fprintf(&lines, "%s=%s\n", key, value)
	}
	file := filepath.Join(n.dir, "fleet.conf")
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	argv := []string{filepath.Join(programs[c.kind], "fleetd"), "-config", file}
	if c.kind == theirs {
		argv = append([]string{"systemd-socket-activate", "-E", "DBUS_SESSION_BUS_ADDRESS", "-E", "XDG_RUNTIME_DIR", "-l", n.socket, "-l", n.address}, argv...)
	}
	n.fleetd = n.Command(argv...)
	n.fleetd.Stdout, n.fleetd.Stderr = &n.log, &n.log
	require.NoError(t, n.fleetd.Start())
	t.Cleanup(func() {
		c.stop(n)
		if t.Failed() {
			t.Logf("fleetd at %s:\n%s", n.address, n.log.String())
		}
	})
}

// stop ends a machine's fleetd.
func (c *cluster) stop(n *node) {
	if n.fleetd != nil {
		_ = n.fleetd.Process.Signal(os.Interrupt)
		_ = n.fleetd.Wait() // how it ended is in its log
		n.fleetd = nil
	}
}

// fleetctl runs either fleetctl against a machine's fleetd. It fails when the command hangs.
func (c *cluster) fleetctl(kind which, n *node, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), hangs)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(programs[kind], "fleetctl"), append([]string{"--endpoint=http://" + n.address}, args...)...)
	cmd.Env = append(os.Environ(), "SSH_AUTH_SOCK=")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("fleetctl %s does not end", strings.Join(args, " "))
	}
	return string(out), err
}

// hangs is after which time a command does not end any more.
const hangs = 30 * time.Second

// eventually waits until check passes, for longer than within if that is less than half a minute: the computer may be busy.
func eventually(t *testing.T, within time.Duration, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(max(within, 30*time.Second)); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(t, err)
		}
	}
}
