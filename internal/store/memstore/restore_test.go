package memstore_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// put writes a key and returns the revision.
func put(t *testing.T, s *memstore.Store, key string, lease store.LeaseID) int64 {
	t.Helper()
	revision, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: key, Value: []byte(key), Lease: lease}}})
	require.NoError(t, err)
	return revision
}

func TestRestore(t *testing.T) {
	for _, tc := range []struct {
		name string
		bump int64
		at   int64 // the revision afterwards
		err  error // of a watch started before
	}{
		{"with --bump-revision", 1000, 1004, store.ErrCompacted},
		{"without", 0, 4, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(memstore.Options{})
				early, err := s.Grant(t.Context(), 10*time.Second)
				require.NoError(t, err)
				put(t, s, "leased", early)
				put(t, s, "stays", 0)
				snapshot := put(t, s, "deleted", 0)
				require.Equal(t, int64(4), snapshot)
				put(t, s, "since", 0)
				late, err := s.Grant(t.Context(), time.Hour)
				require.NoError(t, err)
				put(t, s, "later", late)
				_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: "deleted"}}})
				require.NoError(t, err)
				time.Sleep(11 * time.Second) // the first lease ends
				batches := s.Watch(t.Context(), "", s.Revision())
				synctest.Wait()

				s.Restore(snapshot, tc.bump)
				require.Equal(t, tc.at, s.Revision())
				page, err := s.List(t.Context(), "", store.ListOptions{})
				require.NoError(t, err)
				var keys []string
				for _, kv := range page.KVs {
					keys = append(keys, kv.Key)
				}
				require.Equal(t, []string{"deleted", "leased", "stays"}, keys)
				left, err := s.KeepAlive(t.Context(), early)
				require.NoError(t, err, "the lease is alive again")
				require.Equal(t, 10*time.Second, left)
				_, err = s.KeepAlive(t.Context(), late)
				require.ErrorIs(t, err, store.ErrLeaseNotFound)
				if tc.err != nil {
					require.ErrorIs(t, (<-batches).Err, tc.err)
				} else {
					require.Equal(t, tc.at+1, put(t, s, "again", 0), "a revision that the watch has seen already")
					synctest.Wait()
					require.Empty(t, batches)
				}
				time.Sleep(11 * time.Second)
				_, ok, _, err := s.Get(t.Context(), "leased")
				require.NoError(t, err)
				require.False(t, ok, "and ends once more")
			})
		})
	}
}
