package cluster

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

type bench struct {
	*Cluster
	t     *testing.T
	ctx   context.Context
	store store.Interface
	lease store.LeaseID // that all keys are put under

	mu   sync.Mutex
	apps []string // that were enqueued
}

func newBench(t *testing.T) *bench {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	s := memstore.New(memstore.Options{})
	b := &bench{Cluster: New(s, keyspace.New(""), logr.Discard()), t: t, ctx: ctx, store: s}
	var err error
	b.lease, err = s.Grant(ctx, time.Hour)
	require.NoError(t, err)
	b.OnApp(b.enqueue)
	b.OnPlacement(b.enqueue)
	var running sync.WaitGroup
	running.Go(func() { _ = b.Run(ctx) })
	require.NoError(t, b.WaitForSync(ctx))
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return b
}

func (b *bench) enqueue(app string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.apps = append(b.apps, app)
}

// enqueued returns the apps that were enqueued since the last call.
func (b *bench) enqueued() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	apps := slices.Compact(slices.Sorted(slices.Values(b.apps)))
	b.apps = nil
	return apps
}

// put writes a key, or deletes it where value is "", and waits until the cluster knows it.
func (b *bench) put(key, value string) {
	op := store.Op{Key: key}
	if value != "" {
		op.Value, op.Lease = []byte(value), b.lease
	}
	revision, err := b.store.Commit(b.ctx, store.Txn{Ops: []store.Op{op}})
	require.NoError(b.t, err)
	reflector := b.root
	for prefix, below := range b.endpoints.prefixes {
		if strings.HasPrefix(key, prefix+"/") {
			reflector = below.reflector
		}
	}
	require.NoError(b.t, reflector.WaitForRevision(b.ctx, revision))
}

func unit(owner string) string {
	return `{"metadata":{"owner":"` + owner + `"},"spec":{"hash":"h"}}`
}

func owned(c *Cluster, app string) []string {
	names := []string{}
	for _, o := range c.OwnedUnits(app) {
		names = append(names, o.Name)
	}
	slices.Sort(names)
	return names
}

func TestLookUpsFollow(t *testing.T) {
	b := newBench(t)
	units, states, machines := b.Keys.Units(), b.Keys.States(), b.Keys.Machines()
	b.put(units.Key("web@1.service"), unit("web"))
	b.put(units.Key("web@2.service"), unit("web"))
	b.put(units.Key("web@x.service"), unit(""))
	b.put(units.Key("web-discovery@1.service"), unit("other"))
	b.put(units.Key("webcam@1.service"), unit("webcam"))
	require.Equal(t, []string{"web@1.service", "web@2.service"}, owned(b.Cluster, "web"))
	require.Equal(t, map[string]string{"web-discovery@1.service": "other"}, b.OthersUnits("web"))
	b.put(units.Key("web@2.service"), unit(""))
	require.Equal(t, []string{"web@1.service"}, owned(b.Cluster, "web"))
	require.Equal(t, map[string]string{"web-discovery@1.service": "other", "web@2.service": ""}, b.OthersUnits("web"))
	b.put(units.Key("web@1.service"), "")
	require.Empty(t, owned(b.Cluster, "web"))

	b.put(states.Key("m1/web@2.service"), `{"activeState":"active"}`)
	require.Empty(t, b.StatesOf("web@2.service"), "the machine is not present")
	b.put(machines.Key("m1"), `{}`)
	require.Equal(t, map[string]*v1.UnitState{"m1": {ActiveState: "active"}}, b.StatesOf("web@2.service"))
	b.put(states.Key("m1/web@2.service"), `{"activeState":"failed"}`)
	require.Equal(t, map[string]*v1.UnitState{"m1": {ActiveState: "failed"}}, b.StatesOf("web@2.service"), "it is as it is now")

	placements := b.Keys.Placements()
	b.put(placements.Key("m1/web@2.service"), `{"hash":"h"}`)
	require.Equal(t, []string{"m1"}, b.PlacementsOf("web@2.service"))
	require.Empty(t, b.LeavingOf("web@2.service"))
	b.put(placements.Key("m2/web@2.service"), `{"hash":"h"}`)
	b.put(placements.Key("m2/web@2.service"), `{"hash":"h","leaving":true}`)
	require.ElementsMatch(t, []string{"m1", "m2"}, b.PlacementsOf("web@2.service"))
	require.Equal(t, "m2", b.LeavingOf("web@2.service"))
	b.put(placements.Key("m1/web@2.service"), "")
	require.Equal(t, []string{"m2"}, b.PlacementsOf("web@2.service"))
	b.put(placements.Key("m2/web@2.service"), "")
	require.Empty(t, b.PlacementsOf("web@2.service"))
	require.Empty(t, b.LeavingOf("web@2.service"))

	require.Nil(t, b.LatestRevision("web"))
	b.put(b.Keys.Revisions().Key("web/0000000002"), `{"number":2}`)
	b.put(b.Keys.Revisions().Key("web/0000000010"), `{"number":10}`)
	b.put(b.Keys.Revisions().Key("web/0000000011"), `garbage`)
	require.EqualValues(t, 10, b.LatestRevision("web").Number)
}

func TestEveryChangeConcernsItsApps(t *testing.T) {
	b := newBench(t)
	b.put(b.Keys.Units().Key("db@1.service"), unit("database"))
	require.Equal(t, []string{"database", "db"}, b.enqueued())
	for _, c := range []struct {
		key, value string
		want       []string
	}{
		{b.Keys.Apps().Key("web"), "x", []string{"web"}},
		{b.Keys.Revisions().Key("web/0000000001"), `{}`, []string{"web"}},
		{b.Keys.Routes().Key("web"), `{}`, []string{"web"}},
		{b.Keys.Overrides().Key("db@1.service"), `{}`, []string{"database"}},
		{b.Keys.Overrides().Key("web-discovery@1.service"), `{}`, []string{"web", "web-discovery"}},
		{b.Keys.States().Key("m1/db@1.service"), `{}`, []string{"database"}},
		{b.Keys.Machines().Key("m1"), `{}`, []string{"database"}},
		{b.Keys.Machines().Key("m1"), `{"spec":{"address":"x"}}`, nil},
		{b.Keys.Machines().Key("m1"), "", []string{"database"}},
		{b.Keys.Placements().Key("m1/db@1.service"), `{}`, []string{"database"}},
		{b.Keys.Unplaced().Key("web.service"), `{}`, []string{"web"}},
		{"/services/web/web/web@1", "127.0.0.1:80", []string{"web"}},
		{b.Keys.Units().Key("db@1.service"), unit("other"), []string{"database", "db", "other"}},
	} {
		b.put(c.key, c.value)
		require.Equal(t, c.want, b.enqueued(), "%s %s", c.key, c.value)
	}
}

func TestWaitingAppsAreWoken(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s := memstore.New(memstore.Options{})
	c := New(s, keyspace.New(""), logr.Discard())
	woken := make(chan string, 10)
	waiting := c.OnRouter(func(app string) { woken <- app })
	var running sync.WaitGroup
	running.Go(func() { _ = c.Run(ctx) })
	defer running.Wait()
	defer cancel()
	waiting.Set("web", true)
	waiting.Set("db", true)
	waiting.Set("db", false)
	lease, err := s.Grant(ctx, time.Minute)
	require.NoError(t, err)
	_, err = s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: c.Keys.Routers().Key("m1"), Value: []byte(`{"revision":1,"digest":"x"}`), Lease: lease}}})
	require.NoError(t, err)
	require.Equal(t, "web", <-woken)
	require.Empty(t, woken)
}

// Whoever puts a machine or a router with etcdctl keeps it alive with nothing: nobody would run what is placed there, and
// roll-outs would wait for it for ever.
func TestNobodyIsThereWithoutALease(t *testing.T) {
	b := newBench(t)
	b.put(b.Keys.Machines().Key("m1"), `{}`)
	b.put(b.Keys.Routers().Key("m1"), `{"revision":1}`)
	require.Equal(t, 1, b.Machines.Len())
	require.Len(t, b.RoutersByMachine(), 1)
	b.lease = 0
	for _, machine := range []string{"m1", "m2"} {
		b.put(b.Keys.Machines().Key(machine), `{}`)
		b.put(b.Keys.Routers().Key(machine), `{"revision":1}`)
	}
	require.Zero(t, b.Machines.Len())
	require.Empty(t, b.RoutersByMachine())
}
