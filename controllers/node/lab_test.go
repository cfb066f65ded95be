package node_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/node"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/machine"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/systemd"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const (
	me     = "0123456789abcdef0123456789abcdef"
	within = 20 * time.Second
)

var keys = keyspace.New("")

// counting counts requests to the store.
type counting struct {
	store.Interface
	calls atomic.Int64
}

func (c *counting) Get(ctx context.Context, key string) (store.KV, bool, int64, error) {
	c.calls.Add(1)
	return c.Interface.Get(ctx, key)
}

func (c *counting) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	c.calls.Add(1)
	return c.Interface.List(ctx, prefix, opts)
}

func (c *counting) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	c.calls.Add(1)
	return c.Interface.Commit(ctx, txn)
}

// lab is one machine with a real systemd, and an etcd.
type lab struct {
	t       testing.TB
	etcd    *etcdtest.Server
	store   *counting // used by the node
	admin   *store.Client
	machine *machine.Machine
	cfg     machine.Config
	layout  layout.Layout
	options node.Options // durations only
	// wrap wraps the node's service manager; nil: nothing does.
	wrap func(systemd.Manager) systemd.Manager

	manager *systemd.Client
	stop    func()
}

func newLab(t testing.TB) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fleet-") // not t.TempDir(): socket paths must be short
	require.NoError(t, err)
	l := &lab{t: t, etcd: etcdtest.Start(t), cfg: machine.Config{Name: "node", RuntimeDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state")}}
	l.admin = l.etcd.Client()
	l.store = &counting{Interface: l.etcd.ClientWith(store.Config{Endpoints: l.etcd.Config().Endpoints, RequestTimeout: time.Second})}
	l.boot()
	t.Cleanup(func() {
		l.powerOff()
		require.NoError(t, machine.Sweep(l.cfg.RuntimeDir))
		require.NoError(t, os.RemoveAll(dir))
	})
	return l
}

// boot starts the machine, without a node.
func (l *lab) boot() {
	ctx, cancel := context.WithTimeout(l.t.Context(), within)
	defer cancel()
	var err error
	l.machine, err = machine.Start(ctx, l.cfg)
	require.NoError(l.t, err)
	runtime := filepath.Join(l.machine.XDGRuntimeDir(), "fleet")
	l.layout = layout.Layout{State: filepath.Join(l.cfg.StateDir, "fleet"), Runtime: runtime, Units: filepath.Join(runtime, "units"), Shared: runtime}
}

func (l *lab) powerOff() {
	l.end()
	require.NoError(l.t, l.machine.Kill())
}

// begin starts a node, end ends it. The node does nothing when it ends, so ending it is equivalent to killing it.
func (l *lab) begin() {
	l.t.Helper()
	log := logr.Discard()
	if testing.Verbose() {
		log = testr.NewWithInterface(l.t, testr.Options{Verbosity: 1})
	}
	var err error
	l.manager, err = systemd.Dial(l.t.Context(), systemd.UserSocket(l.machine.XDGRuntimeDir()), log)
	require.NoError(l.t, err)
	o := l.options
	o.Output = api.LastWords(api.Journalctl{User: true, Directory: l.machine.JournalDir()})
	o.Machine, o.Keys, o.Store, o.Systemd, o.Layout, o.Log = me, keys, l.store, l.manager, l.layout, log
	if l.wrap != nil {
		o.Systemd = l.wrap(l.manager)
	}
	n, err := node.New(o)
	require.NoError(l.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	l.stop = func() {
		cancel()
		require.NoError(l.t, <-done)
		l.manager.Close()
	}
}

func (l *lab) end() {
	if l.stop != nil {
		l.stop()
		l.stop = nil
	}
}

// file puts a unit file and returns its hash.
func (l *lab) file(text string) string {
	l.t.Helper()
	hash := unitfile.Hash(text)
	l.commit(store.Op{Key: keys.UnitFiles().Key(hash), Value: []byte(text)})
	return hash
}

func (l *lab) commit(ops ...store.Op) int64 {
	l.t.Helper()
	revision, err := l.admin.Commit(l.t.Context(), store.Txn{Ops: ops})
	require.NoError(l.t, err)
	return revision
}

// placement is the operation that places a unit here; without a hash it removes it.
func placement(t testing.TB, unit string, p v1.Placement) store.Op {
	op := store.Op{Key: keys.PlacementsOf(me).Key(unit)}
	if p.Hash != "" {
		value, err := keys.PlacementsOf(me).Encode(p)
		require.NoError(t, err)
		op.Value = value
	}
	return op
}

func (l *lab) place(unit, hash string, desired v1.DesiredState) {
	l.t.Helper()
	l.commit(placement(l.t, unit, v1.Placement{Hash: hash, DesiredState: desired}))
}

// await returns a unit's reported state as soon as ok holds for it. A unit without one has nil.
func (l *lab) await(unit, what string, ok func(*v1.UnitState) bool) *v1.UnitState {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), within)
	defer cancel()
	key := keys.StatesOf(me).Key(unit)
	kv, there, revision, err := l.admin.Get(ctx, key)
	require.NoError(l.t, err)
	last := l.decode(kv, there)
	if ok(last) {
		return last
	}
	for batch := range l.admin.Watch(ctx, key, revision) {
		for _, e := range batch.Events {
			if last = l.decode(e.KV, !e.Deleted); e.Key == key && ok(last) {
				return last
			}
		}
	}
	require.FailNow(l.t, "state did not come", "%s: %s; last: %+v", unit, what, last)
	return nil
}

func (l *lab) decode(kv store.KV, there bool) *v1.UnitState {
	if !there {
		return nil
	}
	state, err := keys.StatesOf(me).Decode(kv.Value)
	require.NoError(l.t, err)
	return &state
}

func (l *lab) awaitActive(unit string) *v1.UnitState {
	l.t.Helper()
	return l.await(unit, "active", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "active" })
}

func (l *lab) awaitInactive(unit string) *v1.UnitState {
	l.t.Helper()
	return l.await(unit, "inactive", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "inactive" })
}

func (l *lab) awaitGone(unit string) {
	l.t.Helper()
	l.await(unit, "gone", func(s *v1.UnitState) bool { return s == nil })
}

// systemctl runs systemctl on the machine.
func (l *lab) systemctl(args ...string) string {
	l.t.Helper()
	cmd := exec.Command("systemctl", append([]string{"--user"}, args...)...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+l.machine.XDGRuntimeDir())
	out, err := cmd.CombinedOutput()
	if err != nil && args[0] != "is-active" {
		require.NoError(l.t, err, "%v: %s", args, out)
	}
	return string(out)
}

// placeAll places units in one transaction; a placement without a hash is removed.
func (l *lab) placeAll(units []string, placements []v1.Placement) {
	l.t.Helper()
	var ops []store.Op
	for i, unit := range units {
		ops = append(ops, placement(l.t, unit, placements[i]))
	}
	l.commit(ops...)
}
