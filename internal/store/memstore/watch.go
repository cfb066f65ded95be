package memstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/fleet-starter/fleet/internal/store"
)

// watchBatch bounds how many events a batch brings together; a revision is never cut.
const watchBatch = 1000

// Watch implements store.Interface.
func (c *Conn) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	out := make(chan store.Batch)
	go func() {
		defer close(out)
		w := watch{conn: c, prefix: prefix, after: after, next: -1}
		for {
			batch, ok, changed := w.poll()
			if ok {
				select {
				case out <- batch:
				case <-ctx.Done():
					return
				}
				if batch.Err != nil {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

type watch struct {
	conn   *Conn
	prefix string
	after  int64 // everything up to it was sent
	next   int64 // position of the next change to look at, counted from the store's first; -1: not known
	asked  int64
}

// poll returns the next batch, or ok = false and a channel that is closed when there may be one.
func (w *watch) poll() (batch store.Batch, ok bool, changed <-chan struct{}) {
	w.conn.mu.Lock()
	changed, down, asked := w.conn.changed, w.conn.down, w.conn.asked
	w.conn.mu.Unlock()
	if down {
		return batch, false, changed
	}
	s := w.conn.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.next < 0 {
		n, _ := slices.BinarySearchFunc(s.history, w.after+1, func(e store.Event, r int64) int { return int(e.ModRevision - r) })
		w.next = s.dropped + int64(n)
		w.asked = asked
		if w.after < s.compacted {
			w.next = -1
		}
	}
	if w.next < s.dropped {
		return store.Batch{Err: fmt.Errorf("watch %s after %d: %w", w.prefix, w.after, store.ErrCompacted)}, true, nil
	}
	batch = w.collect(s.history[w.next-s.dropped:])
	switch {
	case len(batch.Events) > 0:
		w.after = batch.Revision
		return batch, true, nil
	case asked != w.asked:
		w.asked = asked
		w.after = max(w.after, s.revision)
		return store.Batch{Revision: w.after}, true, nil
	}
	return batch, false, changed
}

// collect gathers whole revisions from changes and moves next behind them.
func (w *watch) collect(changes []store.Event) (batch store.Batch) {
	for _, e := range changes {
		if len(batch.Events) >= watchBatch && e.ModRevision != batch.Revision {
			break
		}
		w.next++
		if strings.HasPrefix(e.Key, w.prefix) && e.ModRevision > w.after {
			batch.Events = append(batch.Events, e)
			batch.Revision = e.ModRevision
		}
	}
	return batch
}

// at returns the keys as they were at a revision; 0 means now.
func (s *Store) at(revision int64) (*btree.BTreeG[store.KV], int64, error) {
	switch {
	case revision == 0 || revision == s.revision:
		return s.keys, s.revision, nil
	case revision > s.revision:
		return nil, 0, fmt.Errorf("%w: revision %d is in the future", store.ErrUnavailable, revision)
	case revision < s.compacted:
		return nil, 0, fmt.Errorf("list at %d: %w", revision, store.ErrCompacted)
	}
	return s.rewind(revision), revision, nil
}

// rewind returns the keys as they were at a revision that is not compacted: the base and what changed up to then.
func (s *Store) rewind(revision int64) *btree.BTreeG[store.KV] {
	keys := s.base.Clone()
	for _, e := range s.history {
		if e.ModRevision > revision {
			break
		}
		if e.Deleted {
			keys.Delete(store.KV{Key: e.Key})
		} else {
			keys.ReplaceOrInsert(e.KV)
		}
	}
	return keys
}
