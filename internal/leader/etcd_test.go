package leader_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

func fenced(t *testing.T, s store.Interface, fence store.Fence) error {
	_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/x", Value: []byte{}}}, Fence: fence})
	return err
}

// TestEtcdLeaseRevoked: the deposed leader's context ends, the next candidate leads, and etcd rejects further writes of
// the first.
func TestEtcdLeaseRevoked(t *testing.T) {
	etcd := etcdtest.Start(t)
	a := etcd.Client()
	e := newElection(t)
	e.overlap = true
	e.run(a, "a", time.Minute)
	first := e.awaitLeader("a")
	require.NoError(t, fenced(t, a, first.fence))
	stopB := e.run(etcd.Client(), "b", time.Minute)
	awaitCandidates(t, etcd, 2)

	kv, _, _, err := a.Get(t.Context(), first.fence.Key)
	require.NoError(t, err)
	require.NoError(t, a.Revoke(t.Context(), kv.Lease))
	second := e.awaitLeader("b")
	require.ErrorIs(t, fenced(t, a, first.fence), store.ErrFenced)
	require.NoError(t, fenced(t, a, second.fence))

	awaitCandidates(t, etcd, 2) // a is in line again
	start := time.Now()
	stopB()
	e.awaitLeader("a")
	require.Less(t, time.Since(start), 10*time.Second, "of a minute's lease")
}

// awaitCandidates waits for that number of candidates.
func awaitCandidates(t *testing.T, etcd *etcdtest.Server, n int) {
	t.Helper()
	events := etcd.Raw().Watch(t.Context(), keys.Leader("engine"), clientv3.WithPrefix())
	for {
		resp, err := etcd.Raw().Get(t.Context(), keys.Leader("engine"), clientv3.WithPrefix())
		require.NoError(t, err)
		if len(resp.Kvs) == n {
			return
		}
		select {
		case <-events:
		case <-time.After(20 * time.Second):
			require.Fail(t, "wrong number of candidates")
		}
	}
}

// TestEtcdFrozenLeader: a leader with a frozen network stops before the next one starts. Its writes in flight arrive
// late and are rejected.
func TestEtcdFrozenLeader(t *testing.T) {
	etcd := etcdtest.Start(t)
	a := etcd.Client()
	e := newElection(t)
	e.run(a, "a", 2*time.Second)
	first := e.awaitLeader("a")
	e.run(etcd.ClientWith(etcd.ConfigPastProxy()), "b", 2*time.Second)
	awaitCandidates(t, etcd, 2)
	etcd.Freeze()
	second := e.awaitLeader("b")
	require.True(t, first.end.Before(second.start))
	late := make(chan error, 1)
	go func() { late <- fenced(t, a, first.fence) }()
	etcd.Thaw()
	require.ErrorIs(t, <-late, store.ErrFenced)
}

// TestEtcdRestarts: a short restart has no effect; after a long one the same candidate leads again.
func TestEtcdRestarts(t *testing.T) {
	etcd := etcdtest.Start(t)
	e := newElection(t)
	cfg := etcd.Config()
	cfg.RequestTimeout = 500 * time.Millisecond
	stop := e.run(etcd.ClientWith(cfg), "a", 3*time.Second)
	first := e.awaitLeader("a")
	etcd.Stop()
	etcd.Start()
	require.NoError(t, fenced(t, etcd.Client(), first.fence))
	require.Len(t, e.terms, 1)

	etcd.Stop()
	e.awaitNoLeader()
	etcd.Start()
	second := e.await("leads again", func() bool { return len(e.terms) == 2 })
	require.Equal(t, first.fence, second.fence, "etcd extends leases when it starts")
	stop()
}
