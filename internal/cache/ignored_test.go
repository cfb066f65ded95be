package cache_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestIgnored: foreign and unreadable keys are reported by key and revision, whether they existed before or are put
// later; a machine key that loses its lease is reported as deleted.
func TestIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		lease, err := s.Grant(t.Context(), time.Hour)
		require.NoError(t, err)
		put := func(key, value string, lease store.LeaseID) {
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value), Lease: lease}}})
			require.NoError(t, err)
		}
		put("/fleet/machines/m1", "{}", lease)  // 2
		put("/fleet/machines/m2", "{}", 0)      // 3
		put("/fleet/machines/a/b", "{}", lease) // 4
		put("/fleet/machines/m4", "{", lease)   // 5

		var told []string
		r := cache.NewReflector(s, keys.Root(), cache.OnIgnored(func(key string, revision int64, reason, _ string) {
			told = append(told, fmt.Sprintf("%s@%d %s", strings.TrimPrefix(key, "/fleet/machines/"), revision, reason))
		}))
		machines := cache.Register(r, keys.Machines())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		require.Equal(t, []string{"a/b@4 NoSuchName", "m2@3 NoLease", "m4@5 Unreadable"}, told)
		require.Equal(t, 2, machines.Len())

		told = nil
		put("/fleet/machines/m1", "{}", 0)                             // 6
		put("/fleet/machines/m4", "[", lease)                          // 7
		put("/fleet/machines/"+strings.Repeat("x", 2000), "{}", lease) // 8
		synctest.Wait()
		require.Equal(t, []string{"m1@6 NoLease", "m4@7 Unreadable", strings.Repeat("x", 2000) + "@8 NoSuchName"}, told)
		_, present := machines.Get("m1")
		require.False(t, present)
		require.Equal(t, 1, machines.Len())
		cancel()
		running.Wait()
	})
}

// TestForeignKeysAreReported: keys outside all rows are reported, whether they existed before or are put later; keys
// below excepted prefixes are not. In guarded rows the foreign keys are reported.
func TestForeignKeysAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		lease, err := s.Grant(t.Context(), time.Hour)
		require.NoError(t, err)
		put := func(lease store.LeaseID, names ...string) {
			for _, name := range names {
				_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/fleet" + name, Value: []byte("{}"), Lease: lease}}})
				require.NoError(t, err)
			}
		}
		strange := []string{"/", "/a", "/apps", "/apps0", "/leaders", "/leaders/other", "/leaders/other/1", "/unitsx/a", "/zzz"}
		put(0, strange...)
		put(0, "/apps/a", "/units/a.service", "/events/x", "/web/a/a@1", "/leaders/engine/none", "0", "/leaders/engine/a/b")
		put(lease, "/leaders/engine/1")

		var told []string
		r := cache.NewReflector(s, keys.Root(), cache.OnlyRows(keys.Events().Prefix(), "/fleet/web/", "/services/web/"), cache.OnIgnored(func(key string, _ int64, reason, _ string) {
			told = append(told, strings.TrimPrefix(key, "/fleet")+" "+reason)
		}))
		cache.Register(r, keys.Units())
		cache.Register(r, keys.Apps())
		cache.Guard(r, keys.Leaders())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		want := []string{"/ NoSuchRow", "/a NoSuchRow", "/apps NoSuchRow", "/apps0 NoSuchRow", "/leaders NoSuchRow", "/leaders/engine/a/b NoSuchName",
			"/leaders/engine/none NoLease", "/leaders/other NoSuchName", "/leaders/other/1 NoSuchName", "/unitsx/a NoSuchRow", "/zzz NoSuchRow"}
		require.Equal(t, want, told)

		told = nil
		put(0, strange...)
		put(0, "/apps/a", "/events/x", "/web/a/a@1", "/leaders/engine/none", "/leaders/engine/a/b")
		put(lease, "/leaders/engine/1", "/leaders/engine/2")
		_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/fleet/zzz"}}})
		require.NoError(t, err)
		synctest.Wait()
		require.ElementsMatch(t, want, told)
		cancel()
		running.Wait()
	})
}

// TestManyForeignKeys: of 100,000 foreign keys in one place only some are read; those in other places are still found.
func TestManyForeignKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		var groups []store.Group
		for i := range 100_000 {
			groups = append(groups, store.Group{{Key: fmt.Sprintf("/fleet/a/%06d", i), Value: []byte("x")}})
		}
		groups = append(groups, store.Group{{Key: "/fleet/z", Value: []byte("x")}})
		_, err := store.LastRevision(store.Write(t.Context(), s, groups, store.Fence{}))
		require.NoError(t, err)
		told, last := 0, ""
		r := cache.NewReflector(s, keys.Root(), cache.OnlyRows(), cache.OnIgnored(func(key string, _ int64, _, _ string) { told, last = told+1, key }))
		cache.Register(r, keys.Apps())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		require.Equal(t, 10_000+1, told)
		require.Equal(t, "/fleet/z", last)
		cancel()
		running.Wait()
	})
}

// TestNoForeignKeysInTheOnlyRow: if the reflector's prefix is a single row, its objects are not reported as foreign.
func TestNoForeignKeysInTheOnlyRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		commit(t, s, placement("m/a", "1"), store.Op{Key: "/fleet/placements/x", Value: []byte("{}")})
		var told []string
		r := cache.NewReflector(s, keys.Placements().Prefix(), cache.OnlyRows(), cache.OnIgnored(func(key string, _ int64, reason, _ string) {
			told = append(told, key+" "+reason)
		}))
		placements := cache.Register(r, keys.Placements())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		synctest.Wait()
		require.Equal(t, []string{"/fleet/placements/x NoSuchName"}, told)
		require.Equal(t, []string{"m/a"}, names(placements.List()))
		cancel()
		running.Wait()
	})
}
