package cluster_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestLookAnew: when a placement that etcd's watch lost is found, its app is enqueued even for controllers that do not follow
// placements: they have already handled its state, which came first.
func TestLookAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys, s := keyspace.New(""), memstore.New(memstore.Options{})
		put := func(key, value string) {
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
			require.NoError(t, err)
		}
		put(keys.Apps().Key("web"), "{}")
		put(keys.Units().Key("gone@1.service"), `{"metadata":{"name":"gone@1.service","owner":"gone"}}`)
		var told []string
		c := cluster.New(s, keys, logr.Discard())
		c.OnApp(func(app string) { told = append(told, app) })
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = c.Run(ctx) })
		synctest.Wait()
		told = nil
		s.SetOld(memstore.OldEtcd{Drop: 1})
		put(keys.Placements().Key("m1/web@1.service"), "{}")
		synctest.Wait()
		s.SetOld(memstore.OldEtcd{})
		require.Empty(t, told)
		time.Sleep(2 * store.CheckEvery)
		synctest.Wait()
		require.Equal(t, []string{"gone", "web"}, told)
		cancel()
		running.Wait()
	})
}
