package store_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/store/storetest"
)

// counting counts transactions and their concurrency.
type counting struct {
	store.Interface
	mu                    sync.Mutex
	txns, now, most, size int
	pause                 time.Duration
}

func (c *counting) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	c.mu.Lock()
	c.txns++
	c.now++
	c.most = max(c.most, c.now)
	c.size = max(c.size, len(txn.Ops))
	c.mu.Unlock()
	time.Sleep(c.pause)
	revision, err := c.Interface.Commit(ctx, txn)
	c.mu.Lock()
	c.now--
	c.mu.Unlock()
	return revision, err
}

func puts(n int) []store.Group {
	groups := make([]store.Group, n)
	for i := range groups {
		groups[i] = store.Group{put(fmt.Sprintf("/t/%05d", i), "x")}
	}
	return groups
}

func TestWriteToEtcd(t *testing.T) {
	client := etcdtest.Start(t).Client()
	ctx := t.Context()
	leader, err := client.Commit(ctx, store.Txn{Ops: []store.Op{put("/leader", "me")}})
	require.NoError(t, err)
	fence := store.Fence{Key: "/leader", CreateRevision: leader}
	groups := puts(1000)
	for i := range groups { // as many conditions as operations
		groups[i][0].If = store.Absent()
	}
	last, err := store.LastRevision(store.Write(ctx, client, groups, fence))
	require.NoError(t, err)
	_, _, revision, err := client.Get(ctx, "/t/00999")
	require.NoError(t, err)
	require.Equal(t, revision, last)
	require.EqualValues(t, leader+8, last, "1,000 groups in 8 transactions")

	_, err = client.Commit(ctx, store.Txn{Ops: []store.Op{{Key: "/leader"}}})
	require.NoError(t, err)
	for _, r := range store.Write(ctx, client, puts(1000), fence) {
		require.ErrorIs(t, r.Err, store.ErrFenced)
	}
}

func TestWritePacks(t *testing.T) {
	for _, c := range []struct {
		name   string
		groups []store.Group
		txns   int
	}{
		{"nothing", nil, 0},
		{"one", puts(1), 1},
		{"as many as fit", puts(127), 1},
		{"one more", puts(128), 2},
		{"many", puts(1270), 10},
		{"a group is never cut", []store.Group{make100("a"), make100("b"), make100("c")}, 3},
		{"an empty group", []store.Group{{}, {put("/a", "1")}}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &counting{Interface: memstore.New(memstore.Options{}), pause: time.Millisecond}
			results := store.Write(t.Context(), s, c.groups, store.Fence{})
			require.Len(t, results, len(c.groups))
			_, err := store.LastRevision(results)
			require.NoError(t, err)
			require.Equal(t, c.txns, s.txns)
			require.LessOrEqual(t, s.most, 4)
		})
	}
}

// TestWriteManyChecksOfOneKey: they need no order, so they share transactions.
func TestWriteManyChecksOfOneKey(t *testing.T) {
	s := &counting{Interface: memstore.New(memstore.Options{})}
	groups := puts(60)
	for i := range groups {
		groups[i] = append(groups[i], store.Op{Key: "/t/gone", If: store.Unleased(), Check: true})
	}
	_, err := store.LastRevision(store.Write(t.Context(), s, groups, store.Fence{}))
	require.NoError(t, err)
	require.Equal(t, 1, s.txns)
}

func make100(prefix string) store.Group {
	var g store.Group
	for i := range 100 {
		g = append(g, put(fmt.Sprintf("/%s/%d", prefix, i), "x"))
	}
	return g
}

func TestWriteConflictsConcernOneGroup(t *testing.T) {
	m := memstore.New(memstore.Options{})
	s := &counting{Interface: m}
	_, err := m.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/00077", "taken")}})
	require.NoError(t, err)
	groups := puts(127)
	groups[77][0].If = store.Absent()
	for i, r := range store.Write(t.Context(), s, groups, store.Fence{}) {
		if i == 77 {
			require.ErrorIs(t, r.Err, store.ErrConflict)
			require.Zero(t, r.Revision)
			continue
		}
		require.NoError(t, r.Err)
		require.NotZero(t, r.Revision)
	}
	require.LessOrEqual(t, s.txns, 15, "one conflict among 127 groups")
}

// TestWriteStops: after an error that affects everything, the remaining groups are not tried.
func TestWriteStops(t *testing.T) {
	for name, c := range map[string]struct {
		fence store.Fence
		down  bool
		kind  error
	}{
		"fenced":      {fence: store.Fence{Key: "/leader", CreateRevision: 7}, kind: store.ErrFenced},
		"unavailable": {down: true, kind: store.ErrUnavailable},
	} {
		m := memstore.New(memstore.Options{})
		m.SetDown(c.down)
		s := &counting{Interface: m, pause: time.Millisecond}
		for _, r := range store.Write(t.Context(), s, puts(12700), c.fence) {
			require.ErrorIs(t, r.Err, c.kind, name)
		}
		require.LessOrEqual(t, s.txns, 8, name)
	}
}

// TestWriteSameAsOneByOne: batches have the same content and errors as writing each group separately.
func TestWriteSameAsOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ctx := context.Background()
		batched, single := memstore.New(memstore.Options{}), memstore.New(memstore.Options{})
		var groups []store.Group
		for range rapid.IntRange(0, 30).Draw(t, "groups") {
			keys := rapid.SliceOfNDistinct(rapid.IntRange(0, 20), 1, 3, rapid.ID[int]).Draw(t, "keys")
			var g store.Group
			for _, k := range keys {
				op := store.Op{Key: fmt.Sprintf("/%d", k)}
				if rapid.Bool().Draw(t, "put") {
					op.Value = []byte(fmt.Sprint(len(groups)))
				}
				if rapid.Bool().Draw(t, "if") {
					op.If = store.Absent()
				}
				g = append(g, op)
			}
			groups = append(groups, g)
		}
		results := store.Write(ctx, batched, groups, store.Fence{})
		for i, g := range groups {
			_, err := single.Commit(ctx, store.Txn{Ops: g})
			require.Equal(t, errors.Is(err, store.ErrConflict), errors.Is(results[i].Err, store.ErrConflict))
		}
		require.Equal(t, content(ctx, t, single), content(ctx, t, batched))
	})
}

func content(ctx context.Context, t require.TestingT, s store.Interface) map[string]string {
	out := map[string]string{}
	_, err := store.ListAll(ctx, s, "/", store.ListOptions{}, func(kv store.KV) error {
		out[kv.Key] = string(kv.Value)
		return nil
	})
	require.NoError(t, err)
	return out
}

// TestWriteTellsRefusedGroupsApart: a group that etcd refuses, because it is too large or not allowed, fails alone.
func TestWriteTellsRefusedGroupsApart(t *testing.T) {
	s := &storetest.Refusing{Interface: memstore.New(memstore.Options{}), Keys: map[string]error{"/t/00003": store.ErrInvalid, "/t/00200": store.ErrDenied}}
	for i, r := range store.Write(t.Context(), s, puts(300), store.Fence{}) {
		require.ErrorIs(t, r.Err, s.Keys[fmt.Sprintf("/t/%05d", i)], i)
		require.Equal(t, r.Err == nil, r.Revision > 0, i)
	}
	page, err := s.List(t.Context(), "/t/", store.ListOptions{})
	require.NoError(t, err)
	require.Len(t, page.KVs, 298)
}

// recording records the keys of each transaction, ordered by the transactions' first keys.
type recording struct {
	store.Interface
	mu   sync.Mutex
	txns []string
}

func (r *recording) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	var names []string
	for _, op := range txn.Ops {
		names = append(names, strings.TrimPrefix(op.Key, "/"))
	}
	r.mu.Lock()
	r.txns = append(r.txns, strings.Join(names, " "))
	r.mu.Unlock()
	return r.Interface.Commit(ctx, txn)
}

// TestWritePacksWithinTheLimits: a transaction has as many groups as etcd accepts. Keys count like values.
func TestWritePacksWithinTheLimits(t *testing.T) {
	sized := func(key string, size int) store.Group {
		return store.Group{put("/"+key, strings.Repeat("x", size-len(key)-1))}
	}
	const all = 1 << 20
	for _, c := range []struct {
		name   string
		groups []store.Group
		want   []string
	}{
		{"exactly full", []store.Group{sized("a", all/2), sized("b", all/2), sized("c", 10)}, []string{"a b", "c"}},
		{"one byte too many", []store.Group{sized("a", all/2), sized("b", all/2+1), sized("c", 10)}, []string{"a", "b c"}},
		{"the first of a transaction counts", []store.Group{sized("a", all/2+1), sized("b", all/2+1), sized("c", all/2)}, []string{"a", "b", "c"}},
		{"each by itself", []store.Group{sized("a", all), sized("b", all), sized("c", all)}, []string{"a", "b", "c"}},
		{"one alone is larger", []store.Group{sized("a", 10), sized("b", all+1), sized("c", 10)}, []string{"a", "b", "c"}},
		{"a deletion has a key", []store.Group{sized("a", all-1), {{Key: "/b"}}, {{Key: "/c"}}}, []string{"a", "b c"}},
		{"one key three times", []store.Group{{put("/a", "1")}, {put("/b", "1"), put("/a", "2")}, {{Key: "/a"}}, {put("/c", "1")}}, []string{"a", "a c", "b a"}},
		{"a group of two", []store.Group{sized("a", all/2), append(sized("b", all/4), sized("c", all/4+1)...), sized("d", 10)}, []string{"a", "b c d"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &recording{Interface: memstore.New(memstore.Options{})}
			_, err := store.LastRevision(store.Write(t.Context(), s, c.groups, store.Fence{}))
			require.NoError(t, err)
			slices.Sort(s.txns)
			require.Equal(t, c.want, s.txns)
		})
	}
	for n, want := range map[int][]int{127: {127}, 128: {1, 127}, 254: {127, 127}, 255: {1, 127, 127}} {
		s := &recording{Interface: memstore.New(memstore.Options{})}
		store.Write(t.Context(), s, puts(n), store.Fence{})
		var sizes []int
		for _, txn := range s.txns {
			sizes = append(sizes, 1+strings.Count(txn, " "))
		}
		slices.Sort(sizes)
		require.Equal(t, want, sizes)
	}
}

// full refuses everything that needs space, as etcd does once its quota is exceeded.
type full struct {
	store.Interface
	mu     sync.Mutex
	txns   int
	behind func(store.Txn) error // what is wrong with a transaction that needs no space
}

func (f *full) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	f.mu.Lock()
	f.txns++
	f.mu.Unlock()
	for _, op := range txn.Ops {
		if op.Value != nil {
			return 0, store.ErrNoSpace
		}
	}
	if f.behind != nil {
		if err := f.behind(txn); err != nil {
			return 0, err
		}
	}
	return f.Interface.Commit(ctx, txn)
}

// TestWriteToAFullEtcd: every group that needs space is refused; deletions, which make room, are still written, in one
// more transaction. A conflicting one fails alone.
func TestWriteToAFullEtcd(t *testing.T) {
	m := memstore.New(memstore.Options{})
	var groups []store.Group
	for i := range 40 {
		key := fmt.Sprintf("/t/%02d", i)
		_, err := m.Commit(t.Context(), store.Txn{Ops: []store.Op{put(key, "old")}})
		require.NoError(t, err)
		switch i % 4 {
		case 0, 1:
			groups = append(groups, store.Group{{Key: key}})
		case 2:
			groups = append(groups, store.Group{put(key, "new")})
		case 3: // a move
			groups = append(groups, store.Group{{Key: key}, put("/to"+key, "new")})
		}
	}
	s := &full{Interface: m}
	check := func(results []store.Result, conflicts map[int]bool) {
		t.Helper()
		for i, r := range results {
			_, there, _, err := m.Get(t.Context(), fmt.Sprintf("/t/%02d", i))
			require.NoError(t, err)
			switch {
			case conflicts[i]:
				require.ErrorIs(t, r.Err, store.ErrConflict, i)
			case i%4 < 2:
				require.NoError(t, r.Err, i)
				require.Positive(t, r.Revision)
				require.False(t, there, i)
			default:
				require.ErrorIs(t, r.Err, store.ErrNoSpace, i)
				require.Zero(t, r.Revision)
				require.True(t, there, i)
			}
		}
	}
	groups[5][0].If = store.Unchanged(1)
	check(store.Write(t.Context(), s, groups, store.Fence{}), map[int]bool{5: true})
	groups[5][0].If = store.Condition{}
	s.txns = 0
	check(store.Write(t.Context(), s, groups, store.Fence{}), nil)
	require.Equal(t, 2, s.txns, "a refused one, and one with the deletions")

	s.txns = 0
	check(store.Write(t.Context(), s, []store.Group{groups[0], groups[1]}, store.Fence{}), nil)
	require.Equal(t, 1, s.txns)
	s.txns = 0
	for _, r := range store.Write(t.Context(), s, puts(3), store.Fence{}) {
		require.ErrorIs(t, r.Err, store.ErrNoSpace)
	}
	require.Equal(t, 1, s.txns, "without deletions there is no retry")
}
