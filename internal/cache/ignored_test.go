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

// TestIgnored: what is a stranger's or cannot be read is told by key and revision, whether it was there before or is put
// later; a machine that is under no lease any more is gone.
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
