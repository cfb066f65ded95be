package node

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// stays is a unit file whose process runs until it is stopped.
const stays = "[Service]\nExecStart=/bin/stays\n"

// modelMachine is machine m, which runs over the models of etcd and systemd until the test ends.
type modelMachine struct {
	*Node
	t     *testing.T
	etcd  *memstore.Store
	conn  *memstore.Conn // the node's own
	units *fake.Manager
}

// startModel starts a machine in a bubble of synctest. The options may be changed before.
func startModel(t *testing.T, faults fake.Options, change func(*Options)) *modelMachine {
	t.Helper()
	dir, etcd := t.TempDir(), memstore.New(memstore.Options{})
	l := layout.Layout{State: dir + "/state", Runtime: dir + "/run", Units: dir + "/run/units", Shared: dir + "/run"}
	faults.ReadFile = func(path string) ([]byte, error) { return os.ReadFile(filepath.Join(l.Units, filepath.Base(path))) }
	m := &modelMachine{t: t, etcd: etcd, conn: etcd.Connect(), units: fake.New(faults)}
	o := Options{Machine: "m", Keys: keyspace.New(""), Store: m.conn, Systemd: m.units, Layout: l, Log: logr.Discard()}
	if change != nil {
		change(&o)
	}
	var err error
	m.Node, err = New(o)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { require.NoError(t, m.Run(ctx)) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return m
}

// place writes a unit file and the unit's placement, which is launched unless a change says otherwise.
func (m *modelMachine) place(name, text string, change ...func(*v1.Placement)) {
	m.t.Helper()
	pl := v1.Placement{Hash: m.keep(text), DesiredState: v1.Launched}
	for _, c := range change {
		c(&pl)
	}
	value, err := m.Keys.PlacementsOf(m.Machine).Encode(pl)
	require.NoError(m.t, err)
	m.commit(store.Op{Key: m.Keys.PlacementsOf(m.Machine).Key(name), Value: value})
}

// keep writes a unit file, and returns its hash.
func (m *modelMachine) keep(text string) string {
	hash := unitfile.Hash(text)
	m.commit(store.Op{Key: m.Keys.UnitFiles().Key(hash), Value: []byte(text)})
	return hash
}

// unplace deletes a placement.
func (m *modelMachine) unplace(name string) {
	m.commit(store.Op{Key: m.Keys.PlacementsOf(m.Machine).Key(name)})
}

func (m *modelMachine) commit(op store.Op) {
	m.t.Helper()
	_, err := m.etcd.Commit(m.t.Context(), store.Txn{Ops: []store.Op{op}})
	require.NoError(m.t, err)
}

// pass lets time pass. systemd works every 100 ms.
func (m *modelMachine) pass(d time.Duration) {
	for ; d > 0; d -= 100 * time.Millisecond {
		time.Sleep(100 * time.Millisecond)
		m.units.Advance(100 * time.Millisecond)
	}
	synctest.Wait()
}

// told returns the state that the machine reports of a unit.
func (m *modelMachine) told(name string) v1.UnitState {
	m.t.Helper()
	kv, ok, _, err := m.etcd.Get(m.t.Context(), m.Keys.StatesOf(m.Machine).Key(name))
	require.NoError(m.t, err)
	require.True(m.t, ok)
	state, err := m.Keys.StatesOf(m.Machine).Decode(kv.Value)
	require.NoError(m.t, err)
	return state
}

// active returns which of the units systemd runs.
func (m *modelMachine) active(names ...string) (active []string) {
	m.t.Helper()
	states, err := m.units.States(m.t.Context(), names)
	require.NoError(m.t, err)
	for _, s := range states {
		if s.ActiveState == "active" {
			active = append(active, s.Name)
		}
	}
	return active
}
