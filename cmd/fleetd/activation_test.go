package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
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

// asFleetd makes this test's program be fleetd, for a real systemd to start.
const asFleetd = "FLEETD_TEST_BE_FLEETD"

func TestMain(m *testing.M) {
	if os.Getenv(asFleetd) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// systemd opens two unix sockets and two TCP ones for fleetd, and fleetd one of its own: all are served, the first request
// starts fleetd, and SIGHUP closes none of them, nor a connection.
func TestAllSocketsOfSystemdAreServed(t *testing.T) {
	etcd := etcdtest.Start(t)
	dir, err := os.MkdirTemp("/tmp", "fleet-") // not t.TempDir(): socket paths must be short
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	cfg := machine.Config{Name: "sockets", RuntimeDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state")}
	units := filepath.Join(cfg.StateDir, "config/systemd/user")
	require.NoError(t, os.MkdirAll(units, 0o755))
	write := func(file, text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o644)) }

	sockets := []string{filepath.Join(dir, "a.sock"), filepath.Join(dir, "b.sock"), free(t, "127.0.0.1"), free(t, "127.0.0.2"), filepath.Join(dir, "own.sock")}
	own := len(sockets) - 1
	conf := filepath.Join(dir, "fleet.conf")
	write(conf, fmt.Sprintf("etcd_servers=%s\npublic_ip=127.0.0.1\nsystemd_user=true\nlisten=unix://%s\nstate_directory=%s\nmachine_id=%s\nmetadata=color=red\n",
		etcd.Endpoint(), sockets[own], filepath.Join(dir, "fleet"), filepath.Join(cfg.StateDir, "machine-id")))
	self, err := os.Executable()
	require.NoError(t, err)
	write(units+"/fleetd.socket", "[Socket]\nListenStream="+strings.Join(sockets[:own], "\nListenStream=")+"\n")
	write(units+"/fleetd.service", fmt.Sprintf("[Service]\nType=notify\nEnvironment=%s=1\nExecStart=%s --config %s\nExecReload=/bin/kill -HUP $MAINPID\n", asFleetd, self, conf))

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := machine.Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Kill()) })
	systemctl := func(args ...string) string {
		cmd := exec.CommandContext(ctx, "systemctl", append([]string{"--user"}, args...)...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+m.XDGRuntimeDir())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
		return strings.TrimSpace(string(out))
	}
	systemctl("start", "fleetd.socket")
	require.NoFileExists(t, sockets[own], "nothing has asked fleetd for anything")

	clients := make([]*http.Client, len(sockets))
	for i, socket := range sockets {
		clients[i] = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			if filepath.IsAbs(socket) {
				return d.DialContext(ctx, "unix", socket)
			}
			return d.DialContext(ctx, "tcp", socket)
		}}}
		defer clients[i].CloseIdleConnections()
	}
	// color is the metadata that each socket tells, over one connection each.
	color := func(i int) string {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://fleet/fleet/v1/machines", nil)
		require.NoError(t, err)
		res, err := clients[i].Do(req)
		require.NoError(t, err, sockets[i])
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode, "%s: %s", sockets[i], body)
		var page struct {
			Machines []struct{ Metadata map[string]string }
		}
		require.NoError(t, json.Unmarshal(body, &page))
		if len(page.Machines) == 0 {
			return "" // the machine is not present yet
		}
		return page.Machines[0].Metadata["color"]
	}
	all := func(want string) {
		t.Helper()
		for i, socket := range sockets {
			require.Eventually(t, func() bool { return color(i) == want }, 20*time.Second, 20*time.Millisecond, "%s tells of %s", socket, want)
		}
	}
	all("red")
	pid := systemctl("show", "-p", "MainPID", "--value", "fleetd.service")
	text, err := os.ReadFile(conf)
	require.NoError(t, err)
	write(conf, strings.Replace(string(text), "red", "blue", 1))
	systemctl("reload", "fleetd.service")
	all("blue")
	for _, client := range clients {
		client.CloseIdleConnections() // new connections are accepted, too
	}
	all("blue")
	require.Equal(t, pid, systemctl("show", "-p", "MainPID", "--value", "fleetd.service"))

	systemctl("stop", "fleetd.service") // the sockets are systemd's: they start fleetd again
	all("blue")
	require.NotEqual(t, pid, systemctl("show", "-p", "MainPID", "--value", "fleetd.service"))
}

// free returns an address with a free port.
func free(t *testing.T, host string) string {
	t.Helper()
	l, err := net.Listen("tcp", host+":0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}
