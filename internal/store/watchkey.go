package store

import (
	"context"
	"time"
)

// WatchKey is Watch of one key alone, for those who keep no cache of it: it brings no event that is older than the last one,
// and every CheckEvery it reads the key, so that one which etcd's watch lost comes late, but comes. A read that fails is
// left to the next one. there tells whether the key was there at that revision; where it was deleted and made anew, both are
// told, whatever was lost.
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
			for range in { // until its goroutine has ended
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

// keyWatch is what is known of one key.
type keyWatch struct {
	store Interface
	key   string
	// seen is the revision of the last event, deleted whether the key is not there since.
	seen    int64
	deleted bool
	check   *time.Timer // of the next read, whatever comes meanwhile
}

// next returns what the watch brings, or, after a while, what a read has found. It is not ok when the watch has ended.
func (w *keyWatch) next(ctx context.Context, in <-chan Batch) (Batch, bool) {
	select {
	case batch, ok := <-in:
		return w.sift(batch), ok
	case <-w.check.C:
		w.check.Reset(Around(CheckEvery))
		return w.read(ctx), true
	}
}

// sift leaves out events of other keys that begin alike, and those that are older than what is known.
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

// read makes an event of what is not as the events have told it.
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
