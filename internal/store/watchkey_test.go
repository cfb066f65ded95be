package store_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestWatchKey: an event lost by etcd's watch is delivered once, at the next check; a repeated or late one is delivered
// once or not at all.
func TestWatchKey(t *testing.T) {
	del := store.Op{Key: "/t/a"}
	for name, c := range map[string]struct {
		old           memstore.OldEtcd
		ops           []store.Op
		before, after []string // events delivered at once, and after a check
	}{
		"nothing lost":      {memstore.OldEtcd{}, []store.Op{put("/t/a", "2"), put("/t/ab", "x"), del}, []string{"3 2", "5 gone"}, nil},
		"a change lost":     {memstore.OldEtcd{Drop: 1}, []store.Op{put("/t/a", "2")}, nil, []string{"3 2"}},
		"a deletion lost":   {memstore.OldEtcd{Drop: 1}, []store.Op{del}, nil, []string{"3 gone"}},
		"only another key":  {memstore.OldEtcd{Drop: 1}, []store.Op{put("/t/ab", "x")}, nil, nil},
		"deleted and again": {memstore.OldEtcd{Drop: 1}, []store.Op{del, put("/t/a", "3")}, nil, []string{"3 gone", "4 3"}},
		"twice":             {memstore.OldEtcd{Twice: 1}, []store.Op{put("/t/a", "2"), del}, []string{"3 2", "4 gone"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(memstore.Options{})
				start, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "1")}})
				require.NoError(t, err)
				s.SetOld(c.old)
				ctx, cancel := context.WithCancel(t.Context())
				batches := store.WatchKey(ctx, s, "/t/a", true, start)
				var told []string
				done := make(chan struct{})
				go func() {
					defer close(done)
					for b := range batches {
						for _, e := range b.Events {
							what := string(e.Value)
							if e.Deleted {
								what = "gone"
							}
							told = append(told, fmt.Sprint(e.ModRevision, " ", what))
						}
					}
				}()
				for _, op := range c.ops {
					synctest.Wait()
					_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{op}})
					require.NoError(t, err)
				}
				synctest.Wait()
				require.Equal(t, c.before, told)
				told = nil
				for range 15 { // other batches do not delay a check
					time.Sleep(store.CheckEvery / 5)
					require.NoError(t, s.RequestProgress(t.Context()))
				}
				synctest.Wait()
				require.Equal(t, c.after, told)
				cancel()
				<-done
			})
		})
	}
}

// TestWatchKeyEnds: if the requested history is compacted, the watch reports that and ends.
func TestWatchKeyEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		start, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "1")}})
		require.NoError(t, err)
		for range 3 {
			_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "2"), put("/t/ab", "x")}})
			require.NoError(t, err)
		}
		s.Compact(s.Revision())
		var told []error
		for b := range store.WatchKey(t.Context(), s, "/t/a", true, start) {
			told = append(told, b.Err)
		}
		require.Len(t, told, 1)
		require.ErrorIs(t, told[0], store.ErrCompacted)
	})
}

// TestWatchKeyGoesOn: the watch continues after each event until its context ends, and reports nothing about other
// keys.
func TestWatchKeyGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		start, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "1")}})
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		var told []store.Batch
		done := make(chan struct{})
		go func() {
			defer close(done)
			for b := range store.WatchKey(ctx, s, "/t/a", true, start) {
				told = append(told, b)
			}
		}()
		for i := range 4 {
			synctest.Wait()
			key := []string{"/t/a", "/t/ab"}[i%2]
			_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{put(key, fmt.Sprint(i))}})
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Len(t, told, 2)
		require.Equal(t, "0", string(told[0].Events[0].Value))
		require.Equal(t, "2", string(told[1].Events[0].Value))
		time.Sleep(3 * store.CheckEvery) // reads find nothing new
		synctest.Wait()
		require.Len(t, told, 2)
		cancel()
		<-done
	})
}

// dying is a store whose watches report an error, but close their channels only when told to.
type dying struct{ store.Interface }

func (d dying) Watch(ctx context.Context, _ string, _ int64) <-chan store.Batch {
	out := make(chan store.Batch, 1)
	out <- store.Batch{Err: store.ErrUnavailable}
	context.AfterFunc(ctx, func() { close(out) })
	return out
}

// TestWatchKeyEndsWithAnError: the watch ends at once, without another read, however late the underlying watch closes
// its channel.
func TestWatchKeyEndsWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		start, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "1")}})
		require.NoError(t, err)
		_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{put("/t/a", "2")}})
		require.NoError(t, err)
		began := time.Now()
		var told []store.Batch
		for b := range store.WatchKey(t.Context(), dying{s}, "/t/a", true, start) {
			told = append(told, b)
			if len(told) > 1 {
				break
			}
		}
		require.Equal(t, []store.Batch{{Err: store.ErrUnavailable}}, told)
		require.Zero(t, time.Since(began))
	})
}
