package cache

import (
	"context"
	"time"
)

func (r *Reflector) seenRevision() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.seen
}

// Revision returns the revision up to which the collections are complete and all handlers have been called; 0 before
// the first listing.
func (r *Reflector) Revision() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.told
}

// LastChange returns the revision of the last change below the prefix. After a listing with changes it is the
// listing's.
func (r *Reflector) LastChange() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lastChange
}

// WaitForSync waits for the first listing, or returns ctx's error.
func (r *Reflector) WaitForSync(ctx context.Context) error {
	select {
	case <-r.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitForRevision waits until Revision has reached that of the caller's own write, so that the collections contain it,
// or returns ctx's error: give it a deadline.
func (r *Reflector) WaitForRevision(ctx context.Context, revision int64) error {
	for {
		r.mu.RLock()
		told, moved := r.told, r.moved
		r.mu.RUnlock()
		if told >= revision {
			return nil
		}
		// A write that changed nothing below the prefix, such as the delete of an absent key, causes no event.
		ask := time.NewTimer(progressAfter)
		select {
		case <-moved:
		case <-ask.C:
			if err := r.store.RequestProgress(ctx); err != nil {
				r.log.V(1).Info("Failed to request progress", "error", err.Error())
			}
		case <-ctx.Done():
			ask.Stop()
			return ctx.Err()
		}
		ask.Stop()
	}
}
