package store_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestLastRevision: the highest revision, and all errors.
func TestLastRevision(t *testing.T) {
	other := errors.New("other")
	revision, err := store.LastRevision([]store.Result{{Revision: 7}, {Err: store.ErrConflict}, {Revision: 9}, {Revision: 8}, {Err: other}})
	require.EqualValues(t, 9, revision)
	require.ErrorIs(t, err, store.ErrConflict)
	require.ErrorIs(t, err, other)
	revision, err = store.LastRevision([]store.Result{{Revision: 7}})
	require.EqualValues(t, 7, revision)
	require.NoError(t, err)
}

// TestOnlyDeleteOfAPack: a full etcd accepts a delete, whatever was batched with it.
func TestOnlyDeleteOfAPack(t *testing.T) {
	m := memstore.New(memstore.Options{})
	_, err := m.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "1")}})
	require.NoError(t, err)
	results := store.Write(t.Context(), &full{Interface: m}, []store.Group{{{Key: "/t/a"}}, {put("/t/b", "2")}}, store.Fence{})
	require.Equal(t, store.Result{Revision: m.Revision()}, results[0])
	require.ErrorIs(t, results[1].Err, store.ErrNoSpace)
	_, there, _, err := m.Get(t.Context(), "/t/a")
	require.NoError(t, err)
	require.False(t, there)
}

// TestGroupThatIsTooLarge: it is tried alone, once.
func TestGroupThatIsTooLarge(t *testing.T) {
	large := make(store.Group, 0, 200)
	for _, g := range puts(200) {
		large = append(large, g...)
	}
	s := &counting{Interface: memstore.New(memstore.Options{})}
	results := store.Write(t.Context(), s, []store.Group{large, {put("/other", "1")}}, store.Fence{})
	require.Len(t, results, 2)
	require.NoError(t, results[1].Err)
	require.Equal(t, []int{2, 200}, []int{s.txns, s.size})
}
