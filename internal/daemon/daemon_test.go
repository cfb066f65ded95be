package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/config"
	"github.com/fleet-starter/fleet/internal/daemon/presence"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/machine"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	id     = "0123456789abcdef0123456789abcdef"
	within = 20 * time.Second
)

var keys = keyspace.New("")

// output is a log that may be read while it is written.
type output struct {
	mu sync.Mutex
	bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.Buffer.Write(p)
}

func (o *output) text() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.String()
}

func (o *output) has(text string) bool { return strings.Contains(o.text(), text) }

// lab is a machine and an etcd for daemons to run on.
type lab struct {
	t    *testing.T
	dir  string
	etcd *etcdtest.Server
	runs []*running
}

func newLab(t *testing.T) *lab {
	dir, err := os.MkdirTemp("/tmp", "fleet-") // not t.TempDir(): socket paths must be short
	require.NoError(t, err)
	cfg := machine.Config{Name: "daemon", RuntimeDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state")}
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	m, err := machine.Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, m.Kill())
		require.NoError(t, os.RemoveAll(dir))
	})
	t.Setenv("XDG_RUNTIME_DIR", m.XDGRuntimeDir())
	l := &lab{t: t, dir: dir, etcd: etcdtest.Start(t)}
	t.Cleanup(func() {
		if t.Failed() {
			for _, r := range l.runs {
				t.Log(r.log.text())
			}
		}
	})
	return l
}

func (l *lab) config(environ ...string) (*config.Config, []string, error) {
	file := filepath.Join(l.dir, "fleet.conf")
	text := fmt.Sprintf("etcd_servers=%s\nmachine_id=%s\npublic_ip=127.0.0.11\nsystemd_user=true\nstate_directory=%s/disk\nlisten=unix://%s/api\nagent_ttl=10s\n",
		l.etcd.Endpoint(), id, l.dir, l.dir)
	require.NoError(l.t, os.WriteFile(file, []byte(text), 0o644))
	return config.Load(config.Source{File: file, Environ: append(environ, "XDG_RUNTIME_DIR="+os.Getenv("XDG_RUNTIME_DIR"))})
}

// running is one daemon.
type running struct {
	*lab
	log     *output
	out     *output
	signals chan os.Signal
	ended   chan error
	reload  []string // the environment for the next SIGHUP
}

func (l *lab) run(environ ...string) *running {
	l.t.Helper()
	cfg, _, err := l.config(environ...)
	require.NoError(l.t, err)
	r := &running{lab: l, log: &output{}, out: &output{}, signals: make(chan os.Signal, 1), ended: make(chan error, 1)}
	d := New(cfg, Options{Log: r.log, Out: r.out, Signals: r.signals, Reload: func() (*config.Config, []string, error) { return l.config(r.reload...) }})
	l.runs = append(l.runs, r)
	go func() { r.ended <- d.Run(context.Background()) }()
	return r
}

func (r *running) stop() {
	r.t.Helper()
	r.signals <- syscall.SIGTERM
	require.NoError(r.t, r.wait())
}

func (r *running) wait() error {
	r.t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(within):
		require.FailNow(r.t, "fleetd did not end")
		return nil
	}
}

func (r *running) awaitLog(text string) {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return r.log.has(text) }, within, 10*time.Millisecond, "%s", text)
}

// get sends a request to the API's socket.
func (l *lab) get(path string) (int, string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", l.dir+"/api")
	}}}
	response, err := client.Get("http://fleetd" + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(l.t, err)
	return response.StatusCode, string(body)
}

func (l *lab) awaitReady() {
	l.t.Helper()
	require.Eventually(l.t, func() bool { code, _ := l.get("/readyz"); return code == http.StatusOK }, within, 20*time.Millisecond)
}

func (l *lab) machine() (*v1.Machine, int64) {
	kv, ok, _, err := l.etcd.Client().Get(l.t.Context(), keys.Machines().Key(id))
	require.NoError(l.t, err)
	if !ok {
		return nil, 0
	}
	m, err := keys.Machines().Decode(kv.Value)
	require.NoError(l.t, err)
	return &m, kv.ModRevision
}

func (l *lab) put(unit, text string) {
	hash := unitfile.Hash(text)
	value, err := keys.Units().Encode(v1.Unit{Metadata: v1.ObjectMeta{Name: unit}, Spec: v1.UnitSpec{Hash: hash, DesiredState: v1.Launched}})
	require.NoError(l.t, err)
	_, err = l.etcd.Client().Commit(l.t.Context(), store.Txn{Ops: []store.Op{
		{Key: keys.UnitFiles().Key(hash), Value: []byte(text)}, {Key: keys.Units().Key(unit), Value: value}}})
	require.NoError(l.t, err)
}

func (l *lab) awaitActive(unit string) (invocation string) {
	l.t.Helper()
	client := l.etcd.Client()
	require.Eventually(l.t, func() bool {
		kv, ok, _, err := client.Get(l.t.Context(), keys.StatesOf(id).Key(unit))
		if err != nil || !ok {
			return false
		}
		state, err := keys.StatesOf(id).Decode(kv.Value)
		invocation = state.InvocationID
		return err == nil && state.ActiveState == "active"
	}, within, 10*time.Millisecond, unit)
	return invocation
}

func TestLife(t *testing.T) {
	l := newLab(t)
	r := l.run()
	l.awaitReady()
	info, err := os.Stat(l.dir + "/api")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o660), info.Mode().Perm())
	code, body := l.get("/healthz")
	require.Equal(t, 200, code, body)
	_, body = l.get("/metrics")
	require.Contains(t, body, "fleet_controller_reconcile_total{controller=\"node\"")
	_, body = l.get("/version")
	require.Contains(t, body, id)

	m, _ := l.machine()
	require.Equal(t, "127.0.0.11", m.Spec.Address)
	require.NotEmpty(t, m.Spec.BootID)
	require.Positive(t, m.Spec.Capacity.Memory)

	// The unit prints variables from the environment file.
	l.put("a.service", "[Service]\nEnvironmentFile=%t/fleet/environment\nExecStart=/bin/sh -c '[ \"$FLEET_MACHINE_IP\" = 127.0.0.11 ] && [ -d \"$XDG_RUNTIME_DIR/fleet/bin/\" ] && sleep infinity'\n")
	first := l.awaitActive("a.service")

	r.reload = []string{"FLEET_METADATA=zone=b", "FLEET_VERBOSITY=1", "FLEET_TOKEN_LIMIT=7"}
	r.signals <- syscall.SIGHUP
	r.awaitLog("Reloading configuration")
	r.awaitLog("Configuration reloaded")
	r.awaitLog("take effect at the next start")
	require.Eventually(t, func() bool { m, _ := l.machine(); return m.Spec.Metadata["zone"] == "b" }, within, 10*time.Millisecond)
	r.reload = []string{"FLEET_VERBOSITY=x"}
	r.signals <- syscall.SIGHUP
	r.awaitLog("Configuration is invalid, keeping the old one")
	r.signals <- syscall.SIGUSR1
	r.awaitLog("Dumped the state")
	var state struct {
		Machine v1.Machine     `json:"machine"`
		Config  *config.Config `json:"config"`
		Node    json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(r.out.text()), &state))
	require.Equal(t, "b", state.Machine.Spec.Metadata["zone"])
	require.Equal(t, 1, state.Config.Verbosity)
	require.Contains(t, string(state.Node), `"a.service":{"hash":`)

	_, before := l.machine()
	r.stop()
	require.False(t, r.log.has("Uncaught"))
	r = l.run("FLEET_METADATA=zone=b")
	l.awaitReady()
	require.Equal(t, first, l.awaitActive("a.service"), "a restart touches no unit")
	_, after := l.machine()
	require.Equal(t, before, after, "nor the presence")
	r.awaitLog("Adopted lease")
	r.stop()
}

func TestEtcdAwayAtTheStart(t *testing.T) {
	l := newLab(t)
	l.etcd.Stop()
	r := l.run()
	r.awaitLog("etcd does not answer: running units are not affected, changes have to wait")
	require.Eventually(t, func() bool { code, _ := l.get("/healthz"); return code == http.StatusOK }, within, 20*time.Millisecond)
	code, body := l.get("/readyz")
	require.Equal(t, http.StatusServiceUnavailable, code)
	require.Contains(t, body, "etcd cannot be reached")
	require.Contains(t, body, "placements: not read from etcd yet")
	require.Contains(t, body, "systemd: ok")
	l.etcd.Start()
	l.awaitReady()
	r.awaitLog("etcd answers again")
	r.stop()
}

func TestSecondFleetdIsRefused(t *testing.T) {
	l := newLab(t)
	r := l.run()
	l.awaitReady()
	second := l.run()
	require.ErrorContains(t, second.wait(), "another process serves this socket")
	r.stop()

	value, err := keys.Machines().Encode(v1.Machine{Spec: v1.MachineSpec{Address: "192.0.2.1"}})
	require.NoError(t, err)
	lease, err := l.etcd.Client().Grant(t.Context(), time.Minute)
	require.NoError(t, err)
	_, err = l.etcd.Client().Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Machines().Key(id), Value: value, Lease: lease}}})
	require.NoError(t, err)
	require.ErrorIs(t, l.run("FLEET_AGENT_TTL=1s").wait(), presence.ErrDuplicate)
}

// TestProvide: what every app may read contains no secrets; user name and password are in a separate file.
func TestProvide(t *testing.T) {
	l := layout.Layout{Shared: t.TempDir()}
	cfg := &config.Config{EtcdServers: []string{"http://a:1", "http://b:1"}, EtcdKeyPrefix: "/fleet", EtcdRequestTimeout: time.Second, EtcdUsername: "u", EtcdPassword: "p$\"w"}
	m := v1.Machine{Metadata: v1.ObjectMeta{Name: id}, Spec: v1.MachineSpec{Address: "192.0.2.7"}}
	facts := `FLEET_MACHINE_ID=` + id + `
FLEET_MACHINE_IP=192.0.2.7
COREOS_PRIVATE_IPV4=192.0.2.7
COREOS_PUBLIC_IPV4=192.0.2.7
FLEET_ETCD_SERVERS=http://a:1,http://b:1
FLEET_ETCD_KEY_PREFIX=/fleet
FLEET_ETCD_REQUEST_TIMEOUT=1s
`
	// Left behind by an older fleetd.
	require.NoError(t, os.WriteFile(l.Environment(), []byte("FLEET_ETCD_PASSWORD=old\n"), 0o600))
	require.NoError(t, provide(l, cfg, m))
	requireFile(t, l.Environment(), 0o644, facts+"FLEET_ETCD_CREDENTIALS="+l.Credentials()+"\n")
	requireFile(t, l.Credentials(), 0o600, `{"username":"u","password":"p$\"w"}`)

	cfg.EtcdUsername, cfg.EtcdPassword = "", ""
	require.NoError(t, provide(l, cfg, m))
	requireFile(t, l.Environment(), 0o644, facts)
	requireFile(t, l.Credentials(), 0o600, `{}`)
}

func requireFile(t *testing.T, name string, mode os.FileMode, text string) {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	require.Equal(t, text, string(data))
	info, err := os.Stat(name)
	require.NoError(t, err)
	require.Equal(t, mode, info.Mode())
}

func TestMachineID(t *testing.T) {
	file := filepath.Join(t.TempDir(), "machine-id")
	require.NoError(t, os.WriteFile(file, []byte(id+"\n"), 0o644))
	got, err := machineID(file)
	require.NoError(t, err)
	require.Equal(t, id, got)
	require.NoError(t, os.WriteFile(file, []byte("uninitialized\n"), 0o644))
	_, err = machineID(file)
	require.ErrorContains(t, err, `has "uninitialized", not 32 hexadecimal digits`)
}

func TestOwnAddress(t *testing.T) {
	routes := map[string]string{"10.0.0.1:9": "10.0.0.7", "127.0.0.1:9": "127.0.0.1", "192.0.2.1:9": "198.51.100.7"}
	towards := func(target string) (netip.Addr, error) {
		if local, ok := routes[target]; ok {
			return netip.ParseAddr(local)
		}
		return netip.Addr{}, syscall.ENETUNREACH
	}
	local, remote := []string{"http://127.0.0.1:2379", "http://localhost:4001"}, []string{"http://etcd.example:2379", "http://10.0.0.1:2379"}
	address, err := ownAddress(remote, towards)
	require.NoError(t, err)
	require.Equal(t, "10.0.0.7", address)
	address, err = ownAddress(local, towards)
	require.NoError(t, err)
	require.Equal(t, "198.51.100.7", address)

	routes = map[string]string{"127.0.0.1:9": "127.0.0.1"}
	address, err = ownAddress(local, towards)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1", address, "it is alone with its etcd")
	_, err = ownAddress(remote, towards)
	require.ErrorContains(t, err, "set public_ip")
}

func TestEndpoint(t *testing.T) {
	require.Empty(t, endpoint([]string{"unix:///run/fleet.sock"}, "192.0.2.7"))
	require.Equal(t, "http://192.0.2.7:80", endpoint([]string{"unix:///x", "http://0.0.0.0:80"}, "192.0.2.7"))
	require.Equal(t, "http://127.0.0.11:80", endpoint([]string{"http://127.0.0.11:80"}, "192.0.2.7"))
}
