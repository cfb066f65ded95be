package leader_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/leader"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestLostDeletion: the leader's key is deleted, and put again by the former leader after the other candidate's key. If
// that candidate's watch has lost both events, it still leads after the next check: otherwise each would wait for the
// other.
func TestLostDeletion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, s := keyspace.New(""), memstore.New(memstore.Options{})
		conns := map[string]*memstore.Conn{"a": s.Connect(), "b": s.Connect()}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		var mu sync.Mutex
		leading := ""
		leads := func() string {
			mu.Lock()
			defer mu.Unlock()
			return leading
		}
		for _, id := range []string{"a", "b"} {
			running.Go(func() {
				_ = leader.Run(ctx, conns[id], keys, "engine", id, 30*time.Second, func(ctx context.Context, _ store.Fence) error {
					mu.Lock()
					leading = id
					mu.Unlock()
					<-ctx.Done()
					mu.Lock()
					leading = ""
					mu.Unlock()
					return ctx.Err()
				})
			})
			synctest.Wait()
		}
		require.Equal(t, "a", leads())
		conns["b"].SetOld(memstore.OldEtcd{Drop: 1})
		page, err := s.List(ctx, keys.Leader("engine")+"/", store.ListOptions{})
		require.NoError(t, err)
		for _, kv := range page.KVs {
			if string(kv.Value) == "a" {
				_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: kv.Key}}})
				require.NoError(t, err)
			}
		}
		time.Sleep(time.Minute)
		require.Empty(t, leads())
		time.Sleep(2 * store.CheckEvery)
		require.Equal(t, "b", leads())
		cancel()
		running.Wait()
	})
}
