package store_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// keeping runs KeepLease on an in-memory store, in a synctest bubble.
type keeping struct {
	t      *testing.T
	model  *memstore.Store
	conn   *memstore.Conn
	got    []store.LeaseID
	adopts []bool
	cancel context.CancelFunc
	done   chan error
}

func keep(t *testing.T, model *memstore.Store, adopt store.LeaseID) *keeping {
	k := &keeping{t: t, model: model, conn: model.Connect(), done: make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	k.cancel = cancel
	go func() {
		k.done <- store.KeepLease(ctx, k.conn, store.KeptLease{TTL: 30 * time.Second, Adopt: adopt, OnLease: func(id store.LeaseID, adopted bool) {
			k.got, k.adopts = append(k.got, id), append(k.adopts, adopted)
		}})
	}()
	synctest.Wait()
	return k
}

func (k *keeping) stop() {
	k.cancel()
	require.ErrorIs(k.t, <-k.done, context.Canceled)
}

func (k *keeping) requireAlive(id store.LeaseID) {
	k.t.Helper()
	_, err := k.model.KeepAlive(k.t.Context(), id)
	require.NoError(k.t, err)
}

func TestKeepLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := memstore.New(memstore.Options{})
		k := keep(t, model, 0)
		require.Equal(t, []bool{false}, k.adopts)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		require.Len(t, k.got, 1, "renewed, not replaced")
		require.EqualValues(t, 1, model.Revision(), "no writes")
		k.stop()

		time.Sleep(20 * time.Second) // a restart of the process
		k = keep(t, model, k.got[0])
		require.Equal(t, []bool{true}, k.adopts)
		k.stop()

		time.Sleep(31 * time.Second) // too long
		old := k.got[0]
		k = keep(t, model, old)
		require.Equal(t, []bool{false}, k.adopts)
		require.NotEqual(t, old, k.got[0])
		k.stop()
	})
}

// A lease cannot be given another TTL: it is replaced, and kept where etcd grants none.
func TestKeepLeaseWithAnotherTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := memstore.New(memstore.Options{})
		old, err := model.Grant(t.Context(), 10*time.Second)
		require.NoError(t, err)
		model.SetFull(true)
		k := keep(t, model, old)
		require.Equal(t, []store.LeaseID{old}, k.got)
		time.Sleep(time.Minute)
		k.requireAlive(old)
		k.stop()

		model.SetFull(false)
		k = keep(t, model, old)
		require.Equal(t, []bool{true}, k.adopts, "its keys exist")
		require.NotEqual(t, old, k.got[0])
		left, err := model.KeepAlive(t.Context(), k.got[0])
		require.NoError(t, err)
		require.Equal(t, 30*time.Second, left)
		time.Sleep(11 * time.Second)
		_, err = model.KeepAlive(t.Context(), old)
		require.ErrorIs(t, err, store.ErrLeaseNotFound)
		k.stop()
	})
}

func TestKeepLeaseOutlivesEtcd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := memstore.New(memstore.Options{})
		k := keep(t, model, 0)
		k.conn.SetDown(true)
		time.Sleep(25 * time.Second) // less than the remaining time
		k.conn.SetDown(false)
		time.Sleep(15 * time.Second)
		require.Len(t, k.got, 1)
		k.requireAlive(k.got[0])

		k.conn.SetDown(true)
		time.Sleep(24 * time.Hour)
		require.Len(t, k.got, 1)
		k.conn.SetDown(false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.Equal(t, []bool{false, false}, k.adopts, "the keys have to be put again")
		k.requireAlive(k.got[1])
		k.stop()
	})
}

func TestKeepLeaseStartsWithoutEtcd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		model := memstore.New(memstore.Options{})
		id, err := model.Grant(t.Context(), 30*time.Second)
		require.NoError(t, err)
		model.SetFull(true)
		k := keep(t, model, id)
		require.Equal(t, []bool{true}, k.adopts, "a full store still renews")
		require.NoError(t, model.Revoke(t.Context(), id))
		time.Sleep(time.Minute)
		require.Len(t, k.got, 1)
		model.SetFull(false)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		require.Len(t, k.got, 2)
		k.stop()
	})
}

// TestKeepLeaseTells: after each attempt OnAsked gets the earliest end of the lease, or the reason why it is unknown.
// The pauses grow after failures and start again after a success.
func TestKeepLeaseTells(t *testing.T) {
	const ttl = 30 * time.Second
	for name, granted := range map[string]time.Duration{"none before": 0, "one that has ended": time.Second, "one of less": 6 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn := memstore.New(memstore.Options{}).Connect()
				adopt := store.LeaseID(0)
				if granted > 0 {
					var err error
					adopt, err = conn.Grant(t.Context(), granted)
					require.NoError(t, err)
					time.Sleep(2 * time.Second)
				}
				var asked []time.Time
				var errs []error
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() {
					done <- store.KeepLease(ctx, conn, store.KeptLease{TTL: ttl, Adopt: adopt, OnLease: func(store.LeaseID, bool) {}, OnAsked: func(until time.Time, err error) {
						asked, errs = append(asked, time.Now()), append(errs, err)
						if err == nil && !until.Equal(time.Now().Add(ttl)) {
							t.Errorf("%v: it lives until %v", time.Now(), until)
						}
					}})
				}()
				synctest.Wait()
				require.Equal(t, []error{nil}, errs)
				time.Sleep(ttl / 3)
				synctest.Wait()
				require.Equal(t, []error{nil, nil}, errs)
				require.Equal(t, ttl/3, asked[1].Sub(asked[0]))
				for range 2 {
					conn.SetDown(true)
					asked, errs = nil, nil
					time.Sleep(ttl / 2)
					for _, err := range errs {
						require.ErrorIs(t, err, store.ErrUnavailable)
					}
					require.InDelta(t, 0.09, asked[1].Sub(asked[0]).Seconds(), 0.02)
					require.InDelta(t, 0.18, asked[2].Sub(asked[1]).Seconds(), 0.03)
					conn.SetDown(false)
					time.Sleep(ttl / 4)
					synctest.Wait()
					require.NoError(t, errs[len(errs)-1])
				}
				cancel()
				require.ErrorIs(t, <-done, context.Canceled)
			})
		})
	}
}
