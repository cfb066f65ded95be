package storetest

import (
	"context"
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
)

func (s *suite) watch() {
	start := s.commit(put("/t/a", "1"), put("/other", "1"))
	w := s.watching(s.ctx, "/t/", start)
	second := s.commit(put("/t/a", "2"), put("/t/b", "2"), put("/other", "2"))
	s.commit(put("/other", "3"))
	third := s.commit(del("/t/a"), put("/t/c", ""))
	events := w.events(4)
	require.Equal(s, []store.Event{
		{KV: store.KV{Key: "/t/a", Value: []byte("2"), CreateRevision: start, ModRevision: second}},
		{KV: store.KV{Key: "/t/b", Value: []byte("2"), CreateRevision: second, ModRevision: second}},
	}, events[:2])
	require.Equal(s, store.Event{KV: store.KV{Key: "/t/a", ModRevision: third}, Deleted: true}, events[2])
	require.Equal(s, "/t/c", events[3].Key)
	require.Empty(s, events[3].Value)
}

func (s *suite) watchFromThePast() {
	const changes = 2500 // more than fit in one response
	start := s.commit(put("/t/first", ""))
	for i := range changes / 50 {
		ops := make([]store.Op, 50)
		for j := range ops {
			ops[j] = put(fmt.Sprintf("/t/%04d", i*50+j), "x")
		}
		s.commit(ops...)
	}
	for i, e := range s.watching(s.ctx, "/t/", start).events(changes) {
		require.Equal(s, fmt.Sprintf("/t/%04d", i), e.Key)
	}
}

func (s *suite) watchEnds() {
	ctx, cancel := context.WithCancel(s.ctx)
	w := s.watching(ctx, "/t/", s.commit(put("/t/a", "1")))
	s.commit(put("/t/a", "2"))
	w.events(1)
	cancel()
	w.requireClosed()
}

func (s *suite) watchCompacted() {
	first := s.commit(put("/t/a", "1"))
	for i := range 5 {
		s.commit(put("/t/a", fmt.Sprint(i)))
	}
	last := s.commit(put("/t/a", "last"))
	s.Compact(last)
	w := s.watching(s.ctx, "/t/", first)
	require.ErrorIs(s, w.next().Err, store.ErrCompacted)
	w.requireClosed()

	w = s.watching(s.ctx, "/t/", last)
	s.commit(put("/t/a", "after"))
	require.Equal(s, "after", string(w.events(1)[0].Value))
}

func (s *suite) watchProgress() {
	w := s.watching(s.ctx, "/t/", s.commit(put("/t/a", "1")))
	s.commit(put("/t/a", "2"))
	w.events(1)
	elsewhere := s.commit(put("/other", "1"))
	for {
		require.NoError(s, s.Store.RequestProgress(s.ctx))
		select {
		case b := <-w.batches:
			require.NoError(s, b.Err)
			require.Empty(s, b.Events)
			if b.Revision >= elsewhere {
				return
			}
		case <-time.After(200 * time.Millisecond): // only a hint: ask again
		case <-s.ctx.Done():
			require.Fail(s, "no progress")
		}
	}
}

func (s *suite) grant(ttl time.Duration) store.LeaseID {
	s.Helper()
	id, err := s.Store.Grant(s.ctx, ttl)
	require.NoError(s, err)
	require.NotZero(s, id)
	return id
}

func (s *suite) leaseRevoked() {
	id, other := s.grant(time.Minute), s.grant(time.Minute)
	require.NotEqual(s, id, other)
	revision := s.commit(
		store.Op{Key: "/t/b", Value: []byte("1"), Lease: id},
		store.Op{Key: "/t/a", Value: []byte("1"), Lease: id},
		store.Op{Key: "/t/c", Value: []byte("1"), Lease: other})
	require.Equal(s, id, s.mustGet("/t/a").Lease)
	w := s.watching(s.ctx, "/t/", revision)
	require.NoError(s, s.Store.Revoke(s.ctx, id))
	require.Equal(s, []store.Event{
		{KV: store.KV{Key: "/t/a", ModRevision: revision + 1}, Deleted: true},
		{KV: store.KV{Key: "/t/b", ModRevision: revision + 1}, Deleted: true},
	}, w.events(2))
	s.requireAbsent("/t/a")
	s.mustGet("/t/c")
}

func (s *suite) leaseExpires() {
	kept, id := s.grant(2*time.Second), s.grant(2*time.Second)
	revision := s.commit(
		store.Op{Key: "/t/kept", Value: []byte("1"), Lease: kept},
		store.Op{Key: "/t/a", Value: []byte("1"), Lease: id})
	granted := time.Now()
	w := s.watching(s.ctx, "/t/", revision)
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if left, err := s.Store.KeepAlive(s.ctx, kept); err != nil || left != 2*time.Second {
				s.Errorf("keep alive: %v left, %v", left, err)
			}
			select {
			case <-time.After(500 * time.Millisecond):
			case <-stop:
				return
			}
		}
	}()
	require.Equal(s, "/t/a", w.events(1)[0].Key)
	close(stop)
	<-done
	require.GreaterOrEqual(s, time.Since(granted), 1900*time.Millisecond)
	s.mustGet("/t/kept")
	_, err := s.Store.KeepAlive(s.ctx, id)
	require.ErrorIs(s, err, store.ErrLeaseNotFound)
}

func (s *suite) leaseErrors() {
	id := s.grant(time.Minute)
	require.NoError(s, s.Store.Revoke(s.ctx, id))
	require.ErrorIs(s, s.Store.Revoke(s.ctx, id), store.ErrLeaseNotFound)
	_, err := s.Store.KeepAlive(s.ctx, id)
	require.ErrorIs(s, err, store.ErrLeaseNotFound)
	_, err = s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/b", "1"), {Key: "/t/a", Value: []byte("1"), Lease: id}}})
	require.ErrorIs(s, err, store.ErrLeaseNotFound)
	s.requireAbsent("/t/b")
}

func (s *suite) leaseOfKeyChanges() {
	id, other := s.grant(time.Minute), s.grant(time.Minute)
	s.commit(store.Op{Key: "/t/a", Value: []byte("1"), Lease: id}, store.Op{Key: "/t/b", Value: []byte("1"), Lease: id})
	s.commit(put("/t/a", "2"), store.Op{Key: "/t/b", Value: []byte("2"), Lease: other})
	require.NoError(s, s.Store.Revoke(s.ctx, id))
	require.Zero(s, s.mustGet("/t/a").Lease)
	require.Equal(s, other, s.mustGet("/t/b").Lease)
}

func (s *suite) noSpace() {
	s.commit(put("/t/a", "1"))
	s.Fill()
	_, err := s.Store.Commit(s.ctx, store.Txn{Ops: []store.Op{put("/t/b", "1")}})
	require.ErrorIs(s, err, store.ErrNoSpace)
	_, err = s.Store.Grant(s.ctx, time.Minute)
	require.ErrorIs(s, err, store.ErrNoSpace)
	s.commit(del("/t/a"))
	results := store.Write(s.ctx, s.Store, []store.Group{{put("/t/c", "1")}, {del("/t/none")}}, store.Fence{})
	require.ErrorIs(s, results[0].Err, store.ErrNoSpace)
	require.NoError(s, results[1].Err)
}
