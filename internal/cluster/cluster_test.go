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
	lease store.LeaseID // for all keys

	mu   sync.Mutex
	apps []string // enqueued
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

// put writes a key, or deletes it if value is "", and waits until the cluster has seen it.
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

// TestSourcesOf: the source of an app is known at once when an inventory changes.
func TestSourcesOf(t *testing.T) {
	b := newBench(t)
	status := b.Keys.SourceStatus()
	b.put(status.Key("prod"), `{"inventory":[{"kind":"App","name":"web"},{"kind":"App","name":"api"},{"kind":"Source","name":"stage"}]}`)
	b.put(status.Key("stage"), `{"inventory":[{"kind":"App","name":"job"}]}`)
	require.Equal(t, []string{"prod"}, b.SourcesOf("web"))
	require.Empty(t, b.SourcesOf("stage"), "that is no app")
	b.put(status.Key("stage"), `{"inventory":[{"kind":"App","name":"web"}]}`)
	require.Equal(t, []string{"prod", "stage"}, b.SourcesOf("web"))
	require.Empty(t, b.SourcesOf("job"))
	b.put(status.Key("prod"), `{"inventory":[{"kind":"App","name":"api"}]}`)
	require.Equal(t, []string{"stage"}, b.SourcesOf("web"))
	b.put(status.Key("prod"), "")
	require.Empty(t, b.SourcesOf("api"))
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

}

// TestObjectsOfADeletedAppDoNotCount: revisions and overrides only count for the app, and the units, that exist
// now, from the moment of a deletion.
func TestObjectsOfADeletedAppDoNotCount(t *testing.T) {
	b := newBench(t)
	app, override := b.Keys.Apps().Key("web"), b.Keys.Overrides().Key("web@1.service")
	revision := func(number int64, r v1.Revision) {
		r.Number = number
		value, err := b.Keys.Revisions().Encode(r)
		require.NoError(t, err)
		b.put(b.Keys.Revisions().Key(keyspace.RevisionName("web", number)), string(value))
	}
	create := func() int64 {
		b.put(app, "x")
		uid, ok := b.UIDOf("web")
		require.True(t, ok)
		return uid
	}
	first := create()
	require.Nil(t, b.LatestRevision("web"))
	revision(1, v1.Revision{ManifestRevision: first - 1})
	require.Nil(t, b.LatestRevision("web"), "an older fleetd wrote it, of an earlier app")
	revision(2, v1.Revision{ManifestRevision: first})
	require.EqualValues(t, 2, b.LatestRevision("web").Number, "an older fleetd wrote it, of this app")
	revision(10, v1.Revision{AppUID: first, ManifestRevision: first})
	b.put(b.Keys.Revisions().Key("web/0000000011"), `garbage`)
	require.EqualValues(t, 10, b.LatestRevision("web").Number)

	b.put(override, `{"desiredState":"loaded"}`)
	require.Empty(t, b.OverridesOf("web"), "there is no such unit")
	b.put(b.Keys.Units().Key("web@1.service"), unit("web"))
	require.Empty(t, b.OverridesOf("web"), "it was there before the unit")
	b.put(override, `{"desiredState":"loaded","requestedAt":"x"}`)
	require.Len(t, b.OverridesOf("web"), 1)
	b.put(b.Keys.Units().Key("web@1.service"), unit("web "))
	require.Len(t, b.OverridesOf("web"), 1, "a unit that is changed is the same")
	b.put(b.Keys.Units().Key("web@1.service"), "")
	b.put(b.Keys.Units().Key("web@1.service"), unit("web"))
	require.Empty(t, b.OverridesOf("web"), "another unit of that name")
	b.put(override, `{"desiredState":"loaded"}`)
	require.Len(t, b.OverridesOf("web"), 1)

	b.put(app, "")
	require.Nil(t, b.LatestRevision("web"))
	require.Empty(t, b.OverridesOf("web"))
	second := create()
	require.Nil(t, b.LatestRevision("web"))
	require.Empty(t, b.OverridesOf("web"), "the unit is the deleted app's, and so was the wish")
	require.EqualValues(t, 11, b.LastRevision("web"), "numbers go on")
	revision(12, v1.Revision{AppUID: second, ManifestRevision: second})
	require.EqualValues(t, 12, b.LatestRevision("web").Number)
	revision(13, v1.Revision{AppUID: first, ManifestRevision: second + 5})
	require.EqualValues(t, 12, b.LatestRevision("web").Number, "a leader wrote it late")
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

// Machines and routers put with etcdctl are not kept alive by a process: nothing would run what is placed there, and
// roll-outs would wait for them forever.
func TestPresenceNeedsALease(t *testing.T) {
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
