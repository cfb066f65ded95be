package e2e

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/dev"
)

// A machine that boots while etcd is away starts its units from the copy on its disk.
func TestBootWithoutEtcd(t *testing.T) {
	calm(t)
	m := machineOf(t, "example-app@1.service")
	run(t, "fleet-dev stop-etcd")
	run(t, "fleet-dev kill-machine %d", m)
	run(t, "fleet-dev start-machine %d", m)
	eventually(t, 30*time.Second, "the instance runs and its machine routes", func() error {
		if _, err := try("curl -sf http://%s:3000/healthz", dev.Address(m)); err != nil {
			return err
		}
		_, err := get(t.Context(), &http.Client{Timeout: patience}, m, app+".localhost", "/")
		return err
	})
	run(t, "fleet-dev start-etcd")
	calm(t)
	require.Equal(t, m, machineOf(t, "example-app@1.service"), "it was back before its lease ran out")
}

// TestBootDrainedWithoutEtcd: a drained machine that reboots while etcd is away never tells load balancers that it takes requests.
func TestBootDrainedWithoutEtcd(t *testing.T) {
	calm(t)
	idle := 6 - machineOf(t, "example-app@1.service") - machineOf(t, "example-app@2.service") // the third of 1, 2 and 3
	health := func() (int, error) {
		res, err := (&http.Client{Timeout: patience}).Get("http://" + dev.Address(idle) + ":8080/-/healthz")
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		return res.StatusCode, nil
	}
	answers := func(what string, want int) {
		t.Helper()
		eventually(t, 30*time.Second, what, func() error {
			code, err := health()
			if err == nil && code != want {
				err = fmt.Errorf("/-/healthz answers %d", code)
			}
			return err
		})
	}
	id := strings.TrimSpace(run(t, "fleetctl list-machines --full --no-legend | awk '/%s/ {print $1}'", dev.Address(idle)))
	run(t, "fleetctl drain %s --timeout 1m", id)
	answers("it is drained", http.StatusServiceUnavailable)
	run(t, "fleet-dev stop-etcd")
	run(t, "fleet-dev kill-machine %d", idle)
	run(t, "fleet-dev start-machine %d", idle)
	deadline, asked := time.Now().Add(30*time.Second), 0
	for asked < 20 && time.Now().Before(deadline) {
		if code, err := health(); err == nil {
			require.Equal(t, http.StatusServiceUnavailable, code)
			asked++
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.Equal(t, 20, asked, "its router answers without etcd")
	run(t, "fleet-dev start-etcd")
	eventually(t, time.Minute, "uncordoned", func() error {
		_, err := try("fleetctl uncordon %s", id)
		return err
	})
	answers("it is uncordoned", http.StatusOK)
	calm(t)
}

func TestWebsocket(t *testing.T) {
	calm(t)
	for _, m := range allMachines {
		conn, err := net.DialTimeout("tcp", dev.Address(m)+":8080", 5*time.Second)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = io.WriteString(conn, "GET /echo HTTP/1.1\r\nHost: example-app.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		require.NoError(t, err)
		r := bufio.NewReader(conn)
		res, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
		// One masked text frame, RFC 6455 section 5.2; a mask of zeros leaves the payload as it is.
		payload := "through the router"
		frame := append([]byte{0x81, 0x80 | byte(len(payload))}, binary.BigEndian.AppendUint32(nil, 0)...)
		_, err = conn.Write(append(frame, payload...))
		require.NoError(t, err)
		echo := make([]byte, 2+len(payload))
		_, err = io.ReadFull(r, echo)
		require.NoError(t, err)
		require.Equal(t, payload, string(echo[2:]))
	}
}

// Logs are read on the unit's machine, whichever machine is asked.
func TestLogs(t *testing.T) {
	calm(t)
	for _, m := range allMachines {
		out := run(t, "fleetctl --endpoint http://%s:%d logs example-app-discovery@2.service", dev.Address(m), dev.APIPort)
		require.Contains(t, out, "Announcing the instance")
	}
}

// storeRevision returns etcd's revision, which grows with every write.
func storeRevision(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSpace(run(t, "etcdctl get / -w json | jq .header.revision")))
	require.NoError(t, err)
	return n
}

// writtenAfter returns the keys that changed after a revision, without those that were deleted.
func writtenAfter(t *testing.T, revision int) string {
	t.Helper()
	return run(t, "etcdctl get --prefix / -w json | jq -r '.kvs[] | select(.mod_revision > %d) | (.key | @base64d) + \" \" + (.value | @base64d)'", revision)
}

func TestAtRestNothingIsWritten(t *testing.T) {
	calm(t)
	// Leases that earlier tests left behind may still expire.
	eventually(t, 90*time.Second, "15 seconds, longer than any lease of a machine, without a write", func() error {
		before := storeRevision(t)
		time.Sleep(15 * time.Second)
		if now := storeRevision(t); now != before {
			return fmt.Errorf("%d writes: %s", now-before, writtenAfter(t, before))
		}
		return nil
	})
}

func TestAnnouncerIsSmall(t *testing.T) {
	calm(t)
	m := machineOf(t, "example-app-discovery@1.service")
	pid := strings.TrimSpace(run(t, "fleet-dev exec %d systemctl --user show -p MainPID --value example-app-discovery@1.service", m))
	status, err := os.ReadFile("/proc/" + pid + "/status")
	require.NoError(t, err)
	found := regexp.MustCompile(`RssAnon:\s+(\d+) kB`).FindSubmatch(status)
	require.NotNil(t, found)
	kB, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	t.Logf("an announcer has %d kB of its own", kB)
	require.LessOrEqual(t, kB, 6*1024)
}

// As in the seed: a template is submitted, its instances are started by name.
func TestUnitFilesByHand(t *testing.T) {
	calm(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "byhand@.service")
	text := "[Unit]\nDescription=By hand\n\n[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\nConflicts=byhand@*.service\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	run(t, "fleetctl submit %s", file)
	require.Contains(t, run(t, "fleetctl list-unit-files"), "byhand@.service")
	run(t, "fleetctl start byhand@1 byhand@2")
	require.NotEqual(t, machineOf(t, "byhand@1.service"), machineOf(t, "byhand@2.service"))
	require.Equal(t, text, run(t, "fleetctl cat byhand@1"))
	require.Contains(t, run(t, "fleet-dev exec %d systemctl --user cat byhand@1.service", machineOf(t, "byhand@1.service")), text)
	run(t, "fleetctl stop byhand@1")
	run(t, "fleetctl destroy byhand@1 byhand@2 byhand@.service")
	eventually(t, 15*time.Second, "gone", func() error {
		if out := run(t, "fleetctl list-units --no-legend; fleetctl list-unit-files --no-legend"); strings.Contains(out, "byhand") {
			return fmt.Errorf("%s", out)
		}
		for _, m := range allMachines {
			if out, err := try("fleet-dev exec %d systemctl --user list-units --all --no-legend 'byhand*'", m); err != nil || strings.Contains(out, "byhand@") {
				return fmt.Errorf("machine %d: %s %v", m, out, err)
			}
		}
		return nil
	})
}

// A unit that does its work and ends counts as started when it has ended, each time that it is started.
func TestOneshot(t *testing.T) {
	calm(t)
	file := filepath.Join(t.TempDir(), "once.service")
	require.NoError(t, os.WriteFile(file, []byte("[Service]\nType=oneshot\nExecStart=/bin/true\n"), 0o644))
	defer run(t, "fleetctl destroy once")
	for range 2 {
		require.Contains(t, run(t, "fleetctl start %s --timeout 30s", file), "Unit once.service launched on")
	}
}

// A unit that cannot be started says why where people look, such as a program (docker) that is not installed.
func TestMissingProgram(t *testing.T) {
	calm(t)
	file := filepath.Join(t.TempDir(), "missing.service")
	require.NoError(t, os.WriteFile(file, []byte("[Service]\nExecStart=/usr/bin/no-such-program\n"), 0o644))
	defer run(t, "fleetctl destroy missing")
	out, err := try("fleetctl start %s --timeout 30s", file)
	require.Error(t, err)
	require.Contains(t, out, "failed (exit-code), exit status 203 (EXEC: the program cannot be executed)")
	eventually(t, 10*time.Second, "the log says why", func() error {
		if out := run(t, "fleetctl logs missing"); !strings.Contains(out, "no-such-program: No such file or directory") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
}

// A name that is in use is refused, and its owner is not touched.
func TestNameTaken(t *testing.T) {
	calm(t)
	before := invocations(t)
	out, err := try(`fleetctl apply --wait --timeout 20s -f - <<'END'
apiVersion: fleet/v1
kind: App
metadata:
  name: example-app-discovery
spec:
  exec:
    command: [/bin/sleep, infinity]
END`)
	require.Error(t, err)
	require.Contains(t, out, "NameTaken")
	require.Equal(t, before, invocations(t))
	run(t, "fleetctl delete app example-app-discovery")
	calm(t)
	require.Equal(t, before, invocations(t))
}

// An endpoint that is not ip:port is ignored and reported; other endpoints are not affected.
func TestBadEndpoint(t *testing.T) {
	calm(t)
	run(t, `etcdctl put /services/web/example-app/evil '127.0.0.1:80; } server { listen 127.0.0.1:9999;'`)
	defer run(t, "etcdctl del /services/web/example-app/evil")
	eventually(t, 10*time.Second, "said so", func() error {
		if out := run(t, "etcdctl get --prefix /fleet/routers/"); !strings.Contains(out, "/services/web/example-app/evil") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	servedBy(t, allMachines, both...)
	require.Contains(t, run(t, "fleetctl events"), "InvalidAddress")
}

// A router whose port is in use does not serve, and says so; it serves as soon as the port is free.
func TestRouterWithoutItsPort(t *testing.T) {
	calm(t)
	other, err := net.Listen("tcp", "127.0.0.12:8090")
	require.NoError(t, err)
	server := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(other) }()
	defer server.Close()
	defer run(t, "fleetctl delete app edge")
	out, err := try(`sed -e 's/name: router/name: edge/; s/8080/8090/; s|fleet/router"|fleet/edge", --machine, "edge-${FLEET_MACHINE_ID}"|; s/, --state-file.*json"//' manifests/dev/router.yaml | fleetctl apply --wait --timeout 20s -f -`)
	require.Error(t, err)
	require.Contains(t, out, "app/edge created")
	states, ids := map[string]bool{}, map[string]string{}
	for _, u := range units(t, "edge") {
		states[u.ip], ids[u.ip] = u.active == "active", u.id
	}
	require.Equal(t, map[string]bool{"127.0.0.11": true, "127.0.0.12": false, "127.0.0.13": true}, states)
	require.Contains(t, out, "in a restart loop")
	eventually(t, 30*time.Second, "the others are ready", func() error {
		if out := run(t, "fleetctl get app edge"); !strings.Contains(out, "2/3") {
			return fmt.Errorf("%s", out)
		}
		return nil
	})
	require.Contains(t, run(t, "fleetctl logs edge -n 60 --machine %s", ids["127.0.0.12"]), "listen 127.0.0.12:8090: another process uses this address")
	require.NoError(t, server.Close())
	eventually(t, 30*time.Second, "it serves", func() error { // ready it is when it has done so for a while
		for _, u := range units(t, "edge") {
			if u.active != "active" {
				return fmt.Errorf("%+v", u)
			}
		}
		return nil
	})
}
