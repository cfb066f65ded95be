package announce

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

var errUnwell = errors.New("unwell")

// leases is a store that is slow to grant leases, even after a cancellation, and records which were revoked.
type leases struct {
	store.Interface
	takes            time.Duration
	granted, revoked []store.LeaseID
}

func (l *leases) Grant(ctx context.Context, ttl time.Duration) (store.LeaseID, error) {
	time.Sleep(l.takes)
	id, err := l.Interface.Grant(context.WithoutCancel(ctx), ttl)
	if err == nil {
		l.granted = append(l.granted, id)
	}
	return id, err
}

func (l *leases) Revoke(ctx context.Context, id store.LeaseID) error {
	l.revoked = append(l.revoked, id)
	return l.Interface.Revoke(ctx, id)
}

// TestStoppedWhileItsLeaseIsGranted: the lease that arrives afterwards is revoked, too.
func TestStoppedWhileItsLeaseIsGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &leases{Interface: memstore.New(memstore.Options{}), takes: time.Second}
		i := start(t, s, "127.0.0.11:3000")
		time.Sleep(500 * time.Millisecond)
		i.stop()
		require.Len(t, s.granted, 1)
		require.Equal(t, s.granted, s.revoked)
	})
}

// TestLeaseIsEndedOnce: after a withdrawal there is no lease, and nothing to ask etcd for.
func TestLeaseIsEndedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failed atomic.Int32
		log := funcr.New(func(_, args string) {
			if strings.Contains(args, "Withdrawing failed") {
				failed.Add(1)
			}
		}, funcr.Options{})
		model := memstore.New(memstore.Options{})
		conn := model.Connect()
		s := &leases{Interface: conn}
		i := start(t, s, "127.0.0.11:3000", func(o *Options) { o.Log = log })
		synctest.Wait()
		i.healthy.Store(false)
		time.Sleep(5 * time.Second)
		require.Equal(t, s.granted, s.revoked)
		conn.SetDown(true)
		i.healthy.Store(true)
		time.Sleep(5 * time.Second)
		began := time.Now()
		i.stop()
		require.Zero(t, time.Since(began))
		require.Len(t, s.revoked, 1)
		require.Zero(t, failed.Load())
	})
}

// TestExistingEndpoint: which existing values are overwritten, and which are left.
func TestExistingEndpoint(t *testing.T) {
	const mine, theirs = "127.0.0.11:3000", "127.0.0.12:3000"
	for name, tt := range map[string]struct {
		value string // "" if there is none
		own   bool   // it is under the endpoint's current lease
		first bool
		want  string
		put   bool
	}{
		"none, first":                        {"", false, true, mine, true},
		"none, later":                        {"", false, false, mine, true},
		"mine":                               {mine, true, false, mine, false},
		"mine, from before a restart":        {mine, false, true, mine, true},
		"mine, under a lease that was lost":  {mine, false, false, mine, true},
		"another's, and this is the newest":  {theirs, false, true, mine, true},
		"another's, which replaced this one": {theirs, false, false, theirs, false},
		"another's under my lease, first":    {theirs, true, true, mine, true},
	} {
		s := memstore.New(memstore.Options{})
		lease, err := s.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		before, err := s.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		if tt.own {
			before = lease
		}
		if tt.value != "" {
			_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(tt.value), Lease: before}}})
			require.NoError(t, err)
		}
		was := s.Revision()
		var said []string
		e := endpoint{store: s, key: key, value: mine, log: funcr.New(func(_, args string) { said = append(said, args) }, funcr.Options{})}
		held := store.LeaseID(1)
		if tt.first {
			held = 0
		}
		require.NoError(t, putOnce(t, &e, lease, held), name)
		require.Equal(t, tt.put, s.Revision() > was, name)
		kv, _, _, err := s.Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, tt.want, string(kv.Value), name)
		require.Equal(t, tt.want == mine, kv.Lease == lease, name)
		require.Equal(t, tt.want == theirs, len(said) > 0, "%s: %v", name, said)
	}
}

// putOnce reads the endpoint and puts it, as store.HoldKey does.
func putOnce(t *testing.T, e *endpoint, lease, held store.LeaseID) error {
	kv, there, revision, err := e.store.Get(t.Context(), e.key)
	require.NoError(t, err)
	op, err := e.put(t.Context(), store.ReadKey{KV: kv, There: there, Revision: revision, Holding: lease, Held: held})
	require.NoError(t, err)
	if op == nil {
		return nil
	}
	_, err = e.store.Commit(t.Context(), store.Txn{Ops: []store.Op{*op}})
	return err
}

// racing lets another announcer put the key between a read and the write based on it.
type racing struct {
	*memstore.Store
	others int
}

func (r *racing) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if r.others > 0 {
		r.others--
		if _, err := r.Store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: []byte("127.0.0.12:3000")}}}); err != nil {
			return 0, err
		}
	}
	return r.Store.Commit(ctx, txn)
}

// TestEndpointOverwritesOnlyWhatWasRead, not over later values.
func TestEndpointOverwritesOnlyWhatWasRead(t *testing.T) {
	for _, there := range []bool{false, true} {
		s := &racing{Store: memstore.New(memstore.Options{})}
		if there {
			_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte("127.0.0.13:3000")}}})
			require.NoError(t, err)
		}
		s.others = 1
		e := endpoint{store: s, key: key, value: "127.0.0.11:3000"}
		require.ErrorIs(t, putOnce(t, &e, 0, 0), store.ErrConflict)
		require.Equal(t, "127.0.0.12:3000", value(t, s.Store))
	}
}

// endless is a store whose watches end at once, as for a user without the permission to watch.
type endless struct {
	store.Interface
	gets atomic.Int32
}

func (e *endless) Get(ctx context.Context, key string) (store.KV, bool, int64, error) {
	e.gets.Add(1)
	return e.Interface.Get(ctx, key)
}

func (*endless) Watch(context.Context, string, int64) <-chan store.Batch {
	batches := make(chan store.Batch, 1)
	batches <- store.Batch{Err: store.ErrDenied}
	close(batches)
	return batches
}

// TestWatchThatEndsAtOnce costs etcd about one read per second, and the endpoint stays.
func TestWatchThatEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := memstore.New(memstore.Options{})
		s := &endless{Interface: model}
		start(t, s, "127.0.0.11:3000")
		time.Sleep(9500 * time.Millisecond)
		require.InDelta(t, 10, s.gets.Load(), 1)
		require.Equal(t, "127.0.0.11:3000", value(t, model))
	})
}
