package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
)

func (s *suite) get() {
	_, ok, before, err := s.Store.Get(s.ctx, "/t/a")
	require.NoError(s, err)
	require.False(s, ok)
	revision := s.commit(put("/t/a", "1"), put("/t/empty", ""))
	require.Equal(s, before+1, revision)
	require.Equal(s, store.KV{Key: "/t/a", Value: []byte("1"), CreateRevision: revision, ModRevision: revision}, s.mustGet("/t/a"))
	require.Nil(s, s.mustGet("/t/empty").Value, "an empty value is returned as nil")
	_, _, now, err := s.Store.Get(s.ctx, "/t/none")
	require.NoError(s, err)
	require.Equal(s, revision, now)
}

func (s *suite) conditions() {
	lease, err := s.Store.Grant(s.ctx, time.Minute)
	require.NoError(s, err)
	s.commit(store.Op{Key: "/t/leased", Value: []byte("1"), Lease: lease})
	old := s.commit(put("/t/there", "1"))
	for _, c := range []struct {
		name  string
		op    store.Op
		holds bool
	}{
		{"absent, is", store.Op{Key: "/t/new", If: store.Absent()}, true},
		{"absent, is not", store.Op{Key: "/t/there", If: store.Absent()}, false},
		{"unchanged, is", store.Op{Key: "/t/there", If: store.Unchanged(old)}, true},
		{"unchanged, is not", store.Op{Key: "/t/there", If: store.Unchanged(old)}, false},
		{"unchanged, gone", store.Op{Key: "/t/gone", If: store.Unchanged(old)}, false},
		{"unleased, is not there", store.Op{Key: "/t/none", If: store.Unleased()}, true},
		{"unleased, is", store.Op{Key: "/t/there", If: store.Unleased()}, true},
		{"unleased, is not", store.Op{Key: "/t/leased", If: store.Unleased()}, false},
		{"none", store.Op{Key: "/t/there"}, true},
	} {
		c.op.Value = []byte("2")
		_, err := s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/beside/"+c.name, ""), c.op}})
		if c.holds {
			require.NoError(s, err, c.name)
			require.Equal(s, "2", string(s.mustGet(c.op.Key).Value), c.name)
			continue
		}
		require.ErrorIs(s, err, store.ErrConflict, c.name)
		s.requireAbsent("/t/beside/" + c.name)
	}
	now := s.mustGet("/t/there").ModRevision
	s.commit(store.Op{Key: "/t/there", If: store.Unchanged(now)}) // a delete with a condition
	s.requireAbsent("/t/there")
}

// checks: they decide whether the others are written, and write nothing, even if several are of one key.
func (s *suite) checks() {
	before := s.commit(put("/t/there", "1"))
	same := store.Op{Key: "/t/there", If: store.Unchanged(before), Check: true}
	none := store.Op{Key: "/t/none", If: store.Unleased(), Check: true}
	require.Equal(s, before, s.commit(same, none), "nothing is written")
	require.Equal(s, before+1, s.commit(none, put("/t/beside", "1"), same, same))
	require.Equal(s, before, s.mustGet("/t/there").ModRevision)
	s.requireAbsent("/t/none")
	_, err := s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/beside", "2"), {Key: "/t/there", If: store.Absent(), Check: true}}})
	require.ErrorIs(s, err, store.ErrConflict)
	require.Equal(s, "1", string(s.mustGet("/t/beside").Value))
}

func (s *suite) identity() {
	first := s.commit(put("/t/a", "1"))
	second := s.commit(put("/t/a", "2"))
	require.Equal(s, first, s.mustGet("/t/a").CreateRevision)
	require.Equal(s, second, s.mustGet("/t/a").ModRevision)
	s.commit(del("/t/a"))
	third := s.commit(put("/t/a", "3"))
	require.Equal(s, third, s.mustGet("/t/a").CreateRevision)
}

func (s *suite) deleteOfNothing() {
	before := s.commit(put("/t/a", "1"))
	require.Equal(s, before, s.commit(del("/t/none")))
	require.Equal(s, before+1, s.commit(del("/t/none"), del("/t/a")))
}

func (s *suite) list() {
	revision := s.commit(put("/t/b", "2"), put("/t/a", "1"), put("/t/c", "3"), put("/tt", "no"), put("/s", "no"))
	page, err := s.Store.List(s.ctx, "/t/", store.ListOptions{})
	require.NoError(s, err)
	require.Equal(s, []string{"/t/a", "/t/b", "/t/c"}, keysOf(page.KVs))
	require.Equal(s, "2", string(page.KVs[1].Value))
	require.Equal(s, revision, page.Revision)
	require.False(s, page.More)

	page, err = s.Store.List(s.ctx, "/t/", store.ListOptions{Limit: 2, KeysOnly: true})
	require.NoError(s, err)
	require.Equal(s, []string{"/t/a", "/t/b"}, keysOf(page.KVs))
	require.Empty(s, page.KVs[0].Value)
	require.True(s, page.More)

	lease, err := s.Store.Grant(s.ctx, time.Minute)
	require.NoError(s, err)
	revision = s.commit(store.Op{Key: "/leased/a", Value: []byte("1"), Lease: lease})
	page, err = s.Store.List(s.ctx, "/leased/", store.ListOptions{})
	require.NoError(s, err)
	require.Equal(s, []store.KV{{Key: "/leased/a", Value: []byte("1"), CreateRevision: revision, ModRevision: revision, Lease: lease}}, page.KVs)
	page, err = s.Store.List(s.ctx, "/leased/", store.ListOptions{KeysOnly: true})
	require.NoError(s, err)
	require.Equal(s, []store.KV{{Key: "/leased/a", CreateRevision: revision, ModRevision: revision}}, page.KVs)

	page, err = s.Store.List(s.ctx, "/t/", store.ListOptions{After: "/t/b"})
	require.NoError(s, err)
	require.Equal(s, []string{"/t/c"}, keysOf(page.KVs))

	for want, opts := range map[string]store.ListOptions{
		"/t/a /t/b":      {Before: "/t/c"},
		"/t/b /t/c":      {From: "/t/b"},
		"/t/b":           {From: "/t/a0", Before: "/t/b0"},
		"/t/c":           {From: "/t/b", After: "/t/b"},
		"/t/a /t/b /t/c": {From: "/s", Before: "/t/x"},
		"":               {From: "/t/a0", Before: "/t/b"},
		"/t/c ":          {From: "/t/c", Before: "/z"}, // keys after the prefix are not included
	} {
		page, err = s.Store.List(s.ctx, "/t/", opts)
		require.NoError(s, err)
		require.Equal(s, strings.TrimSpace(want), strings.Join(keysOf(page.KVs), " "), "%+v", opts)
		require.False(s, page.More)
	}
	page, err = s.Store.List(s.ctx, "/t/", store.ListOptions{From: "/t/b", Before: "/t/c0", Limit: 1})
	require.NoError(s, err)
	require.True(s, page.More)

	page, err = s.Store.List(s.ctx, "/t/", store.ListOptions{After: "/t/a", Limit: 1})
	require.NoError(s, err)
	require.EqualValues(s, 2, page.Count, "the remaining keys, on this page or later ones")

	page, err = s.Store.List(s.ctx, "/none/", store.ListOptions{})
	require.NoError(s, err)
	require.Empty(s, page.KVs)
	require.Equal(s, revision, page.Revision)
}

// listChanged: the check of a cache relies on this. Count includes all keys, KVs only the changed ones.
func (s *suite) listChanged() {
	first := s.commit(put("/t/a", "1"), put("/t/b", "1"), put("/t/c", "1"), put("/t/d", "1"), put("/other", "1"))
	s.commit(put("/t/c", "2"), put("/other", "2"))
	s.commit(del("/t/d"))
	last := s.commit(put("/t/e", "1"), put("/t/f", "1"))
	for _, c := range []struct {
		opts  store.ListOptions
		keys  []string
		count int64
		more  bool
	}{
		{store.ListOptions{ChangedAfter: first}, []string{"/t/c", "/t/e", "/t/f"}, 5, false},
		{store.ListOptions{ChangedAfter: first, Limit: 2}, []string{"/t/c", "/t/e"}, 5, true},
		{store.ListOptions{ChangedAfter: first, Limit: 2, After: "/t/e", Revision: last}, []string{"/t/f"}, 1, false},
		{store.ListOptions{ChangedAfter: first, Limit: 3}, []string{"/t/c", "/t/e", "/t/f"}, 5, false},
		{store.ListOptions{ChangedAfter: last}, []string{}, 5, false},
		{store.ListOptions{ChangedAfter: last + 100}, []string{}, 5, false},
		{store.ListOptions{ChangedAfter: first, Revision: first}, []string{}, 4, false},
	} {
		c.opts.KeysOnly = true
		page, err := s.Store.List(s.ctx, "/t/", c.opts)
		require.NoError(s, err)
		require.Equal(s, c.keys, keysOf(page.KVs), "%+v", c.opts)
		require.Equal(s, c.count, page.Count, "%+v", c.opts)
		require.Equal(s, c.more, page.More, "%+v", c.opts)
	}
}

func (s *suite) listAtOneRevision() {
	for i := range 10 {
		s.commit(put(fmt.Sprintf("/t/%d", i), "old"))
	}
	var revision int64
	keys := map[string]string{}
	listed, err := store.ListAll(s.ctx, s.Store, "/t/", store.ListOptions{Limit: 3}, func(kv store.KV) error {
		if revision == 0 { // the first page has been read: later changes are too new
			_, _, revision, _ = s.Store.Get(s.ctx, "/t/0")
			s.commit(put("/t/9", "new"), put("/t/99", "new"), del("/t/5"))
			s.commit(put("/t/9", "newer"))
		}
		keys[kv.Key] = string(kv.Value)
		return nil
	})
	require.NoError(s, err)
	require.Equal(s, revision, listed)
	require.Len(s, keys, 10)
	require.Equal(s, "old", keys["/t/5"])
	require.Equal(s, "old", keys["/t/9"])

	stop := errors.New("stop")
	_, err = store.ListAll(s.ctx, s.Store, "/t/", store.ListOptions{}, func(store.KV) error { return stop })
	require.ErrorIs(s, err, stop)
}

func (s *suite) listCompacted() {
	first := s.commit(put("/t/a", "1"))
	last := s.commit(put("/t/a", "2"))
	s.Compact(last)
	_, err := s.Store.List(s.ctx, "/t/", store.ListOptions{Revision: first})
	require.ErrorIs(s, err, store.ErrCompacted)
	page, err := s.Store.List(s.ctx, "/t/", store.ListOptions{Revision: last})
	require.NoError(s, err)
	require.Equal(s, "2", string(page.KVs[0].Value))
}

func (s *suite) fence() {
	created := s.commit(put("/t/leader", "me"))
	fence := store.Fence{Key: "/t/leader", CreateRevision: created}
	_, err := s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/a", "1")}, Fence: fence})
	require.NoError(s, err)
	_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{{Key: "/t/a", Value: []byte("2"), If: store.Absent()}}, Fence: fence})
	require.ErrorIs(s, err, store.ErrConflict)
	require.NotErrorIs(s, err, store.ErrFenced)

	s.commit(put("/t/leader", "still me"))
	_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/a", "3")}, Fence: fence})
	require.NoError(s, err)

	for _, after := range []string{"the key is gone", "the key is another's"} {
		s.commit(del("/t/leader"))
		if after == "the key is another's" {
			s.commit(put("/t/leader", "another"))
		}
		// Both are wrong: the fence takes precedence.
		_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{{Key: "/t/a", Value: []byte("4"), If: store.Absent()}}, Fence: fence})
		require.ErrorIs(s, err, store.ErrFenced, after)
		require.NotErrorIs(s, err, store.ErrConflict, after)
		require.Equal(s, "3", string(s.mustGet("/t/a").Value))
	}
}

func (s *suite) limits() {
	ops := make([]store.Op, store.MaxTxnOps)
	for i := range ops {
		ops[i] = put("/t/"+strconv.Itoa(i), "")
	}
	s.commit(ops...)
	_, err := s.Store.Commit(s.ctx, store.Txn{Ops: append(ops, put("/t/more", ""))})
	require.ErrorIs(s, err, store.ErrInvalid)
	_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/a", "1"), put("/t/a", "2")}})
	require.ErrorIs(s, err, store.ErrInvalid)
	_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/a", "1"), del("/t/a")}})
	require.ErrorIs(s, err, store.ErrInvalid)
	for _, size := range []int{1_700_000, 3_000_000} { // refused by the server; by the client
		_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{{Key: "/t/a", Value: bytes.Repeat([]byte("x"), size)}}})
		require.ErrorIs(s, err, store.ErrInvalid)
	}
	s.commit(store.Op{Key: "/t/a", Value: bytes.Repeat([]byte("x"), store.MaxTxnBytes)})
}

func (s *suite) contexts() {
	cancelled, cancel := context.WithCancel(s.ctx)
	cancel()
	_, _, _, err := s.Store.Get(cancelled, "/t/a")
	require.ErrorIs(s, err, context.Canceled)
	require.NotErrorIs(s, err, store.ErrUnavailable)
	late, cancel := context.WithDeadline(s.ctx, time.Now().Add(-time.Second))
	defer cancel()
	_, err = s.Store.Commit(late, store.Txn{Ops: []store.Op{put("/t/a", "1")}})
	require.ErrorIs(s, err, store.ErrUnavailable)
	require.ErrorIs(s, err, context.DeadlineExceeded)
}

// concurrentWriters has many writers increment one key: no increment may be lost or counted twice.
func (s *suite) concurrentWriters() {
	const writers, each = 8, 25
	s.commit(put("/t/n", "0"))
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for done := 0; done < each; {
				kv, _, _, err := s.Store.Get(s.ctx, "/t/n")
				if err != nil {
					s.Error(err)
					return
				}
				n, _ := strconv.Atoi(string(kv.Value))
				op := put("/t/n", strconv.Itoa(n+1))
				op.If = store.Unchanged(kv.ModRevision)
				_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{op}})
				if err == nil {
					done++
				} else if !errors.Is(err, store.ErrConflict) {
					s.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	require.Equal(s, strconv.Itoa(writers*each), string(s.mustGet("/t/n").Value))
}
