package store

import (
	"context"
	"fmt"
	"time"
)

// SeenKey is what was read of a key: whether it existed at a revision.
type SeenKey struct {
	Key      string
	There    bool
	Revision int64
}

// WaitEvent waits for the first event of a key after seen that satisfies is; a nil is accepts any event. A value sent
// on wake, which may be nil, ends the wait without an event or an error. The error is that of the watch, such as
// ErrCompacted or ErrUnavailable, or the cause of ctx's end; the caller should read the key again.
func WaitEvent(ctx context.Context, s Interface, seen SeenKey, wake <-chan struct{}, is func(Event) bool) (*Event, error) {
	watching, cancel := context.WithCancel(ctx)
	batches := WatchKey(watching, s, seen.Key, seen.There, seen.Revision)
	defer func() {
		cancel()
		for range batches { // wait for its goroutine to end
		}
	}()
	for {
		select {
		case <-wake:
			return nil, nil
		case batch, ok := <-batches:
			for _, e := range batch.Events {
				if is == nil || is(e) {
					return &e, nil
				}
			}
			switch {
			case batch.Err != nil:
				return nil, batch.Err
			case ctx.Err() != nil:
				return nil, context.Cause(ctx)
			case !ok:
				return nil, fmt.Errorf("%w: the watch of %s ended", ErrUnavailable, seen.Key)
			}
		}
	}
}

// Deleted reports whether e is a deletion.
func Deleted(e Event) bool { return e.Deleted }

// WaitKey returns nil as soon as is holds for a key; kv is empty if the key does not exist. It retries on failures
// until ctx ends, and then returns the cause.
func WaitKey(ctx context.Context, s Interface, key string, is func(kv KV, there bool) bool) error {
	retry := Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	for {
		started := time.Now()
		kv, there, revision, err := s.Get(ctx, key)
		if err == nil {
			if is(kv, there) {
				return nil
			}
			_, err = WaitEvent(ctx, s, SeenKey{key, there, revision}, nil, func(e Event) bool { return is(e.KV, !e.Deleted) })
			if err == nil {
				return nil
			}
		}
		if time.Since(started) > retry.Max { // the watch lasted for a while
			retry.Reset()
		}
		if !Sleep(ctx, retry.Next()) {
			return context.Cause(ctx)
		}
	}
}

// Gone holds if the key does not exist.
func Gone(_ KV, there bool) bool { return !there }
