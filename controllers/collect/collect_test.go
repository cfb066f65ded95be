package collect

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

func TestCollect(t *testing.T) {
	t.Run("model", func(t *testing.T) {
		t.Cleanup(func() { goleak.VerifyNone(t) })
		testCollect(t, memstore.New(memstore.Options{}))
	})
	t.Run("etcd", func(t *testing.T) { testCollect(t, etcdtest.Start(t).Client()) })
}

func testCollect(t *testing.T, s store.Interface) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	keys := keyspace.New("")
	put := func(key, value string) {
		_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: []byte(value)}}})
		require.NoError(t, err)
	}
	inline := unitfile.Hash("[Unit]\n")
	put(keys.UnitFiles().Key(inline), "[Unit]\n")
	put(keys.Units().Key("b.service"), `{"spec":{"contents":"[Unit]\n"}}`)
	used, unused := strings.Repeat("a", 64), strings.Repeat("b", 64)
	put(keys.UnitFiles().Key(used), "[Service]\n")
	put(keys.UnitFiles().Key(unused), "[Service]\n")
	put(keys.Units().Key("a.service"), `{"metadata":{"name":"a.service"},"spec":{"hash":"`+used+`"}}`)
	put(keys.Overrides().Key("gone.service"), `{}`)
	put(keys.States().Key("gone/a.service"), `{}`)
	put(keys.SourceWishes().Key("gone"), `{"suspended":true}`)
	put(keys.Status().Key("gone"), `{"replicas":{"desired":0,"scheduled":0,"active":0,"ready":0,"updated":0}}`)
	put(keys.Revisions().Key(keyspace.RevisionName("gone", 1)), `{"number":1}`)
	stays := map[string]bool{keys.UnitFiles().Key(used): true, keys.Units().Key("a.service"): true,
		keys.UnitFiles().Key(inline): true, keys.Units().Key("b.service"): true, keys.Apps().Key("held"): true}
	put(keys.Apps().Key("held"), "no manifest any more")
	for n := int64(1); n <= Keep+3; n++ { // revision 1 runs, all since were rejected
		key := keys.Revisions().Key(keyspace.RevisionName("held", n))
		put(key, fmt.Sprintf(`{"number":%d,"manifestRevision":1000,"before":1,"rejected":{"message":"no"}}`, n))
		if n == 1 || n > 3 {
			stays[key] = true
		}
	}

	known := cluster.New(s, keys, logr.Discard())
	c := New(Options{Env: cluster.Env{Store: s, Cluster: known}, Grace: 20 * time.Millisecond, Delay: time.Millisecond})
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	parts.Go(func() { _ = known.Run(ctx) })
	parts.Go(func() { _ = c.Run(ctx) })

	page, err := s.List(ctx, keys.Root(), store.ListOptions{})
	require.NoError(t, err)
	left := map[string]bool{}
	for _, kv := range page.KVs {
		left[kv.Key] = true
	}
	watch := s.Watch(ctx, keys.Root(), page.Revision)
	for len(left) > len(stays) {
		batch, ok := <-watch
		require.True(t, ok && batch.Err == nil, "left: %v", left)
		for _, e := range batch.Events {
			require.True(t, e.Deleted)
			delete(left, e.Key)
		}
	}
	require.Equal(t, stays, left)
}
