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

// Revision returns the revision up to which the collections are complete and all handlers were told; 0 before the first listing.
func (r *Reflector) Revision() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.told
}

// LastChange returns the revision of the last change below the prefix. After a listing it is the listing's,
// if that brought anything new.
func (r *Reflector) LastChange() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.lastChange
}

// WaitForSync waits for the first listing. It returns ctx's error where that ends first.
func (r *Reflector) WaitForSync(ctx context.Context) error {
	select {
	case <-r.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// WaitForRevision waits until Revision has reached that of one's own write, so that the collections hold
// it. It returns ctx's error where that ends first: give it a deadline.
func (r *Reflector) WaitForRevision(ctx context.Context, revision int64) error {
	for {
		r.mu.RLock()
		told, moved := r.told, r.moved
		r.mu.RUnlock()
		if told >= revision {
			return nil
		}
		// A write that changed nothing below the prefix, such as the delete of what was gone, brings no event.
		ask := time.NewTimer(progressAfter)
		select {
		case <-moved:
		case <-ask.C:
			if err := r.store.RequestProgress(ctx); err != nil {
				r.log.V(1).Info("Asking for progress failed", "error", err.Error())
			}
		case <-ctx.Done():
			ask.Stop()
			return ctx.Err()
		}
		ask.Stop()
	}
}
