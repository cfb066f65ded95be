package store

import (
	"context"
	"time"
)

// WatchKey is Watch of a single key, for callers without a cache. It drops events older than the last one and reads the
// key every CheckEvery, so that an event lost by etcd's watch is delivered late rather than never. A failed read is
// repeated at the next interval. there is whether the key existed at the revision after. If the key was deleted and
// created again, both events are delivered, even if some were lost.
func WatchKey(ctx context.Context, s Interface, key string, there bool, after int64) <-chan Batch {
	out := make(chan Batch)
	ctx, cancel := context.WithCancel(ctx)
	in := s.Watch(ctx, key, after)
	w := keyWatch{store: s, key: key, seen: after, deleted: !there, check: time.NewTimer(Around(CheckEvery))}
	go func() {
		defer close(out)
		defer w.check.Stop()
		defer func() {
			cancel()
			for range in { // wait for its goroutine to end
			}
		}()
		for {
			batch, ok := w.next(ctx, in)
			if !ok {
				return
			}
			if (len(batch.Events) > 0 || batch.Err != nil) && !send(ctx, out, batch) || batch.Err != nil {
				return
			}
		}
	}()
	return out
}

// keyWatch is the known state of one key.
type keyWatch struct {
	store Interface
	key   string
	// seen is the revision of the last event, deleted whether the key has been absent since.
	seen    int64
	deleted bool
	check   *time.Timer // until the next read, independent of events
}

// next returns a batch of the watch or, at intervals, of a read. ok is false when the watch has ended.
func (w *keyWatch) next(ctx context.Context, in <-chan Batch) (Batch, bool) {
	select {
	case batch, ok := <-in:
		return w.sift(batch), ok
	case <-w.check.C:
		w.check.Reset(Around(CheckEvery))
		return w.read(ctx), true
	}
}

// sift drops events of other keys with the same prefix, and events older than the known state.
func (w *keyWatch) sift(batch Batch) Batch {
	var events []Event
	for _, e := range batch.Events {
		if e.Key != w.key || e.ModRevision <= w.seen {
			continue
		}
		if !w.deleted && e.CreateRevision > w.seen {
			events = append(events, Event{KV: KV{Key: w.key, ModRevision: e.CreateRevision - 1}, Deleted: true})
		}
		w.seen, w.deleted = e.ModRevision, e.Deleted
		events = append(events, e)
	}
	batch.Events = events
	return batch
}

// read returns events for the differences between the key and its known state.
func (w *keyWatch) read(ctx context.Context) Batch {
	kv, ok, revision, err := w.store.Get(ctx, w.key)
	switch {
	case err != nil:
	case ok:
		return w.sift(Batch{Events: []Event{{KV: kv}}, Revision: revision})
	case !w.deleted:
		return w.sift(Batch{Events: []Event{{KV: KV{Key: w.key, ModRevision: revision}, Deleted: true}}, Revision: revision})
	}
	return Batch{}
}
