package status

import (
	"context"
	"errors"
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

// bench is a store, the leader's cluster cache, and a controller using it.
type bench struct {
	t     *testing.T
	store *memstore.Store
	keys  keyspace.Keys
	c     *Controller
	lease store.LeaseID
	fence store.Fence
	stop  func() error
}

// newBench returns a bench that has read the store. With run the controller works until stop.
func newBench(t *testing.T, run bool, change ...func(*Options)) *bench {
	b := &bench{t: t, store: memstore.New(memstore.Options{}), keys: keyspace.New("")}
	var err error
	b.lease, err = b.store.Grant(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	b.fence = store.Fence{Key: b.keys.Leader("engine") + "/1"}
	b.fence.CreateRevision = b.put(b.fence.Key, "me")
	known := cluster.New(b.store, b.keys, logr.Discard())
	o := Options{Env: cluster.Env{Store: b.store, Cluster: known, Fence: b.fence, Now: func() time.Time { return now }}}
	for _, f := range change {
		f(&o)
	}
	b.c = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { _ = known.Run(ctx) })
	ended := make(chan error, 1)
	if !run {
		stopped, stop := context.WithCancel(ctx)
		stop()
		_ = b.c.Run(stopped) // shuts down the queue
		ended <- nil
	} else {
		parts.Go(func() { ended <- b.c.Run(ctx) })
	}
	b.stop = sync.OnceValue(func() error {
		cancel()
		parts.Wait()
		return <-ended
	})
	t.Cleanup(func() { _ = b.stop() })
	require.NoError(t, known.WaitForSync(ctx))
	return b
}

func (b *bench) put(key, value string) int64 {
	b.t.Helper()
	op := store.Op{Key: key, Value: []byte(value), Lease: b.leaseOf(key)}
	if value == "" {
		op.Value = nil
	}
	revision, err := b.store.Commit(b.t.Context(), store.Txn{Ops: []store.Op{op}})
	require.NoError(b.t, err)
	return revision
}

// leaseOf: machines and routers live under a lease.
func (b *bench) leaseOf(key string) store.LeaseID {
	for _, prefix := range []string{b.keys.Machines().Prefix(), b.keys.Routers().Prefix()} {
		if len(key) > len(prefix) && key[:len(prefix)] == prefix {
			return b.lease
		}
	}
	return 0
}

func set[T any](b *bench, row keyspace.Collection[T], name string, value T) int64 {
	b.t.Helper()
	data, err := row.Encode(value)
	require.NoError(b.t, err)
	return b.put(row.Key(name), string(data))
}

func (b *bench) sync() {
	b.t.Helper()
	require.NoError(b.t, b.c.Cluster.CatchUp(b.t.Context()))
	synctest.Wait() // endpoints have a separate watch
}

const text = "apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 2\n  exec: {command: [/bin/web]}\n  ports: [{port: 80}]\n  announce: {}\n"

func owned(name string, state v1.DesiredState) v1.Unit {
	return v1.Unit{Metadata: v1.ObjectMeta{Name: name, Owner: "web"}, Spec: v1.UnitSpec{Hash: "u", DesiredState: state}}
}

// TestObserve: the input contains everything stored about an app, and nothing about another.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, false)
		app, err := v1.ParseApp([]byte(text))
		require.NoError(t, err)
		set(b, b.keys.Machines(), "m1", v1.Machine{Spec: v1.MachineSpec{Address: "10.0.0.1", Metadata: map[string]string{"zone": "a"}}})
		set(b, b.keys.Machines(), "m2", v1.Machine{Spec: v1.MachineSpec{Address: "10.0.0.2"}})
		created := b.put(b.keys.Apps().Key("web"), "an older one")
		manifest := b.put(b.keys.Apps().Key("web"), text)
		set(b, b.keys.Revisions(), keyspace.RevisionName("web", 1), v1.Revision{Number: 1, AppUID: created, ManifestRevision: manifest, Spec: app.Spec, UnitFile: "u", SidekickFile: "s"})
		units := map[string]v1.DesiredState{"web@1.service": v1.Launched, "web-discovery@1.service": v1.Launched, "web@2.service": v1.Launched}
		for name, state := range units {
			set(b, b.keys.Units(), name, owned(name, state))
		}
		set(b, b.keys.Units(), "web@3.service", v1.Unit{})
		set(b, b.keys.Units(), "other@1.service", v1.Unit{})
		set(b, b.keys.Overrides(), "web@1.service", v1.Override{DesiredState: v1.Loaded})
		set(b, b.keys.Overrides(), "other@1.service", v1.Override{DesiredState: v1.Loaded})
		set(b, b.keys.Unplaced(), "web@2.service", v1.Unplaced{Message: "no room"})
		set(b, b.keys.Unplaced(), "other@1.service", v1.Unplaced{Message: "no room"})
		for _, machine := range []string{"m3", "m2", "m1"} {
			set(b, b.keys.Placements(), machine+"/web@1.service", v1.Placement{Hash: "u"})
		}
		set(b, b.keys.Placements(), "m2/other@1.service", v1.Placement{Hash: "u"})
		active := v1.UnitState{ActiveState: "active", Hash: "u"}
		set(b, b.keys.States(), "m1/web@1.service", active)
		set(b, b.keys.States(), "m3/web@1.service", active) // whose machine is away
		set(b, b.keys.States(), "m1/other@1.service", active)
		at := b.put("/services/web/web/web@1", "10.0.0.1:80")
		last := b.put("/services/web/other/other@1", "10.0.0.1:81")
		router := v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 3}}, Routes: 2}
		set(b, b.keys.Routers(), "m1", router)
		route := set(b, b.keys.Routes(), "web", v1.AppRoute{UID: "1"})
		status := v1.AppStatus{ObservedRevision: manifest, Replicas: v1.ReplicaCounts{Desired: 2}}
		current := set(b, b.keys.Status(), "web", status)
		b.sync()

		in := b.c.observe("web")
		require.Equal(t, now, in.Now)
		require.Equal(t, "web", in.App)
		require.Equal(t, text, string(in.Manifest))
		require.Equal(t, manifest, in.ManifestRevision)
		require.Equal(t, "u", in.Latest.UnitFile)
		require.Len(t, in.Units, 3)
		require.Equal(t, owned("web@2.service", v1.Launched), *in.Units["web@2.service"])
		require.Equal(t, map[string]string{"web@3.service": ""}, in.Taken)
		require.Equal(t, map[string]v1.Override{"web@1.service": {DesiredState: v1.Loaded}}, in.Overrides)
		require.Equal(t, map[string]v1.Unplaced{"web@2.service": {Message: "no room"}}, in.Unplaced)
		require.Equal(t, []string{"m1", "m2", "m3"}, in.Placements["web@1.service"])
		require.Empty(t, in.Placements["web@2.service"])
		require.Equal(t, map[string]Machine{"m1": {}, "m2": {}}, in.Machines, "those that are there")
		require.Equal(t, map[string]map[string]*v1.UnitState{"web@1.service": {"m1": &active}}, in.States)
		require.Equal(t, map[string]int64{"web/web@1": at}, in.Endpoints)
		require.Equal(t, []v1.EndpointSet{{Prefix: v1.DefaultAnnouncePrefix, Revision: last}}, in.EndpointSets)
		require.Equal(t, route, in.RouteRevision)
		require.Equal(t, map[string]v1.Router{"m1": router}, in.Routers)
		require.Equal(t, &status, in.Current)
		require.Equal(t, current, in.CurrentRevision)

		// For a withdrawn instance it matters which endpoints exist, not only when they changed.
		set(b, b.keys.Units(), "web-discovery@1.service", owned("web-discovery@1.service", v1.Loaded))
		b.sync()
		digest := v1.EndpointsDigest(map[string]string{"/services/web/web/web@1": "10.0.0.1:80", "/services/web/other/other@1": "10.0.0.1:81"})
		require.Equal(t, []v1.EndpointSet{{Prefix: v1.DefaultAnnouncePrefix, Revision: last, Digest: digest}}, b.c.observe("web").EndpointSets)

		// An empty manifest is not a deleted one.
		b.put(b.keys.Apps().Key("empty"), "")
		_, err = b.store.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: b.keys.Apps().Key("empty"), Value: []byte{}}}})
		require.NoError(t, err)
		b.sync()
		require.NotNil(t, b.c.observe("empty").Manifest)
		require.Empty(t, b.c.observe("empty").Manifest)

		// The app is deleted and created again: the status belongs to the deleted app, and has to be replaced.
		b.put(b.keys.Apps().Key("web"), "")
		b.sync()
		gone := b.c.observe("web")
		require.Nil(t, gone.Manifest)
		require.Equal(t, &status, gone.Current)
		b.put(b.keys.Apps().Key("web"), text)
		b.sync()
		anew := b.c.observe("web")
		require.Nil(t, anew.Current)
		require.Equal(t, current, anew.CurrentRevision)
		require.Nil(t, anew.Latest)
	})
}

// TestMachinesOfAGlobalApp: what a machine reports about itself, and its configuration.
func TestMachinesOfAGlobalApp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, false)
		created := b.put(b.keys.Apps().Key("web"), text)
		spec := v1.AppSpec{Global: true}
		set(b, b.keys.Revisions(), keyspace.RevisionName("web", 1), v1.Revision{Number: 1, AppUID: created, ManifestRevision: created, Spec: spec})
		zone := map[string]string{"zone": "a", "disk": "ssd"}
		want := map[string]Machine{}
		for id, m := range map[string]struct {
			own    map[string]string
			config *v1.MachineConfig
			want   Machine
		}{
			"plain":    {zone, nil, Machine{true, zone}},
			"nothing":  {nil, nil, Machine{true, nil}},
			"cordoned": {zone, &v1.MachineConfig{Cordoned: true}, Machine{false, zone}},
			"drained":  {zone, &v1.MachineConfig{Drain: true}, Machine{false, zone}},
			"changed":  {zone, &v1.MachineConfig{Metadata: map[string]string{"zone": "b", "disk": "", "rack": "7"}}, Machine{true, map[string]string{"zone": "b", "rack": "7"}}},
			"added":    {nil, &v1.MachineConfig{Metadata: map[string]string{"zone": "b", "disk": ""}}, Machine{true, map[string]string{"zone": "b"}}},
		} {
			set(b, b.keys.Machines(), id, v1.Machine{Spec: v1.MachineSpec{Metadata: m.own}})
			if m.config != nil {
				set(b, b.keys.MachineConfigs(), id, *m.config)
			}
			want[id] = m.want
		}
		b.put(b.keys.Machines().Key("broken"), "{")
		want["broken"] = Machine{}
		set(b, b.keys.Machines(), "doubtful", v1.Machine{Spec: v1.MachineSpec{Metadata: zone}})
		b.put(b.keys.MachineConfigs().Key("doubtful"), "{")
		want["doubtful"] = Machine{true, zone}
		b.sync()
		require.Equal(t, want, b.c.observe("web").Machines)
		o, _ := b.c.Cluster.Machines.Get("changed")
		require.Equal(t, zone, o.Value.Spec.Metadata, "what is known is not touched")
	})
}

// TestController follows one app from its manifest to its end: its status is written when something that it depends on
// changes, and only then.
func TestController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, true, func(o *Options) { o.Now = nil })
		status := func() (v1.AppStatus, bool) {
			t.Helper()
			time.Sleep(time.Second) // changes are gathered
			synctest.Wait()
			kv, ok, _, err := b.store.Get(t.Context(), b.keys.Status().Key("web"))
			require.NoError(t, err)
			if !ok {
				return v1.AppStatus{}, false
			}
			s, err := b.keys.Status().Decode(kv.Value)
			require.NoError(t, err)
			return s, true
		}
		ready := func() string {
			t.Helper()
			s, _ := status()
			c := v1.FindCondition(s.Conditions, v1.Ready)
			require.NotNil(t, c)
			return c.Status + " " + c.Reason
		}
		app, err := v1.ParseApp([]byte(text))
		require.NoError(t, err)
		set(b, b.keys.Machines(), "m1", v1.Machine{})
		created := b.put(b.keys.Apps().Key("web"), text)
		require.Equal(t, "Unknown NotAccepted", ready())
		s, _ := status()
		require.Equal(t, created, s.ObservedRevision)
		require.WithinDuration(t, time.Now(), v1.FindCondition(s.Conditions, v1.Ready).LastTransitionTime, 5*time.Second)

		app.Spec.Replicas = new(int32)
		*app.Spec.Replicas = 1
		set(b, b.keys.Revisions(), keyspace.RevisionName("web", 4), v1.Revision{Number: 4, AppUID: created, ManifestRevision: created, Spec: app.Spec, UnitFile: "u", SidekickFile: "u"})
		require.Equal(t, "False Pending", ready())
		s, _ = status()
		require.EqualValues(t, 4, s.AcceptedRevision)
		for _, name := range []string{"web@1.service", "web-discovery@1.service"} {
			set(b, b.keys.Units(), name, owned(name, v1.Launched))
		}
		require.Equal(t, "False Pending", ready(), "it is not placed yet")
		for _, name := range []string{"web@1.service", "web-discovery@1.service"} {
			set(b, b.keys.Placements(), "m1/"+name, v1.Placement{Hash: "u", DesiredState: v1.Launched})
		}
		require.Equal(t, "False NotReported", ready(), "it is placed")
		for _, name := range []string{"web@1.service", "web-discovery@1.service"} {
			set(b, b.keys.States(), "m1/"+name, v1.UnitState{ActiveState: "active", SubState: "running", Hash: "u", DesiredState: v1.Launched, Since: time.Now().Add(-time.Hour)})
		}
		require.Equal(t, "False NotAnnounced", ready())
		set(b, b.keys.Routers(), "m1", v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {}}})
		at := b.put("/services/web/web/web@1", "10.0.0.1:80")
		require.Equal(t, "False WaitingForRouters", ready())
		set(b, b.keys.Routers(), "m1", v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: at}}})
		require.Equal(t, "True Ready", ready(), "the router serves it")
		set(b, b.keys.Routers(), "m1", v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: at}}, Refused: map[string]string{"web": "HostTaken: x"}})
		require.Equal(t, "False HostTaken", ready(), "the router leaves it out")
		set(b, b.keys.Routers(), "m1", v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: at}}})
		require.Equal(t, "True Ready", ready())

		before := b.store.Revision()
		set(b, b.keys.Apps(), "other", []byte(text))
		_, _ = status()
		set(b, b.keys.Routers(), "m1", v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: at + 1}}})
		_, _ = status()
		require.Equal(t, before+3, b.store.Revision(), "the other app has a status of its own")

		b.put(b.keys.Status().Key("web"), "") // a person's change is undone
		require.Equal(t, "True Ready", ready())
		set(b, b.keys.Status(), "web", v1.AppStatus{})
		require.Equal(t, "True Ready", ready())
		b.put(b.keys.Apps().Key("web"), "")
		_, there := status()
		require.False(t, there)

		// Another process leads: nothing is written any more, and the controller ends.
		b.put(b.fence.Key, "")
		b.put(b.keys.Apps().Key("web"), text)
		_, there = status()
		require.False(t, there)
		require.ErrorIs(t, b.stop(), store.ErrFenced)
	})
}

// TestRoutersThatAreWaitedFor: an app that waits for routers is reconciled with each change of one. A router that answers
// during a reconciliation is not missed.
func TestRoutersThatAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, meanwhile := 0, func() {}
		b := newBench(t, true, func(o *Options) {
			o.Now = func() time.Time {
				looks++
				meanwhile()
				return time.Now()
			}
		})
		looked := func() int {
			looks = 0
			time.Sleep(time.Minute)
			synctest.Wait()
			return looks
		}
		app, err := v1.ParseApp([]byte(text))
		require.NoError(t, err)
		app.Spec.Replicas = new(int32)
		*app.Spec.Replicas = 1
		created := b.put(b.keys.Apps().Key("web"), text)
		set(b, b.keys.Machines(), "m1", v1.Machine{})
		set(b, b.keys.Revisions(), keyspace.RevisionName("web", 1), v1.Revision{Number: 1, AppUID: created, ManifestRevision: created, Spec: app.Spec, UnitFile: "u", SidekickFile: "u"})
		state := v1.UnitState{ActiveState: "active", SubState: "running", Hash: "u", DesiredState: v1.Launched, Since: time.Now().Add(-time.Hour)}
		for _, name := range []string{"web@1.service", "web-discovery@1.service"} {
			set(b, b.keys.Units(), name, owned(name, v1.Launched))
			set(b, b.keys.Placements(), "m1/"+name, v1.Placement{Hash: "u", DesiredState: v1.Launched})
			set(b, b.keys.States(), "m1/"+name, state)
		}
		at := b.put("/services/web/web/web@1", "10.0.0.1:80")
		served := func(revision int64) {
			set(b, b.keys.Routers(), "m1", v1.Router{Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: revision}}})
		}
		served(at - 1)
		looked()
		served(at)
		require.Positive(t, looked(), "it waits for the router")
		served(at + 1)
		require.Zero(t, looked(), "it is ready, and waits for none")

		again := func() { set(b, b.keys.States(), "m1/web@1.service", state) }
		again()
		require.Equal(t, 1, looked())
		meanwhile = func() {
			meanwhile = func() {}
			served(at + 2)
			time.Sleep(time.Millisecond)
		}
		again()
		require.Equal(t, 2, looked(), "a router answered during the first")
	})
}

// TestConflictKeepsTheOtherWrite: a status that another process wrote meanwhile is kept, and an error returned.
func TestConflictKeepsTheOtherWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, false)
		ctx := logr.NewContext(t.Context(), logr.Discard())
		at := set(b, b.keys.Status(), "web", v1.AppStatus{ObservedRevision: 1})
		put := &v1.AppStatus{ObservedRevision: 2, Conditions: []v1.Condition{{Type: v1.Ready}}}
		for name, plan := range map[string]Decision{
			"absent":        {Put: put},
			"changed":       {Put: put, If: at - 1},
			"delete":        {Delete: true, If: at - 1},
			"delete absent": {Delete: true},
		} {
			err := b.c.apply(ctx, "web", plan)
			require.True(t, errors.Is(err, store.ErrConflict), name)
			require.ErrorContains(t, err, "status of app web: ")
			require.Equal(t, at, b.store.Revision(), name)
		}
		require.NoError(t, b.c.apply(ctx, "web", Decision{}))
		require.Equal(t, at, b.store.Revision(), "nothing to do")
		require.NoError(t, b.c.apply(ctx, "web", Decision{Put: put, If: at}))
		o, ok := b.c.Cluster.Status.Get("web")
		require.True(t, ok)
		require.EqualValues(t, 2, o.Value.ObservedRevision, "it is known when it was written")
		require.NoError(t, b.c.apply(ctx, "web", Decision{Delete: true, If: at + 1}))
		_, ok = b.c.Cluster.Status.Get("web")
		require.False(t, ok)
		require.NoError(t, b.c.apply(ctx, "web", Decision{Put: put}))
	})
}

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		require.Equal(t, 50*time.Millisecond, newBench(t, false).c.Delay)
		require.Equal(t, time.Hour, newBench(t, false, func(o *Options) { o.Delay = time.Hour }).c.Delay)
	})
}
