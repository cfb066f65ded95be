package leader_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/leader"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// asking counts a candidate's requests to etcd.
type asking struct {
	store.Interface
	before func() // each watch

	mu      sync.Mutex
	lists   int
	commits int
	watched []string
}

func (a *asking) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	a.mu.Lock()
	a.lists++
	a.mu.Unlock()
	return a.Interface.List(ctx, prefix, opts)
}

func (a *asking) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	a.mu.Lock()
	a.commits++
	a.mu.Unlock()
	return a.Interface.Commit(ctx, txn)
}

func (a *asking) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	a.mu.Lock()
	a.watched = append(a.watched, prefix)
	a.mu.Unlock()
	if a.before != nil {
		a.before()
	}
	return a.Interface.Watch(ctx, prefix, after)
}

func (a *asking) so() (lists, commits int, watched []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lists, a.commits, a.watched
}

// candidatesOf returns their keys by id.
func candidatesOf(t *testing.T, s store.Interface) map[string]store.KV {
	t.Helper()
	found := map[string]store.KV{}
	page, err := s.List(t.Context(), keys.Leader("engine")+"/", store.ListOptions{})
	require.NoError(t, err)
	for _, kv := range page.KVs {
		found[string(kv.Value)] = kv
	}
	return found
}

// TestEachWaitsForTheOneBefore: each candidate watches the one just before it, so that the end of a leader wakes one
// process.
func TestEachWaitsForTheOneBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		asked, stops := map[string]*asking{}, map[string]func(){}
		for _, id := range []string{"a", "b", "c", "d"} {
			asked[id] = &asking{Interface: s.Connect()}
			stops[id] = e.run(asked[id], id, ttl)
			synctest.Wait()
		}
		all := candidatesOf(t, s)
		for id, before := range map[string]string{"b": "a", "c": "b", "d": "c"} {
			_, _, watched := asked[id].so()
			require.Equal(t, []string{all[before].Key}, watched, id)
		}
		b, _, _ := asked["b"].so()
		for range 3 { // the leader's key is put again, unchanged
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: all["a"].Key, Value: all["a"].Value, Lease: all["a"].Lease}}})
			require.NoError(t, err)
			synctest.Wait()
		}
		still, _, _ := asked["b"].so()
		require.Equal(t, b, still, "a change of the previous key is not its deletion")
		require.Equal(t, map[string]bool{"a": true}, e.leading)
		lists, _, _ := asked["d"].so()
		stops["a"]()
		e.awaitLeader("b")
		synctest.Wait()
		now, _, watched := asked["d"].so()
		require.Equal(t, lists, now, "the fourth candidate does not react to the end of the leader")
		require.Len(t, watched, 1)

		stops["c"]() // a candidate in the middle leaves: the next one lists again and waits for the one before
		synctest.Wait()
		now, _, watched = asked["d"].so()
		require.Equal(t, lists+1, now)
		require.Equal(t, []string{all["c"].Key, all["b"].Key}, watched)
		require.Equal(t, map[string]bool{"b": true}, e.leading)
		stops["b"]()
		e.awaitLeader("d")
		stops["d"]()
	})
}

// TestCompactedWhileWaiting: if the revision that a candidate is about to watch is compacted, it lists again at once
// and keeps its place; the leader is not affected.
func TestCompactedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		compact := func() {
			for range 5 {
				_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/other", Value: []byte("x")}}})
				require.NoError(t, err)
			}
			s.Compact(s.Revision())
		}
		e := newElection(t)
		a := &asking{Interface: s.Connect(), before: sync.OnceFunc(compact)}
		stopA := e.run(a, "a", ttl)
		e.awaitLeader("a")
		synctest.Wait()
		_, _, watched := a.so()
		require.Len(t, watched, 2, "its own key, and again")

		b := &asking{Interface: s.Connect(), before: sync.OnceFunc(compact)}
		stopB := e.run(b, "b", ttl)
		synctest.Wait()
		place := candidatesOf(t, s)["b"]
		lists, commits, watched := b.so()
		require.Equal(t, 3, lists, "without its key, with it, and again")
		require.Equal(t, 1, commits)
		require.Len(t, watched, 2)
		time.Sleep(10 * time.Minute)
		require.Len(t, e.terms, 1)
		require.Equal(t, place, candidatesOf(t, s)["b"])
		stopped := time.Now()
		stopA()
		require.Equal(t, stopped, e.awaitLeader("b").start)
		stopB()
	})
}

// TestKeyPutAgainByHand: a leader whose key was deleted and put again by another client no longer leads, because its
// fence is of the old key. A key put under its name without a lease does not keep it from leading again.
func TestKeyPutAgainByHand(t *testing.T) {
	for name, leased := range map[string]bool{"with its lease": true, "without a lease": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(memstore.Options{})
				e := newElection(t)
				a := &asking{Interface: s.Connect()}
				stop := e.run(a, "a", ttl)
				first := e.awaitLeader("a")
				own := candidatesOf(t, s)["a"]
				synctest.Wait()
				_, commits, _ := a.so()
				put := store.Op{Key: own.Key, Value: own.Value}
				if leased {
					put.Lease = own.Lease
				}
				for _, op := range []store.Op{{Key: own.Key}, put} { // at once: nothing sees it gone
					_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}})
					require.NoError(t, err)
				}
				e.await("a second term", func() bool { return len(e.terms) == 2 && e.leading["a"] })
				second := e.terms[1]
				require.NotEqual(t, first.fence, second.fence)
				require.Equal(t, candidatesOf(t, s)["a"].CreateRevision, second.fence.CreateRevision)
				require.Equal(t, own.Lease, candidatesOf(t, s)["a"].Lease, "it ends with the leader")
				_, now, _ := a.so()
				require.LessOrEqual(t, now-commits, 3)
				stop()
				require.Empty(t, candidatesOf(t, s))
			})
		})
	}
}

// TestPausesBeginAnew: after a term longer than the lease, a candidate campaigns again at once, however many such terms
// there were. After shorter ones the pauses grow.
func TestPausesBeginAnew(t *testing.T) {
	for term, most := range map[time.Duration]time.Duration{2 * ttl: 200 * time.Millisecond, ttl: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			s := memstore.New(memstore.Options{})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			var starts []time.Time
			go func() {
				done <- leader.Run(ctx, s, keys, "engine", "a", ttl, func(ctx context.Context, _ store.Fence) error {
					starts = append(starts, time.Now())
					store.Sleep(ctx, term)
					return errors.New("broken")
				})
			}()
			time.Sleep(20 * (term + most))
			cancel()
			require.NoError(t, <-done)
			require.GreaterOrEqual(t, len(starts), 19)
			longest := time.Duration(0)
			for i := range starts[1:] {
				longest = max(longest, starts[i+1].Sub(starts[i])-term)
			}
			require.LessOrEqual(t, longest, most)
			require.Greater(t, longest, most*2/5)
		})
	}
}

// repeating sends each put of a new key twice, as a client does if the first answer is lost.
type repeating struct{ store.Interface }

func (r repeating) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if txn.Ops[0].If == store.Absent() {
		if _, err := r.Interface.Commit(ctx, txn); err != nil {
			return 0, err
		}
	}
	return r.Interface.Commit(ctx, txn)
}

// TestKeyThatWasPutTwice: a candidate whose key exists under its own lease keeps its place.
func TestKeyThatWasPutTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		e := newElection(t)
		a := &asking{Interface: repeating{s.Connect()}}
		stop := e.run(a, "a", ttl)
		term := e.awaitLeader("a")
		require.EqualValues(t, candidatesOf(t, s)["a"].CreateRevision, term.fence.CreateRevision)
		_, commits, _ := a.so()
		require.Equal(t, 1, commits, "it is not taken for another's")
		stop()
	})
}
