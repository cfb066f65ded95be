package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/status"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// bench is a store with the app and status controllers running on it, and helpers that act for everything else.
type bench struct {
	t      *testing.T
	ctx    context.Context
	store  store.Interface
	keys   keyspace.Keys
	events *recorder
	ended  chan error
}

type recorder struct {
	mu      sync.Mutex
	reasons []string
}

func (r *recorder) Record(_, _, _, reason, _ string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reasons = append(r.reasons, reason)
}

func (r *recorder) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.reasons)
}

// eachStore runs a test over the model and over etcd.
func eachStore(t *testing.T, test func(t *testing.T, s store.Interface)) {
	t.Run("model", func(t *testing.T) {
		t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other cleanups
		test(t, memstore.New(memstore.Options{}))
	})
	t.Run("etcd", func(t *testing.T) {
		test(t, etcdtest.Start(t).Client())
	})
}

func start(t *testing.T, s store.Interface, keys keyspace.Keys) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	b := &bench{t: t, ctx: ctx, store: s, keys: keys, events: &recorder{}, ended: make(chan error, 1)}
	fence := store.Fence{Key: keys.Leader("engine") + "/1"}
	revision := b.put(fence.Key, "")
	kv, _, _, err := s.Get(ctx, fence.Key)
	require.NoError(t, err)
	require.Equal(t, revision, kv.ModRevision)
	fence.CreateRevision = kv.CreateRevision

	known := cluster.New(s, keys, logr.Discard())
	apps := New(Options{Env: cluster.Env{Store: s, Cluster: known, Fence: fence, Events: b.events}})
	statuses := status.New(status.Options{Env: cluster.Env{Store: s, Cluster: known, Fence: fence}, Delay: time.Millisecond})
	var parts sync.WaitGroup
	parts.Go(func() { _ = known.Run(ctx) })
	parts.Go(func() { _ = statuses.Run(ctx) })
	parts.Go(func() { b.ended <- apps.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		parts.Wait()
	})
	return b
}

func (b *bench) put(key, value string) int64 {
	revision, err := b.store.Commit(b.ctx, store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
	require.NoError(b.t, err)
	return revision
}

func (b *bench) delete(key string) int64 {
	revision, err := b.store.Commit(b.ctx, store.Txn{Ops: []store.Op{{Key: key}}})
	require.NoError(b.t, err)
	return revision
}

// await waits until the objects of a row are as wanted.
func await[T any](b *bench, row keyspace.Collection[T], what string, wanted func(map[string]T) bool) map[string]T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	now := map[string]T{}
	take := func(kv store.KV) {
		name, _ := row.Name(kv.Key)
		value, err := row.Decode(kv.Value)
		require.NoError(b.t, err)
		now[name] = value
	}
	page, err := b.store.List(ctx, row.Prefix(), store.ListOptions{})
	require.NoError(b.t, err)
	for _, kv := range page.KVs {
		take(kv)
	}
	watch := b.store.Watch(ctx, row.Prefix(), page.Revision)
	for !wanted(now) {
		batch, ok := <-watch
		require.True(b.t, ok && batch.Err == nil, "%s: not so in time, but %v", what, now)
		for _, e := range batch.Events {
			if name, _ := row.Name(e.Key); e.Deleted {
				delete(now, name)
			} else {
				take(e.KV)
			}
		}
	}
	return now
}

// turn returns when the controller has seen all earlier changes: it creates and deletes another app.
func (b *bench) turn() {
	b.t.Helper()
	none := func(u map[string]v1.Unit) bool { return u["turn@1.service"].Metadata.Owner == "" }
	b.put(b.keys.Apps().Key("turn"), manifestOf("turn", 1, "1", false))
	await(b, b.keys.Units(), "another app's unit", func(u map[string]v1.Unit) bool { return !none(u) })
	b.delete(b.keys.Apps().Key("turn"))
	await(b, b.keys.Units(), "none of another app", none)
}

// unit returns a stored unit.
func (b *bench) unit(name string) v1.Unit {
	b.t.Helper()
	return await(b, b.keys.Units(), name, func(map[string]v1.Unit) bool { return true })[name]
}

// run does what machines do for the current units: all become active and announced.
func (b *bench) run(units map[string]v1.Unit) (revision int64) {
	for name, u := range units {
		value, err := b.keys.States().Encode(v1.UnitState{ActiveState: "active", Hash: u.Spec.Hash, DesiredState: u.Spec.DesiredState})
		require.NoError(b.t, err)
		b.put(b.keys.States().Key("m1/"+name), string(value))
		b.put(b.keys.Placements().Key("m1/"+name), `{"hash":"`+u.Spec.Hash+`","desiredState":"launched"}`)
		if n, sidekick, _ := v1.ParseAppUnit("web", name); sidekick {
			revision = b.put("/services/web/"+v1.EndpointName("web", n), "127.0.0.1:3000")
		}
	}
	return revision
}

func isReady(want string) func(map[string]v1.AppStatus) bool {
	return func(all map[string]v1.AppStatus) bool {
		ready := v1.FindCondition(all["web"].Conditions, v1.Ready)
		return ready != nil && ready.Status == want
	}
}

// TestFromManifestToUnitsAndBack follows an app, with simulated machines and a router. At every step that waits for the
// router, nothing changes before the router, which always acts last, has served it.
func TestFromManifestToUnitsAndBack(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Interface) {
		keys := keyspace.New("")
		b := start(t, s, keys)
		lease, err := s.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		leased := func(key, value string) {
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value), Lease: lease}}})
			require.NoError(t, err)
		}
		serve := func(revision int64, digest string) { // the router serves the endpoints of that revision; without its lease it does not count
			leased(keys.Routers().Key("m1"), fmt.Sprintf(`{"revision":%d,"digest":%q}`, revision, digest))
		}
		leased(keys.Machines().Key("m1"), `{"metadata":{"name":"m1"},"spec":{"address":"127.0.0.1","capacity":{}}}`)
		serve(0, "")
		waits := func(condition, message string) { // it waits for the router, and says so
			await(b, keys.Status(), message, func(all map[string]v1.AppStatus) bool {
				c := v1.FindCondition(all["web"].Conditions, condition)
				return c != nil && c.Reason == status.ReasonWaiting && strings.Contains(c.Message, message)
			})
			b.turn()
		}
		desired := func(unit string) v1.DesiredState { return b.unit(unit).Spec.DesiredState }
		withdrawn := func(names ...string) func(map[string]v1.Unit) bool {
			return func(u map[string]v1.Unit) bool {
				return !slices.ContainsFunc(names, func(name string) bool { return u[name].Spec.DesiredState != v1.Loaded })
			}
		}

		b.put(keys.Apps().Key("web"), manifestOf("web", 2, "1", true))
		units := await(b, keys.Units(), "four units", func(u map[string]v1.Unit) bool { return len(u) == 4 })
		require.Equal(t, "web", units["web-discovery@2.service"].Metadata.Owner)
		files := await(b, keys.UnitFiles(), "two files", func(f map[string]string) bool { return len(f) == 2 })
		require.Contains(t, files[units["web@1.service"].Spec.Hash], "ExecStart=/bin/app 1")
		announced := b.run(units)
		waits(v1.Ready, "0 of 2 instances are ready; web@1.service: announced, but not served yet by the routers on m1")
		serve(announced, "")
		await(b, keys.Status(), "ready", isReady(v1.ConditionTrue))

		b.put(keys.Apps().Key("web"), manifestOf("web", 2, "2", true))
		await(b, keys.Units(), "the first is withdrawn", withdrawn("web-discovery@1.service"))
		b.delete("/services/web/web/web@1")
		b.put(keys.States().Key("m1/web-discovery@1.service"), `{"activeState":"inactive","desiredState":"loaded"}`)
		waits(v1.Progressing, "web@1.service stops when the routers on m1 have dropped it")
		old := units["web@1.service"].Spec.Hash
		require.Equal(t, old, b.unit("web@1.service").Spec.Hash, "it has its former file until the router has let it go")
		serve(0, v1.EndpointsDigest(map[string]string{"/services/web/web/web@2": "127.0.0.1:3000"}))
		units = await(b, keys.Units(), "the first is replaced", func(u map[string]v1.Unit) bool {
			return u["web@1.service"].Spec.Hash != old && u["web-discovery@1.service"].Spec.DesiredState == v1.Launched
		})
		require.Equal(t, old, units["web@2.service"].Spec.Hash)

		b.put(keys.Apps().Key("web"), "broken: [")
		await(b, keys.Status(), "it is refused", func(all map[string]v1.AppStatus) bool { return !v1.IsTrue(all["web"].Conditions, v1.Accepted) })
		announced = b.run(units)
		waits(v1.Ready, "0 of 2 instances are ready; web@1.service: announced, but not served yet by the routers on m1")
		require.Equal(t, v1.Launched, desired("web-discovery@2.service"), "the second keeps until the first is served")
		serve(announced, "")
		await(b, keys.Units(), "what was accepted goes on", withdrawn("web-discovery@2.service"))

		b.delete(keys.Apps().Key("web"))
		await(b, keys.Units(), "all are withdrawn", withdrawn("web-discovery@1.service", "web-discovery@2.service"))
		var gone int64
		for _, n := range []string{"1", "2"} {
			gone = b.delete("/services/web/web/web@" + n)
			b.put(keys.States().Key("m1/web-discovery@"+n+".service"), `{"activeState":"inactive","desiredState":"loaded"}`)
		}
		b.turn()
		require.Equal(t, v1.Launched, desired("web@1.service"), "it runs until the router has let it go")
		require.Equal(t, v1.Launched, desired("web@2.service"))
		serve(gone, "")
		await(b, keys.Units(), "no unit is left", func(u map[string]v1.Unit) bool { return len(u) == 0 })
		await(b, keys.Status(), "no status is left", func(all map[string]v1.AppStatus) bool { return len(all) == 0 })
		require.Contains(t, b.events.all(), string(InvalidManifest))
	})
}

func TestDeposedLeaderStops(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Interface) {
		keys := keyspace.New("/other")
		b := start(t, s, keys)
		b.delete(keys.Leader("engine") + "/1")
		b.put(keys.Apps().Key("web"), manifestOf("web", 1, "1", false))
		select {
		case err := <-b.ended:
			require.ErrorIs(t, err, store.ErrFenced)
		case <-b.ctx.Done():
			require.Fail(t, "it goes on")
		}
		page, err := s.List(b.ctx, keys.Units().Prefix(), store.ListOptions{})
		require.NoError(t, err)
		require.Empty(t, page.KVs)
		require.Empty(t, b.events.all(), "what was not written was told")
	})
}

func TestUnitsOfPeopleAreLeftAlone(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Interface) {
		keys := keyspace.New("")
		b := start(t, s, keys)
		theirs := keys.Units().Key("web@1.service")
		revision := b.put(theirs, `{"metadata":{"name":"web@1.service"},"spec":{"hash":"`+strings.Repeat("a", 64)+`"}}`)
		b.put(keys.Apps().Key("web"), manifestOf("web", 1, "1", false))
		await(b, keys.Status(), "it is refused", func(all map[string]v1.AppStatus) bool {
			accepted := v1.FindCondition(all["web"].Conditions, v1.Accepted)
			return accepted != nil && accepted.Reason == status.ReasonNameTaken
		})
		kv, _, _, err := s.Get(b.ctx, theirs)
		require.NoError(t, err)
		require.Equal(t, revision, kv.ModRevision)
		b.delete(theirs)
		await(b, keys.Units(), "the name is free", func(u map[string]v1.Unit) bool { return u["web@1.service"].Metadata.Owner == "web" })
	})
}

func TestUnreadableRevision(t *testing.T) {
	s := memstore.New(memstore.Options{})
	keys := keyspace.New("")
	b := start(t, s, keys)
	b.put(keys.Apps().Key("web"), manifestOf("web", 1, "1", false))
	old := await(b, keys.Units(), "a unit", func(u map[string]v1.Unit) bool { return len(u) == 1 })["web@1.service"].Spec.Hash
	b.run(map[string]v1.Unit{"web@1.service": {Spec: v1.UnitSpec{Hash: old}}})
	b.put(keys.Revisions().Key(keyspace.RevisionName("web", 2)), "of another version of fleetd")
	b.put(keys.Apps().Key("web"), manifestOf("web", 1, "2", false))
	await(b, keys.Units(), "the new revision", func(u map[string]v1.Unit) bool { return u["web@1.service"].Spec.Hash != old })
	_, third, _, err := s.Get(b.ctx, keys.Revisions().Key(keyspace.RevisionName("web", 3)))
	require.NoError(t, err)
	require.True(t, third)
}

// TestRoutes follows the routes of an app, which has the accepted revision's route until it is deleted, and of units
// announced by a script, which are routed while they exist.
func TestRoutes(t *testing.T) {
	eachStore(t, func(t *testing.T, s store.Interface) {
		keys := keyspace.New("")
		b := start(t, s, keys)
		created := b.put(keys.Apps().Key("web"), manifestOf("web", 1, "1", true))
		routes := await(b, keys.Routes(), "a route", func(r map[string]v1.AppRoute) bool { return len(r) == 1 })
		require.Equal(t, v1.AppRoute{UID: fmt.Sprint(created), Prefix: v1.DefaultAnnouncePrefix, Hosts: map[string]int64{"": created}}, routes["web"])
		route, _, _, err := s.Get(b.ctx, keys.Routes().Key("web"))
		require.NoError(t, err)
		revision, _, _, err := s.Get(b.ctx, keys.Revisions().Key(keyspace.RevisionName("web", 1)))
		require.NoError(t, err)
		require.Equal(t, revision.ModRevision, route.ModRevision, "they are one transaction")

		// Any manual change is undone.
		for _, change := range []func(){
			func() { b.delete(keys.Routes().Key("web")) },
			func() { b.put(keys.Routes().Key("web"), `{"prefix":"/services/web","hosts":{"stolen.example.com":1}}`) },
			func() { b.put(keys.Routes().Key("foreign"), `{"prefix":"/services/web"}`) },
		} {
			change()
			await(b, keys.Routes(), "as it was", func(r map[string]v1.AppRoute) bool {
				_, has := r["web"].Hosts[""]
				return len(r) == 1 && has
			})
		}
		b.delete(keys.Apps().Key("web"))
		await(b, keys.Routes(), "no route", func(r map[string]v1.AppRoute) bool { return len(r) == 0 })

		b.put("/services/web/site/worker@1", "10.0.0.1:80")
		b.put("/services/web/site/worker@2", "10.0.0.1:81")
		b.put("/services/web/junk/junk@1", "10.0.0.1:82")
		b.put(keys.Units().Key("worker@1.service"), `{"spec":{"hash":"h"}}`)
		hand := map[string]v1.AppRoute{"site": {Prefix: v1.DefaultAnnouncePrefix, Units: []string{"worker@1"}}}
		require.Equal(t, hand, await(b, keys.Routes(), "the unit's route", func(r map[string]v1.AppRoute) bool { return len(r) > 0 }))
		b.delete("/services/web/site/worker@1") // its script is late
		b.put(keys.Units().Key("worker@2.service"), `{"spec":{"hash":"h"}}`)
		await(b, keys.Routes(), "both", func(r map[string]v1.AppRoute) bool { return len(r["site"].Units) == 2 })
		b.delete(keys.Units().Key("worker@1.service"))
		b.delete(keys.Units().Key("worker@2.service"))
		await(b, keys.Routes(), "none", func(r map[string]v1.AppRoute) bool { return len(r) == 0 })
	})
}
