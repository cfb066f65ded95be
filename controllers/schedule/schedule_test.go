package schedule

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
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/store/storetest"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// bench is a store with the controller running on it, and helpers that act for everything else.
type bench struct {
	t     testing.TB
	ctx   context.Context
	store store.Interface
	keys  keyspace.Keys
	ended chan error
	// looked is closed after the controller's first pass.
	looked <-chan struct{}

	mu     sync.Mutex
	events []string
}

func (b *bench) Record(kind, name, eventType, reason, message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.events = append(b.events, strings.Join([]string{kind, name, eventType, reason, message}, " "))
}

// eachStore runs a test over the model and over etcd.
func eachStore(t *testing.T, test func(b *bench)) {
	t.Run("model", func(t *testing.T) {
		t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other cleanups
		test(start(t, memstore.New(memstore.Options{})))
	})
	t.Run("etcd", func(t *testing.T) { test(start(t, etcdtest.Start(t).Client())) })
}

func start(t testing.TB, s store.Interface) *bench {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	b := &bench{t: t, ctx: ctx, store: s, keys: keyspace.New(""), ended: make(chan error, 1)}
	leader := b.keys.Leader("engine") + "/1"
	b.put(leader, "")
	kv, _, _, err := s.Get(ctx, leader)
	require.NoError(t, err)
	known := cluster.New(s, b.keys, logr.Discard())
	c := New(Options{Env: cluster.Env{Store: s, Cluster: known, Fence: store.Fence{Key: leader, CreateRevision: kv.CreateRevision}, Events: b}})
	b.looked = c.FirstPass()
	var parts sync.WaitGroup
	parts.Go(func() { _ = known.Run(ctx) })
	parts.Go(func() { b.ended <- c.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		parts.Wait()
	})
	return b
}

func (b *bench) commit(ops ...store.Op) {
	_, err := b.store.Commit(b.ctx, store.Txn{Ops: ops})
	require.NoError(b.t, err)
}

func (b *bench) put(key, value string) { b.commit(store.Op{Key: key, Value: []byte(value)}) }

func (b *bench) machine(id, zone string) {
	value, err := b.keys.Machines().Encode(v1.Machine{Spec: v1.MachineSpec{Address: "127.0.0.1", Metadata: map[string]string{"zone": zone}}})
	require.NoError(b.t, err)
	b.present(id, string(value))
}

func (b *bench) present(id, value string) {
	lease, err := b.store.Grant(b.ctx, time.Hour)
	require.NoError(b.t, err)
	b.commit(store.Op{Key: b.keys.Machines().Key(id), Value: []byte(value), Lease: lease})
}

// unit writes a unit and its file.
func (b *bench) unit(name, text string) {
	hash := unitfile.Hash(text)
	value, err := b.keys.Units().Encode(v1.Unit{Spec: v1.UnitSpec{Hash: hash, DesiredState: v1.Launched}})
	require.NoError(b.t, err)
	b.commit(store.Op{Key: b.keys.UnitFiles().Key(hash), Value: []byte(text)}, store.Op{Key: b.keys.Units().Key(name), Value: value})
}

// decided lists the placements, and why units have none.
func (b *bench) decided() (lines []string, revision int64) {
	placements, unplaced := b.keys.Placements(), b.keys.Unplaced()
	page, err := b.store.List(b.ctx, b.keys.Root(), store.ListOptions{})
	require.NoError(b.t, err)
	for _, kv := range page.KVs {
		if name, ok := placements.Name(kv.Key); ok {
			value, err := placements.Decode(kv.Value)
			if err != nil {
				value.DesiredState = "unreadable"
			}
			lines = append(lines, name+" "+string(value.DesiredState))
		}
		if name, ok := unplaced.Name(kv.Key); ok {
			value, err := unplaced.Decode(kv.Value)
			require.NoError(b.t, err)
			lines = append(lines, name+": "+value.Message)
		}
	}
	return lines, page.Revision
}

// await waits until the decisions are exactly these.
func (b *bench) await(want ...string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	lines, revision := b.decided()
	changes := b.store.Watch(ctx, b.keys.Root(), revision)
	for !slices.Equal(lines, want) {
		if _, ok := <-changes; !ok {
			require.Equal(b.t, want, lines)
		}
		lines, _ = b.decided()
	}
}

const spreadOut = "[Service]\nExecStart=/bin/app\n[X-Fleet]\nConflicts=app@*.service\n"

func TestController(t *testing.T) {
	eachStore(t, func(b *bench) {
		b.machine("m1", "a")
		b.machine("m2", "b")
		b.unit("app@1.service", spreadOut)
		b.unit("app@2.service", spreadOut)
		b.unit("side@1.service", "[X-Fleet]\nMachineOf=app@%i.service\n")
		b.unit("router.service", "[X-Fleet]\nGlobal=true\n")
		b.await("m1/app@1.service launched", "m1/router.service launched", "m1/side@1.service launched",
			"m2/app@2.service launched", "m2/router.service launched")

		// One more than there are machines: it is explained, and placed when there is another machine.
		b.unit("app@3.service", spreadOut)
		b.await("m1/app@1.service launched", "m1/router.service launched", "m1/side@1.service launched",
			"m2/app@2.service launched", "m2/router.service launched",
			"app@3.service: 0 of 2 machines fit: 2 run a unit that conflicts (Conflicts=app@*.service: app@1.service, app@2.service)")
		b.machine("m3", "c")
		b.await("m1/app@1.service launched", "m1/router.service launched", "m1/side@1.service launched",
			"m2/app@2.service launched", "m2/router.service launched", "m3/app@3.service launched", "m3/router.service launched")

		// A machine is gone: its unit fits nowhere else, because each machine has one. Its placement is kept.
		b.commit(store.Op{Key: b.keys.Machines().Key("m3")})
		b.await("m1/app@1.service launched", "m1/router.service launched", "m1/side@1.service launched",
			"m2/app@2.service launched", "m2/router.service launched", "m3/app@3.service launched", "m3/router.service launched",
			"app@3.service: it stays on m3 for now (its machine m3 is gone): 0 of 2 machines fit: 2 run a unit that conflicts (Conflicts=app@*.service: app@1.service, app@2.service)")

		// One unit is deleted: the other one takes its place.
		b.commit(store.Op{Key: b.keys.Units().Key("app@2.service")})
		b.await("m1/app@1.service launched", "m1/router.service launched", "m1/side@1.service launched",
			"m2/app@3.service launched", "m2/router.service launched", "m3/router.service launched")
	})
}

// TestControllerBadInput: unreadable and foreign keys.
func TestControllerBadInput(t *testing.T) {
	eachStore(t, func(b *bench) {
		b.machine("m1", "a")
		b.present("m2", "{broken")
		b.unit("a.service", "[Service]\nExecStart=/bin/a\n")
		b.await("m1/a.service launched")
		b.put(b.keys.Placements().Key("m1/foreign.service"), `{"hash":"x"}`)
		b.put(b.keys.Placements().Key("nowhere"), `{}`)
		b.put(b.keys.Placements().Key("m2/a.service"), "{broken")
		b.put(b.keys.Unplaced().Key("foreign.service"), `{}`)
		b.await("m1/a.service launched")

		// A unit that breaks now keeps running as it was.
		const unread = "a.service: it stays on m1 as it was: /fleet/units/a.service cannot be read: invalid character 'b' looking for beginning of object key string"
		b.put(b.keys.Units().Key("a.service"), "{broken")
		b.await("m1/a.service launched", unread)
		b.unit("b.service", "[X-Fleet]\nPorts=none\n")
		b.await("m1/a.service launched", unread,
			`b.service: line 2: [X-Fleet] Ports: port "none": write numbers from 1 to 65535, separated by white space`)
		b.unit("a.service", "[Service]\nExecStart=/bin/a2\n")
		b.commit(store.Op{Key: b.keys.Units().Key("b.service")})
		b.await("m1/a.service launched")
	})
}

// TestControllerInline: units that a person wrote with etcdctl contain their file's text.
func TestControllerInline(t *testing.T) {
	eachStore(t, func(b *bench) {
		text := "[X-Fleet]\nConflicts=a@*.service\n"
		hash := unitfile.Hash(text)
		inline := "spec:\n  contents: |\n    [X-Fleet]\n    Conflicts=a@*.service\n"
		b.put(b.keys.Units().Key("a@1.service"), inline)
		b.put(b.keys.Units().Key("a@2.service"), inline)
		b.unit("b.service", "[X-Fleet]\nMachineOf=a@1.service\n")
		b.put(b.keys.Units().Key("g.service"), "spec:\n  contents: |\n    [X-Fleet]\n    Global=true\n")
		b.put(b.keys.Units().Key("off.service"), "spec:\n  contents: |\n    [Service]\n  desiredState: inactive\n")
		b.put(b.keys.Units().Key("x.service"), inline+"  hash: "+strings.Repeat("a", 64)+"\n")
		refused := "x.service: spec.hash is " + strings.Repeat("a", 64) + ", the hash of spec.contents is " + hash + ": leave spec.hash away"
		wait := func(name string) string { return name + ": no machine is present" }
		b.await(wait("a@1.service"), wait("a@2.service"), wait("b.service"), refused)
		require.Empty(b.t, b.files(hash), "nothing needs it so far")
		b.machine("m1", "a")
		b.machine("m2", "a")
		want := []string{"m1/a@1.service launched", "m1/b.service launched", "m1/g.service launched", "m2/a@2.service launched", "m2/g.service launched", refused}
		b.await(want...)
		require.Equal(b.t, []string{text}, b.files(hash))
		require.Len(b.t, b.files(unitfile.Hash("[X-Fleet]\nGlobal=true\n")), 1)
		require.Empty(b.t, b.files(unitfile.Hash("[Service]\n")))

		// It is stored again when it is deleted, and before a changed unit's placement names it.
		b.commit(store.Op{Key: b.keys.UnitFiles().Key(hash)})
		b.awaitFile(hash, text)
		changed := "[X-Fleet]\n"
		b.put(b.keys.Units().Key("a@2.service"), "spec:\n  contents: |\n    [X-Fleet]\n  desiredState: loaded\n")
		want[3] = "m2/a@2.service loaded"
		b.await(want...)
		require.Equal(b.t, []string{changed}, b.files(unitfile.Hash(changed)))
	})
}

// A unit file that etcd refuses keeps only its own unit from being placed, with an explanation.
func TestControllerFileRefusedByEtcd(t *testing.T) {
	inline := func(text string) string { return "spec:\n  contents: |\n    [Service]\n    ExecStart=" + text + "\n" }
	file := keyspace.New("").UnitFiles().Key(unitfile.Hash("[Service]\nExecStart=/bin/large\n"))
	b := start(t, storetest.Refusing{Interface: memstore.New(memstore.Options{}), Keys: map[string]error{file: store.ErrInvalid}})
	b.put(b.keys.Units().Key("large.service"), inline("/bin/large"))
	b.put(b.keys.Units().Key("small.service"), inline("/bin/small"))
	b.machine("m1", "a")
	b.unit("stored.service", "[Service]\nExecStart=/bin/stored\n")
	want := []string{"m1/small.service launched", "m1/stored.service launched"}
	require.Eventually(t, func() bool {
		lines, _ := b.decided()
		return slices.Equal(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, "large.service: ") }), want)
	}, 10*time.Second, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return slices.ContainsFunc(b.events, func(e string) bool {
			return strings.HasPrefix(e, "Unit large.service Warning NotWritten what was decided for it (StoreFile) could not be written")
		})
	}, 10*time.Second, 5*time.Millisecond)
}

// A unit with an invalid name, written with etcdctl, is placed nowhere, with an explanation.
func TestControllerInvalidName(t *testing.T) {
	eachStore(t, func(b *bench) {
		b.machine("m1", "a")
		b.unit("zzdata@vol1.mount", "[X-Fleet]\nGlobal=true\n")
		b.unit("a.snapshot", "[Service]\nExecStart=/bin/a\n")
		b.unit("good.service", "[Service]\nExecStart=/bin/a\n")
		retired := `a.snapshot: unit name "a.snapshot": systemd has no snapshot units since version 228: use one of automount, device, mount, path, service, slice, socket, swap, target, timer`
		b.await("m1/good.service launched", retired,
			`zzdata@vol1.mount: unit name "zzdata@vol1.mount": units of type mount have no instances: write an '@' of the path as \x40`)
		b.commit(store.Op{Key: b.keys.Units().Key("zzdata@vol1.mount")})
		b.await("m1/good.service launched", retired)
	})
}

// files returns the texts stored under a hash: one, or none.
func (b *bench) files(hash string) (texts []string) {
	kv, ok, _, err := b.store.Get(b.ctx, b.keys.UnitFiles().Key(hash))
	require.NoError(b.t, err)
	if ok {
		texts = append(texts, string(kv.Value))
	}
	return texts
}

// awaitFile waits until a text is stored.
func (b *bench) awaitFile(hash, text string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, 10*time.Second)
	defer cancel()
	_, revision := b.decided()
	changes := b.store.Watch(ctx, b.keys.UnitFiles().Key(hash), revision)
	for !slices.Equal(b.files(hash), []string{text}) {
		if _, ok := <-changes; !ok {
			require.Equal(b.t, []string{text}, b.files(hash))
		}
	}
}

// TestControllerFreeze: when most machines vanish, nothing moves, and one event reports it; when they return, nothing has
// changed.
func TestControllerFreeze(t *testing.T) {
	eachStore(t, func(b *bench) {
		var want []string
		for i := range 5 {
			b.machine(fmt.Sprint("m", i+1), "a")
			b.unit(fmt.Sprintf("app@%d.service", i+1), spreadOut)
			want = append(want, fmt.Sprintf("m%d/app@%d.service launched", i+1, i+1))
		}
		b.await(want...)
		for i := range 3 {
			b.commit(store.Op{Key: b.keys.Machines().Key(fmt.Sprint("m", i+1))})
		}
		b.unit("new.service", "[Service]\n")
		want = append(want[:3:3], "m4/app@4.service launched", "m4/new.service launched", "m5/app@5.service launched")
		b.await(want...)
		for i := range 3 {
			b.machine(fmt.Sprint("m", i+1), "a")
		}
		b.unit("newer.service", "[Service]\n")
		b.await(slices.Insert(slices.Clone(want), 1, "m1/newer.service launched")...)
		b.mu.Lock()
		defer b.mu.Unlock()
		require.Contains(t, strings.Join(b.events, "\n"), "Cluster schedule Warning MachinesVanished 3 of 5 machines are missed")
	})
}

// TestControllerFenced: a deposed leader writes nothing, and ends.
func TestControllerFenced(t *testing.T) {
	eachStore(t, func(b *bench) {
		b.commit(store.Op{Key: b.keys.Leader("engine") + "/1"})
		b.machine("m1", "a")
		b.unit("a.service", "[Service]\n")
		require.ErrorIs(b.t, <-b.ended, store.ErrFenced)
		b.await()
	})
}

// TestControllerAtRest: nothing is decided twice; an irrelevant change causes no write.
func TestControllerAtRest(t *testing.T) {
	b := start(t, memstore.New(memstore.Options{}))
	b.machine("m1", "a")
	b.unit("a.service", "[X-Fleet]\nMachineMetadata=zone=b\n")
	b.await("a.service: 0 of 1 machine fits: 1 has no metadata zone=b")
	_, before := b.decided()
	b.put(b.keys.States().Key("m1/a.service"), `{"activeState":"active"}`)
	b.machine("m1", "a") // unchanged
	b.unit("b.service", "[X-Fleet]\nMachineMetadata=zone=c\n")
	b.await("a.service: 0 of 1 machine fits: 1 has no metadata zone=b", "b.service: 0 of 1 machine fits: 1 has no metadata zone=c")
	_, after := b.decided()
	require.Equal(t, before+4, after, "three changes, and one answer")
}
