package app

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// knows is a controller that does not run, over a cluster that has read the store.
type knows struct {
	t     *testing.T
	store *memstore.Store
	keys  keyspace.Keys
	c     *Controller
	lease store.LeaseID
}

func newKnows(t *testing.T, o Options) *knows {
	k := &knows{t: t, store: memstore.New(memstore.Options{}), keys: keyspace.New("")}
	var err error
	k.lease, err = k.store.Grant(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	known := cluster.New(k.store, k.keys, logr.Discard())
	o.Store, o.Cluster = k.store, known
	k.c = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	ended, end := context.WithCancel(ctx)
	end()
	_ = k.c.Run(ended) // shuts down the queue
	var parts sync.WaitGroup
	parts.Go(func() { _ = known.Run(ctx) })
	t.Cleanup(func() { cancel(); parts.Wait() })
	require.NoError(t, known.WaitForSync(ctx))
	return k
}

func (k *knows) put(key, value string, lease store.LeaseID) int64 {
	k.t.Helper()
	op := store.Op{Key: key, Value: []byte(value), Lease: lease}
	if value == "" {
		op.Value = nil
	}
	revision, err := k.store.Commit(k.t.Context(), store.Txn{Ops: []store.Op{op}})
	require.NoError(k.t, err)
	return revision
}

func set[T any](k *knows, row keyspace.Collection[T], name string, value T) int64 {
	k.t.Helper()
	data, err := row.Encode(value)
	require.NoError(k.t, err)
	lease := store.LeaseID(0)
	if p := row.Prefix(); p == k.keys.Machines().Prefix() || p == k.keys.Routers().Prefix() {
		lease = k.lease
	}
	return k.put(row.Key(name), string(data), lease)
}

func (k *knows) observe(app string) Input {
	k.t.Helper()
	require.NoError(k.t, k.c.Cluster.CatchUp(k.t.Context()))
	synctest.Wait() // endpoints have a separate watch
	return k.c.observe(app)
}

// TestObserve: the input contains everything stored about an app, and nothing about another.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKnows(t, Options{AgentTTL: time.Minute})
		const manifest = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec: {}\n"
		set(k, k.keys.Machines(), "m1", v1.Machine{})
		set(k, k.keys.Machines(), "m2", v1.Machine{})
		created := k.put(k.keys.Apps().Key("web"), "an older one", 0)
		changed := k.put(k.keys.Apps().Key("web"), manifest, 0)
		latest := v1.Revision{Number: 2, AppUID: created, UnitFile: "u", SidekickFile: "s", Spec: v1.AppSpec{Announce: &v1.Announce{}}}
		set(k, k.keys.Revisions(), keyspace.RevisionName("web", 2), latest)
		k.put(k.keys.Revisions().Key(keyspace.RevisionName("web", 3)), "of another version", 0)
		set(k, k.keys.UnitFiles(), "u", "[Unit]\n")
		set(k, k.keys.UnitFiles(), "x", "[Unit]\nDescription=of another\n")
		owned := func(name string, state v1.DesiredState) v1.Unit {
			return v1.Unit{Metadata: v1.ObjectMeta{Name: name, Owner: "web"}, Spec: v1.UnitSpec{Hash: "u", DesiredState: state}}
		}
		first := set(k, k.keys.Units(), "web@1.service", owned("web@1.service", v1.Loaded))
		first2 := set(k, k.keys.Units(), "web@1.service", owned("web@1.service", v1.Launched))
		set(k, k.keys.Units(), "web-discovery@1.service", owned("web-discovery@1.service", v1.Launched))
		set(k, k.keys.Units(), "web@2.service", owned("web@2.service", v1.Loaded)) // not a sidekick: no digest is needed
		set(k, k.keys.Units(), "web@3.service", v1.Unit{Metadata: v1.ObjectMeta{Owner: "other"}})
		set(k, k.keys.Overrides(), "web@1.service", v1.Override{DesiredState: v1.Loaded})
		set(k, k.keys.Unplaced(), "web@2.service", v1.Unplaced{Message: "no room"})
		for _, machine := range []string{"m3", "m2", "m1"} {
			set(k, k.keys.Placements(), machine+"/web@1.service", v1.Placement{Hash: "u", Leaving: machine == "m2"})
		}
		set(k, k.keys.Placements(), "m3/web@2.service", v1.Placement{Hash: "u"})
		set(k, k.keys.Placements(), "m1/web-discovery@1.service", v1.Placement{Hash: "u", DesiredState: v1.Loaded})
		early, late := time.Now().Add(-time.Hour).UTC(), time.Now().UTC()
		set(k, k.keys.States(), "m1/web@1.service", v1.UnitState{ActiveState: "active", Since: late})
		set(k, k.keys.States(), "m2/web@1.service", v1.UnitState{ActiveState: "active", Since: early})
		set(k, k.keys.States(), "m3/web@1.service", v1.UnitState{ActiveState: "active", Since: early}) // whose machine is away
		at := k.put("/services/web/web/web@1", "10.0.0.1:80", 0)
		last := k.put("/services/web/web/worker@1", "10.0.0.1:81", 0)
		set(k, k.keys.Units(), "worker@1.service", v1.Unit{})
		router := v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 3}}, Routes: 2}
		set(k, k.keys.Routers(), "m1", router)
		route := v1.AppRoute{UID: "1", Prefix: v1.DefaultAnnouncePrefix}
		stored := set(k, k.keys.Routes(), "web", route)
		time.Sleep(20 * time.Second)

		in := k.observe("web")
		require.Equal(t, "web", in.App)
		require.Equal(t, &Manifest{Raw: []byte(manifest), UID: created, Revision: changed}, in.Manifest)
		require.EqualValues(t, 2, in.Latest.Number)
		require.EqualValues(t, 3, in.LastNumber, "a number that was used is not used again")
		require.Equal(t, map[string]string{"u": "[Unit]\n"}, in.Texts)
		require.Len(t, in.Units, 3)
		unit := owned("web@1.service", v1.Launched)
		require.Equal(t, StoredUnit{&unit, first, first2}, in.Units["web@1.service"])
		require.Equal(t, map[string]string{"web@3.service": "other"}, in.Taken)
		require.Equal(t, map[string]v1.Override{"web@1.service": {DesiredState: v1.Loaded}}, in.Overrides)
		require.Equal(t, map[string]string{"web@1.service": "m2"}, in.Leaving)
		require.Equal(t, map[string]Place{
			"web@1.service":           {Machines: []string{"m1", "m2"}},
			"web@2.service":           {Away: true, Unplaced: &v1.Unplaced{Message: "no room"}},
			"web-discovery@1.service": {Machines: []string{"m1"}, Loaded: true},
		}, in.Places)
		require.Equal(t, []State{{"m2", &v1.UnitState{ActiveState: "active", Since: early}}, {"m1", &v1.UnitState{ActiveState: "active", Since: late}}}, in.States["web@1.service"])
		require.Equal(t, map[string]int64{"web/web@1": at, "web/worker@1": last}, in.Endpoints)
		require.Empty(t, in.Former)
		require.False(t, in.Unknown)
		require.Equal(t, []v1.EndpointSet{{Prefix: v1.DefaultAnnouncePrefix, Revision: last}}, in.EndpointSets)
		require.Equal(t, Route{Value: &route, Revision: stored}, in.Route)
		require.Equal(t, map[string]v1.Router{"m1": router}, in.Routers)
		require.Equal(t, 40*time.Second, in.Settling)
		require.Empty(t, in.ByHand, "the app itself announces")

		// Withdrawn instances depend on the endpoints.
		set(k, k.keys.Units(), "web-discovery@1.service", owned("web-discovery@1.service", v1.Loaded))
		digest := v1.EndpointsDigest(map[string]string{"/services/web/web/web@1": "10.0.0.1:80", "/services/web/web/worker@1": "10.0.0.1:81"})
		require.Equal(t, []v1.EndpointSet{{Prefix: v1.DefaultAnnouncePrefix, Revision: last, Digest: digest}}, k.observe("web").EndpointSets)

		// An unreadable route exists.
		broken := k.put(k.keys.Routes().Key("web"), "{", 0)
		require.Equal(t, Route{Revision: broken}, k.observe("web").Route)

		// The app announces nothing any more: then endpoints announced by hand matter.
		latest.Number, latest.Spec.Announce = 4, nil
		set(k, k.keys.Revisions(), keyspace.RevisionName("web", 4), latest)
		require.Equal(t, []string{"web@1", "worker@1"}, k.observe("web").ByHand)
		time.Sleep(time.Minute)
		require.Zero(t, k.observe("web").Settling)
		k.put(k.keys.Apps().Key("web"), "", 0)
		gone := k.observe("web")
		require.Nil(t, gone.Manifest)
		require.Nil(t, gone.Latest)
		require.Equal(t, []string{"worker@1"}, gone.ByHand, "those of a deleted app are none")
	})
}

// TestByHand: what a script announces is routed while it is a unit; a routed one stays routed while its script is late.
func TestByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKnows(t, Options{})
		k.put("/services/web/site/worker@2", "10.0.0.1:80", 0)
		k.put("/services/web/site/worker@1", "10.0.0.1:81", 0)
		k.put("/services/web/site/junk@1", "10.0.0.1:82", 0)
		set(k, k.keys.Units(), "worker@1.service", v1.Unit{})
		set(k, k.keys.Units(), "worker@2.service", v1.Unit{})
		set(k, k.keys.Units(), "late@1.service", v1.Unit{})
		require.Equal(t, []string{"worker@1", "worker@2"}, k.observe("site").ByHand)
		set(k, k.keys.Routes(), "site", v1.AppRoute{Units: []string{"late@1", "worker@2", "gone@1"}})
		require.Equal(t, []string{"late@1", "worker@1", "worker@2"}, k.observe("site").ByHand)
	})
}

// TestInstancesAreWrittenApart: the units of one instance are written together, and a conflict with one affects no other.
func TestInstancesAreWrittenApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKnows(t, Options{})
		put := func(n int32, name string, at int64) Action {
			return Action{Kind: PutUnit, Instance: n, Name: name, Unit: &v1.Unit{Spec: v1.UnitSpec{Hash: "new"}}, If: at}
		}
		set(k, k.keys.Units(), "web@2.service", v1.Unit{Spec: v1.UnitSpec{Hash: "by another"}})
		plan := Decision{Actions: []Action{
			put(1, "web@1.service", 0), put(2, "web@2.service", 0), put(1, "web-discovery@1.service", 0), put(2, "web-discovery@2.service", 0), put(3, "web@3.service", 0)}}
		err := k.c.apply(logr.NewContext(t.Context(), logr.Discard()), "web", plan)
		require.ErrorIs(t, err, store.ErrConflict)
		require.ErrorContains(t, err, "app web: ")
		k.observe("web")
		hashes := map[string]string{}
		for _, o := range k.c.Cluster.Units.List() {
			hashes[o.Name] = o.Value.Spec.Hash
		}
		require.Equal(t, map[string]string{"web@1.service": "new", "web-discovery@1.service": "new", "web@3.service": "new", "web@2.service": "by another"}, hashes)
		require.NoError(t, k.c.apply(logr.NewContext(t.Context(), logr.Discard()), "web", Decision{Actions: []Action{put(4, "web@4.service", 0)}}))
		_, ok := k.c.Cluster.Units.Get("web@4.service")
		require.True(t, ok, "it is known when it was written")
	})
}
