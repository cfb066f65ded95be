package store_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// listing counts List calls. With endless every page claims that there are more.
type listing struct {
	store.Interface
	lists   []store.ListOptions
	endless bool
}

func (l *listing) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	l.lists = append(l.lists, opts)
	page, err := l.Interface.List(ctx, prefix, opts)
	page.More = page.More || l.endless
	return page, err
}

// TestListAllPages: a listing reads all pages at one revision; an empty page ends it even if it claims that there are
// more.
func TestListAllPages(t *testing.T) {
	s := memstore.New(memstore.Options{})
	for i := range 4 {
		_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{put(fmt.Sprintf("/t/%d", i), "x")}})
		require.NoError(t, err)
	}
	first := store.ListOptions{Limit: 2}
	second, third := store.ListOptions{Limit: 2, Revision: 5, After: "/t/1"}, store.ListOptions{Limit: 2, Revision: 5, After: "/t/3"}
	for endless, want := range map[bool][]store.ListOptions{false: {first, second}, true: {first, second, third}} {
		l := &listing{Interface: s, endless: endless}
		var keys []string
		revision, err := store.ListAll(t.Context(), l, "/t/", store.ListOptions{Limit: 2}, func(kv store.KV) error {
			keys = append(keys, kv.Key)
			return nil
		})
		require.NoError(t, err)
		require.EqualValues(t, 5, revision)
		require.Equal(t, []string{"/t/0", "/t/1", "/t/2", "/t/3"}, keys)
		require.Equal(t, want, l.lists)
	}
}

// TestEtcdPages: without a limit a page has 1000 keys. The error of a refused transaction names its first key and the
// number of others; an empty transaction succeeds.
func TestEtcdPages(t *testing.T) {
	client := etcdtest.Start(t).Client()
	_, err := store.LastRevision(store.Write(t.Context(), client, puts(1001), store.Fence{}))
	require.NoError(t, err)
	page, err := client.List(t.Context(), "/t/", store.ListOptions{})
	require.NoError(t, err)
	require.Len(t, page.KVs, store.DefaultPageSize)
	require.True(t, page.More)
	require.EqualValues(t, 1001, page.Count)

	taken := put("/t/00001", "x")
	taken.If = store.Absent()
	for want, ops := range map[string][]store.Op{
		"write /t/00001: changed since it was read":            {taken},
		"write /t/00001 and 1 more: changed since it was read": {taken, put("/t/b", "x")},
		"write /t/00001 and 2 more: changed since it was read": {taken, put("/t/b", "x"), put("/t/c", "x")},
	} {
		revision, err := client.Commit(t.Context(), store.Txn{Ops: ops})
		require.EqualError(t, err, want)
		require.Zero(t, revision)
	}
	revision, err := client.Commit(t.Context(), store.Txn{})
	require.NoError(t, err)
	require.Equal(t, page.Revision, revision)
}
