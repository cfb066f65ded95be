package cache_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var keys = keyspace.New("")

// reflecting is a running reflector of two rows that records what its handlers receive.
type reflecting struct {
	t          *testing.T
	r          *cache.Reflector
	placements *cache.Collection[v1.Placement]
	unplaced   *cache.Collection[v1.Unplaced]
	relists    int
	cancel     context.CancelFunc
	done       chan error

	mu   sync.Mutex
	told []string
}

func reflect(t *testing.T, s store.Interface) *reflecting {
	f := &reflecting{t: t, done: make(chan error, 1)}
	f.r = cache.NewReflector(s, keys.Root(), cache.WithPageSize(3), cache.OnRelist(func(int64) { f.relists++ }))
	f.placements = cache.Register(f.r, keys.Placements())
	f.unplaced = cache.Register(f.r, keys.Unplaced())
	f.placements.OnChange(func(events []cache.Event[v1.Placement]) {
		for _, e := range events {
			f.tell("placement", e.Name, describe(e.Old), describe(e.New))
		}
	})
	f.unplaced.OnChange(func(events []cache.Event[v1.Unplaced]) {
		for _, e := range events {
			f.tell("unplaced", e.Name, describe(e.Old), describe(e.New))
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.done <- f.r.Run(ctx) }()
	t.Cleanup(f.stop)
	return f
}

func (f *reflecting) stop() {
	if f.cancel != nil {
		f.cancel()
		f.cancel = nil
		require.ErrorIs(f.t, <-f.done, context.Canceled)
	}
}

func describe[T any](o *cache.Object[T]) string {
	switch {
	case o == nil:
		return "-"
	case o.Err != nil:
		return "?" + string(o.Raw)
	}
	text, err := json.Marshal(o.Value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (f *reflecting) tell(row, name, old, new string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told = append(f.told, fmt.Sprintf("%s %s: %s => %s", row, name, old, new))
}

func (f *reflecting) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	told := f.told
	f.told = nil
	return told
}

func (f *reflecting) wait(revision int64) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	require.NoError(f.t, f.r.WaitForSync(ctx))
	require.NoError(f.t, f.r.WaitForRevision(ctx, revision))
}

func placement(name, hash string) store.Op {
	value, err := keys.Placements().Encode(v1.Placement{Hash: hash})
	if err != nil {
		panic(err)
	}
	return store.Op{Key: keys.Placements().Key(name), Value: value}
}

func unplaced(name, message string) store.Op {
	value, err := keys.Unplaced().Encode(v1.Unplaced{Message: message})
	if err != nil {
		panic(err)
	}
	return store.Op{Key: keys.Unplaced().Key(name), Value: value}
}

func gone(op store.Op) store.Op { return store.Op{Key: op.Key} }

// committer is the part of a store that commit needs.
type committer interface {
	Commit(ctx context.Context, txn store.Txn) (int64, error)
}

func commit(t *testing.T, s committer, ops ...store.Op) int64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		revision, err := s.Commit(ctx, store.Txn{Ops: ops})
		if errors.Is(err, store.ErrUnavailable) && ctx.Err() == nil {
			continue
		}
		require.NoError(t, err)
		return revision
	}
}

func names[T any](objects []*cache.Object[T]) []string {
	out := []string{}
	for _, o := range objects {
		out = append(out, o.Name)
	}
	return out
}

func TestLister(t *testing.T) {
	s := memstore.New(memstore.Options{})
	commit(t, s, placement("m1/b", "1"), placement("m10/a", "1"), placement("m1/a", "1"), placement("m2/a", "1"))
	revision := commit(t, s, placement("m1/c", "2"))
	f := reflect(t, s)
	f.wait(revision)
	require.Equal(t, []string{"m1/a", "m1/b", "m1/c", "m10/a", "m2/a"}, names(f.placements.List()))
	require.Equal(t, []string{"m1/a", "m1/b", "m1/c"}, names(f.placements.ListPrefix("m1/")))
	require.Empty(t, f.placements.ListPrefix("m3/"))
	require.Len(t, f.placements.ListPrefix(""), 5)
	require.Equal(t, 5, f.placements.Len())
	o, ok := f.placements.Get("m1/c")
	require.True(t, ok)
	require.Equal(t, &cache.Object[v1.Placement]{
		Name: "m1/c", Key: "/fleet/placements/m1/c", Value: v1.Placement{Hash: "2"},
		CreateRevision: revision, ModRevision: revision,
	}, o)
	_, ok = f.placements.Get("m1/none")
	require.False(t, ok)
	require.Equal(t, revision, f.r.Revision())
	require.Equal(t, revision, f.r.LastChange())
}

func TestEventsComeInTheOrderOfRevisions(t *testing.T) {
	s := memstore.New(memstore.Options{})
	f := reflect(t, s)
	f.wait(1)
	s.SetDown(true) // so that all events arrive in one batch
	other := s.Connect()
	commit(t, other, placement("m/a", "1"), unplaced("x", "no"))
	commit(t, other, placement("m/a", "2"))
	commit(t, other, gone(unplaced("x", "")), placement("m/b", "1"))
	last := commit(t, other, gone(placement("m/a", "")), gone(placement("m/none", "")))
	s.SetDown(false)
	f.wait(last)
	require.Equal(t, []string{
		`placement m/a: - => {"hash":"1","desiredState":""}`,
		`unplaced x: - => {"message":"no"}`,
		`placement m/a: {"hash":"1","desiredState":""} => {"hash":"2","desiredState":""}`,
		`unplaced x: {"message":"no"} => -`,
		`placement m/b: - => {"hash":"1","desiredState":""}`,
		`placement m/a: {"hash":"2","desiredState":""} => -`,
	}, f.take())
	require.Equal(t, last, f.r.LastChange())
}

// TestUndecodableIsKept: an object made unreadable by hand is neither dropped nor reported as deleted.
func TestUndecodableIsKept(t *testing.T) {
	s := memstore.New(memstore.Options{})
	commit(t, s, store.Op{Key: "/fleet/placements/m/a", Value: []byte("{broken")}, store.Op{Key: "/fleet/placements/m/empty", Value: []byte{}})
	f := reflect(t, s)
	f.wait(1)
	o, ok := f.placements.Get("m/a")
	require.True(t, ok)
	require.Error(t, o.Err)
	require.Equal(t, "{broken", string(o.Raw))
	require.Zero(t, o.Value)
	empty, ok := f.placements.Get("m/empty")
	require.True(t, ok)
	require.Error(t, empty.Err)

	f.wait(commit(t, s, placement("m/a", "1")))
	f.wait(commit(t, s, store.Op{Key: "/fleet/placements/m/a", Value: []byte("[]")}))
	require.Equal(t, []string{
		`placement m/a: ?{broken => {"hash":"1","desiredState":""}`,
		`placement m/a: {"hash":"1","desiredState":""} => ?[]`,
	}, f.take()[2:])
}

// TestEqualValues: consecutive objects with equal contents are correct, readable or not, even if one of them changes.
func TestEqualValues(t *testing.T) {
	s := memstore.New(memstore.Options{})
	broken := func(name string) store.Op {
		return store.Op{Key: keys.Placements().Key(name), Value: []byte("{broken")}
	}
	commit(t, s, placement("m/a", "1"), placement("m/b", "1"), broken("m/c"), broken("m/d"), placement("m/e", "1"), placement("m/f", "2"))
	f := reflect(t, s)
	f.wait(commit(t, s, placement("m/b", "2"), placement("m/g", "2"), broken("m/h"), broken("m/i"), placement("m/j", "2")))
	hashes := []string{}
	for _, o := range f.placements.List() {
		hashes = append(hashes, o.Value.Hash+string(o.Raw))
		require.Equal(t, o.Raw != nil, o.Err != nil)
	}
	require.Equal(t, []string{"1", "2", "{broken", "{broken", "1", "2", "2", "{broken", "{broken", "2"}, hashes)
}

// TestRelist: after a compaction the handlers get only the differences, and unchanged objects remain the same.
func TestRelist(t *testing.T) {
	s := memstore.New(memstore.Options{})
	commit(t, s, placement("m/kept", "1"), placement("m/changed", "1"), placement("m/gone", "1"), unplaced("same", "no"))
	conn := s.Connect()
	f := reflect(t, conn)
	f.wait(1)
	kept, _ := f.placements.Get("m/kept")
	require.Len(t, f.take(), 4)

	conn.SetDown(true)
	commit(t, s, placement("m/changed", "2"), gone(placement("m/gone", "")), placement("m/new", "1"))
	last := commit(t, s, placement("m/brief", "1"))
	last = max(last, commit(t, s, gone(placement("m/brief", ""))))
	s.Compact(last)
	require.Equal(t, 3, f.placements.Len(), "the last content is kept until then")
	conn.SetDown(false)
	f.wait(last)
	require.Equal(t, []string{
		`placement m/gone: {"hash":"1","desiredState":""} => -`,
		`placement m/changed: {"hash":"1","desiredState":""} => {"hash":"2","desiredState":""}`,
		`placement m/new: - => {"hash":"1","desiredState":""}`,
	}, f.take())
	now, _ := f.placements.Get("m/kept")
	require.Same(t, kept, now)
	require.Equal(t, last, f.r.LastChange())
	f.stop()
	require.Equal(t, 2, f.relists)
}

// TestLastChangeStays: a listing without news does not move LastChange.
func TestLastChangeStays(t *testing.T) {
	s := memstore.New(memstore.Options{})
	first := commit(t, s, placement("m/a", "1"))
	conn := s.Connect()
	f := reflect(t, conn)
	f.wait(first)
	conn.SetDown(true)
	commit(t, s, store.Op{Key: "/elsewhere", Value: []byte("1")})
	last := commit(t, s, store.Op{Key: "/elsewhere", Value: []byte("2")})
	s.Compact(last)
	conn.SetDown(false)
	f.wait(last)
	require.Equal(t, last, f.r.Revision())
	require.Equal(t, first, f.r.LastChange())
}

// TestWaitForRevisionOfOthers: a write that changes nothing below the prefix causes no event; the wait still ends.
func TestWaitForRevisionOfOthers(t *testing.T) {
	s := memstore.New(memstore.Options{})
	f := reflect(t, s)
	f.wait(1) // the watch is running
	f.wait(commit(t, s, store.Op{Key: "/elsewhere", Value: []byte("1")}))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.r.WaitForRevision(ctx, 1000), context.Canceled)
}

func TestWaitForSyncWaits(t *testing.T) {
	s := memstore.New(memstore.Options{})
	s.SetDown(true)
	f := reflect(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, f.r.WaitForSync(ctx), context.DeadlineExceeded)
	require.Zero(t, f.r.Revision())
	s.SetDown(false)
	f.wait(1)
}

func TestRegisterRefusesMistakes(t *testing.T) {
	r := cache.NewReflector(memstore.New(memstore.Options{}), keys.Root())
	cache.Register(r, keys.Placements())
	require.Panics(t, func() { cache.Register(r, keys.Placements()) })
	require.Panics(t, func() { cache.Register(r, keys.PlacementsOf("m")) })
	require.Panics(t, func() { cache.Register(r, keyspace.Endpoints("/services/web")) })
	cache.Register(r, keys.Unplaced())
}
