package store_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestHoldKey: the key is there again after it was deleted, after it was changed and after its lease has ended; at rest nothing is
// written, and at the end it is left to its lease.
func TestHoldKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		var want atomic.Value
		want.Store("a")
		var reads []store.ReadKey
		var leases []store.LeaseID
		var held int
		wake := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- store.HoldKey(ctx, s, store.HeldKey{
				Key: "/k", Wake: wake, Retry: store.Backoff{First: time.Second, Max: time.Second}, OnHeld: func() { held++ },
				Lease: store.KeptLease{TTL: 10 * time.Second, Log: logr.Discard(), OnLease: func(id store.LeaseID, _ bool) { leases = append(leases, id) }},
				Put: func(_ context.Context, read store.ReadKey) (*store.Op, error) {
					reads = append(reads, read)
					value := want.Load().(string)
					if read.There && read.Lease == read.Holding && string(read.Value) == value {
						return nil, nil
					}
					return &store.Op{Key: "/k", Value: []byte(value), Lease: read.Holding}, nil
				},
			})
		}()
		is := func(value string, lease store.LeaseID) {
			t.Helper()
			synctest.Wait()
			kv, _, _, err := s.Get(t.Context(), "/k")
			require.NoError(t, err)
			require.Equal(t, value, string(kv.Value))
			require.Equal(t, lease, kv.Lease)
		}
		write := func(op store.Op) {
			t.Helper()
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}})
			require.NoError(t, err)
		}
		synctest.Wait()
		is("a", leases[0])
		require.Equal(t, []store.ReadKey{{Revision: reads[0].Revision, Holding: leases[0]}}, reads)
		write(store.Op{Key: "/k"})
		is("a", leases[0])
		require.Equal(t, leases[0], reads[len(reads)-1].Held)
		write(store.Op{Key: "/k", Value: []byte("b")})
		is("a", leases[0])
		want.Store("c")
		wake <- struct{}{}
		is("c", leases[0])
		at := s.Revision()
		time.Sleep(time.Hour)
		require.Equal(t, at, s.Revision(), "at rest nothing is written")
		require.NoError(t, s.Revoke(t.Context(), leases[0]))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Len(t, leases, 2)
		is("c", leases[1])
		require.Positive(t, held)
		cancel()
		require.NoError(t, <-ended)
		is("c", leases[1])
	})
}

// TestHoldKeyLeavesOrEnds: a key that Put leaves to another one is not held, and looked at when that is gone; an error ends it.
func TestHoldKeyLeavesOrEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/k", Value: []byte("theirs")}}})
		require.NoError(t, err)
		enough := errors.New("enough")
		puts := 0
		err = nil
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			err = store.HoldKey(t.Context(), s, store.HeldKey{
				Key: "/k", Until: store.Deleted, OnHeld: func() { panic("it is not held") }, Lease: store.KeptLease{TTL: time.Minute, Log: logr.Discard()},
				Put: func(_ context.Context, read store.ReadKey) (*store.Op, error) {
					puts++
					if read.There {
						return nil, nil
					}
					return nil, enough
				},
			})
		}()
		synctest.Wait()
		_, commitErr := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/k", Value: []byte("again")}}})
		require.NoError(t, commitErr)
		synctest.Wait()
		require.Equal(t, 1, puts, "it waits for the deletion")
		_, commitErr = s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "/k"}}})
		require.NoError(t, commitErr)
		<-ended
		require.ErrorIs(t, err, enough)
		require.Equal(t, 2, puts)
	})
}

// TestHoldKeyRetries: while etcd does not answer it is asked again after growing pauses.
func TestHoldKeyRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := memstore.New(memstore.Options{})
		conn := model.Connect()
		var down atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			ended <- store.HoldKey(ctx, conn, store.HeldKey{
				Key: "/k", Retry: store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}, Lease: store.KeptLease{TTL: time.Hour, Log: logr.Discard()},
				Put: func(_ context.Context, read store.ReadKey) (*store.Op, error) {
					if down.Add(1) == 1 {
						conn.SetDown(true)
					}
					return &store.Op{Key: "/k", Value: []byte("a"), Lease: read.Holding}, nil
				},
			})
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 1, down.Load(), "it reads first")
		conn.SetDown(false)
		time.Sleep(6 * time.Second)
		kv, there, _, err := model.Get(t.Context(), "/k")
		require.NoError(t, err)
		require.True(t, there)
		require.NotZero(t, kv.Lease)
		cancel()
		require.NoError(t, <-ended)
	})
}
