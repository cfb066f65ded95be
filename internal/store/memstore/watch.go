package memstore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/btree"

	"github.com/fleet-starter/fleet/internal/store"
)

// watchBatch is the number of events after which a batch ends; a revision is never split.
const watchBatch = 1000

// watch is an open Watch. All fields but wakeup are guarded by the store's lock.
type watch struct {
	conn   *Conn
	prefix string
	began  int64 // the revision that it was requested after
	after  int64 // everything up to this revision was delivered
	// pending are the events to deliver. It is complete if synced; otherwise they are read from the history.
	pending []store.Event
	held    []store.Event // events that an old etcd delivers late
	// revision is that of the event last taken in, and place which of it that was, from 1.
	revision int64
	place    int
	synced   bool
	asked    bool          // progress was requested
	wakeup   chan struct{} // capacity 1
}

// watches indexes a store's watches by prefix, so that a change finds its watches among thousands.
type watches struct {
	of      map[string]map[*watch]struct{}
	lengths []int // of the prefixes, distinct and sorted
}

func (ws *watches) add(w *watch) {
	if ws.of[w.prefix] == nil {
		ws.of[w.prefix] = make(map[*watch]struct{})
		if at, ok := slices.BinarySearch(ws.lengths, len(w.prefix)); !ok {
			ws.lengths = slices.Insert(ws.lengths, at, len(w.prefix))
		}
	}
	ws.of[w.prefix][w] = struct{}{}
}

func (ws *watches) remove(w *watch) {
	if delete(ws.of[w.prefix], w); len(ws.of[w.prefix]) == 0 {
		delete(ws.of, w.prefix)
	}
}

func (ws *watches) tell(e store.Event) {
	for _, n := range ws.lengths {
		if n > len(e.Key) {
			return
		}
		for w := range ws.of[e.Key[:n]] {
			if w.synced && e.ModRevision > w.after {
				w.push(e)
				w.wake()
			}
		}
	}
}

func (w *watch) wake() {
	select {
	case w.wakeup <- struct{}{}:
	default:
	}
}

// Watch implements store.Interface.
func (c *Conn) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	out := make(chan store.Batch)
	w := &watch{conn: c, prefix: prefix, began: after, after: after, wakeup: make(chan struct{}, 1)}
	c.s.mu.Lock()
	c.s.watches.add(w)
	c.watches[w] = struct{}{}
	c.s.mu.Unlock()
	go func() {
		defer close(out)
		defer func() {
			c.s.mu.Lock()
			defer c.s.mu.Unlock()
			c.s.watches.remove(w)
			delete(c.watches, w)
		}()
		for {
			batch, ok := w.take()
			if !ok {
				select {
				case <-w.wakeup:
					continue
				case <-ctx.Done():
					return
				}
			}
			select {
			case out <- batch:
			case <-ctx.Done():
				return
			}
			if batch.Err != nil {
				return
			}
		}
	}()
	return out
}

// take returns the next batch, if any.
func (w *watch) take() (batch store.Batch, ok bool) {
	s := w.conn.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.conn.down {
		return batch, false
	}
	if !w.synced {
		if w.after < s.compacted {
			return store.Batch{Err: fmt.Errorf("watch %s after %d: %w", w.prefix, w.after, store.ErrCompacted)}, true
		}
		for _, e := range s.history[s.after(w.after):] {
			if strings.HasPrefix(e.Key, w.prefix) {
				w.push(e)
			}
		}
		w.synced = true
	}
	switch {
	case w.asked && w.early():
		w.asked = false
		batch.Revision = s.revision
	case len(w.pending) > 0:
		n := min(len(w.pending), watchBatch)
		for n < len(w.pending) && w.pending[n].ModRevision == w.pending[n-1].ModRevision {
			n++
		}
		batch.Events, w.pending = w.pending[:n:n], w.pending[n:]
		batch.Revision = batch.Events[n-1].ModRevision
		w.pending, w.held = append(w.held, w.pending...), nil
	case w.asked:
		w.asked = false
		batch.Revision = max(w.after, s.revision)
	default:
		return batch, false
	}
	w.after = max(w.after, batch.Revision)
	return batch, true
}

// at returns the keys at a revision; 0 means the current one.
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

// rewind returns the keys at a revision that is not compacted: the base plus the changes up to it.
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
