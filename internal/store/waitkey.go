package store

import (
	"context"
	"fmt"
	"time"
)

// SeenKey is what was read of one key: whether it was there at a revision.
type SeenKey struct {
	Key      string
	There    bool
	Revision int64
}

// WaitEvent waits for the first event of a key, after it was seen, that is the one; every one is where that is nil. Something
// sent on wake, which may be nil, ends the wait with neither an event nor an error. The error is that of the watch, such as
// ErrCompacted or ErrUnavailable, or the cause of ctx's end: who gets it reads the key again.
func WaitEvent(ctx context.Context, s Interface, seen SeenKey, wake <-chan struct{}, is func(Event) bool) (*Event, error) {
	watching, cancel := context.WithCancel(ctx)
	batches := WatchKey(watching, s, seen.Key, seen.There, seen.Revision)
	defer func() {
		cancel()
		for range batches { // until its goroutine has ended
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

// Deleted is the event that a key ends with.
func Deleted(e Event) bool { return e.Deleted }

// WaitKey returns nil as soon as a key is as it should be; kv is empty where it is not there. What fails meanwhile it tries
// again until ctx ends, and returns the cause of that then.
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
		if time.Since(started) > retry.Max { // it was watched for a while
			retry.Reset()
		}
		if !Sleep(ctx, retry.Next()) {
			return context.Cause(ctx)
		}
	}
}

// Gone is what a key is that is to be deleted.
func Gone(_ KV, there bool) bool { return !there }
