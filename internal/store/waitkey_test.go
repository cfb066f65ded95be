package store_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// ending makes a number of watches end at once.
type ending struct {
	store.Interface
	watches int
}

func (e *ending) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	if e.watches--; e.watches < 0 {
		return e.Interface.Watch(ctx, prefix, after)
	}
	ended := make(chan store.Batch)
	close(ended)
	return ended
}

func commit(t *testing.T, s store.Interface, ops ...store.Op) (revision int64) {
	t.Helper()
	for _, op := range ops { // one revision each
		var err error
		revision, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}})
		require.NoError(t, err)
	}
	return revision
}

var errStopped = errors.New("stopped")

func TestWaitEvent(t *testing.T) {
	has := func(value string) func(store.Event) bool {
		return func(e store.Event) bool { return string(e.Value) == value }
	}
	del := store.Op{Key: "/t/a"}
	for name, c := range map[string]struct {
		is     func(store.Event) bool
		do     func(t *testing.T, s *memstore.Store, wake chan struct{}, stop context.CancelCauseFunc)
		want   int64 // the event's revision, 0 if none
		failed error
	}{
		"any": {nil, func(t *testing.T, s *memstore.Store, _ chan struct{}, _ context.CancelCauseFunc) {
			commit(t, s, put("/t/a", "2"), del)
		}, 4, nil},
		"the one": {has("3"), func(t *testing.T, s *memstore.Store, _ chan struct{}, _ context.CancelCauseFunc) {
			commit(t, s, put("/t/a", "2"), put("/t/a", "3"), put("/t/a", "3"))
		}, 5, nil},
		"deletion": {store.Deleted, func(t *testing.T, s *memstore.Store, _ chan struct{}, _ context.CancelCauseFunc) {
			commit(t, s, put("/t/a", "2"), put("/t/ab", "x"), store.Op{Key: "/t/ab"}, del)
		}, 7, nil},
		"woken": {store.Deleted, func(t *testing.T, s *memstore.Store, wake chan struct{}, _ context.CancelCauseFunc) {
			commit(t, s, put("/t/a", "2"))
			wake <- struct{}{}
		}, 0, nil},
		"stopped": {store.Deleted, func(t *testing.T, s *memstore.Store, _ chan struct{}, stop context.CancelCauseFunc) { stop(errStopped) }, 0, errStopped},
		"compacted": {store.Deleted, func(t *testing.T, s *memstore.Store, _ chan struct{}, _ context.CancelCauseFunc) {
			s.SetDown(true)
			commit(t, s.Connect(), del, put("/t/b", "x"), put("/t/b", "y"))
			s.Compact(s.Revision())
			s.SetDown(false)
		}, 0, store.ErrCompacted},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(memstore.Options{})
				start := commit(t, s, put("/t/a", "1"), put("/t/a", "1"))
				ctx, stop := context.WithCancelCause(t.Context())
				defer stop(nil)
				wake := make(chan struct{}, 1)
				var event *store.Event
				var err error
				returned := false
				go func() {
					event, err = store.WaitEvent(ctx, s, store.SeenKey{Key: "/t/a", There: true, Revision: start}, wake, c.is)
					returned = true
				}()
				synctest.Wait()
				require.False(t, returned, "older changes are not events")
				c.do(t, s, wake, stop)
				synctest.Wait()
				require.True(t, returned)
				require.ErrorIs(t, err, c.failed)
				require.Equal(t, c.want == 0, event == nil)
				if event != nil {
					require.Equal(t, c.want, event.ModRevision)
				}
			})
		})
	}
}

// TestWaitEventOfAWatchThatEnds: a watch that ends by itself returns an error, which must not be taken for the event.
func TestWaitEventOfAWatchThatEnds(t *testing.T) {
	event, err := store.WaitEvent(t.Context(), &ending{memstore.New(memstore.Options{}), 1}, store.SeenKey{Key: "/t/a"}, nil, nil)
	require.Nil(t, event)
	require.ErrorIs(t, err, store.ErrUnavailable)
}

// TestWaitKey: whatever happens in between, WaitKey returns when the condition holds, and not earlier.
func TestWaitKey(t *testing.T) {
	is2 := func(kv store.KV, there bool) bool { return there && string(kv.Value) == "2" }
	del := store.Op{Key: "/t/a"}
	const soon = time.Minute
	for name, c := range map[string]struct {
		is      func(store.KV, bool) bool
		watches int // this many end at once
		do      func(t *testing.T, s *memstore.Store, other store.Interface)
	}{
		"a value":           {is2, 0, func(t *testing.T, _ *memstore.Store, other store.Interface) { commit(t, other, put("/t/a", "2")) }},
		"deleted and again": {store.Gone, 0, func(t *testing.T, _ *memstore.Store, other store.Interface) { commit(t, other, del, put("/t/a", "1")) }},
		"a lost lease":      {store.Gone, 0, func(t *testing.T, _ *memstore.Store, _ store.Interface) { time.Sleep(soon) }},
		"watches that end":  {store.Gone, 20, func(t *testing.T, _ *memstore.Store, other store.Interface) { commit(t, other, del) }},
		"while etcd is away": {store.Gone, 1, func(t *testing.T, s *memstore.Store, other store.Interface) {
			s.SetDown(true)
			time.Sleep(soon / 2)
			commit(t, other, del)
			s.SetDown(false)
		}},
		"compacted meanwhile": {store.Gone, 0, func(t *testing.T, s *memstore.Store, other store.Interface) {
			s.SetDown(true)
			commit(t, other, del, put("/t/b", "x"), put("/t/b", "y"))
			s.Compact(s.Revision())
			s.SetDown(false)
		}},
		"the event is lost": {store.Gone, 0, func(t *testing.T, s *memstore.Store, other store.Interface) {
			s.SetOld(memstore.OldEtcd{Drop: 1})
			commit(t, other, del)
			time.Sleep(2 * store.CheckEvery)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(memstore.Options{})
				lease, err := s.Grant(t.Context(), soon)
				require.NoError(t, err)
				if name != "a lost lease" {
					lease = 0
				}
				commit(t, s, store.Op{Key: "/t/a", Value: []byte("1"), Lease: lease})
				var waited error
				returned := false
				go func() {
					waited = store.WaitKey(t.Context(), &ending{s, c.watches}, "/t/a", c.is)
					returned = true
				}()
				time.Sleep(soon / 2)
				synctest.Wait()
				require.False(t, returned)
				c.do(t, s, s.Connect())
				time.Sleep(6 * time.Second) // the longest pause between attempts
				synctest.Wait()
				require.True(t, returned)
				require.NoError(t, waited)
			})
		})
	}
}

func TestWaitKeyThatIsSoAlready(t *testing.T) {
	require.NoError(t, store.WaitKey(t.Context(), memstore.New(memstore.Options{}), "/t/a", store.Gone))
}

// TestWaitKeyStops: the end of ctx ends the wait, whether or not etcd answers.
func TestWaitKeyStops(t *testing.T) {
	for _, down := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := memstore.New(memstore.Options{})
			s.SetDown(down)
			ctx, stop := context.WithCancelCause(t.Context())
			go func() { time.Sleep(time.Minute); stop(errStopped) }()
			never := func(store.KV, bool) bool { return false }
			require.ErrorIs(t, store.WaitKey(ctx, s, "/t/a", never), errStopped)
		})
	}
}
