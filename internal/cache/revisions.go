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
// or returns ctx's error: give it a deadline. After suspectAfter in which etcd answers, it has the rows compared with etcd: a
// watch that has stopped delivering would be noticed at the next regular check only.
func (r *Reflector) WaitForRevision(ctx context.Context, revision int64) error {
	return r.waitForRevision(ctx, revision, time.Now().Add(suspectAfter))
}

// waitForRevision asks for a check from suspect on; never, if that is zero.
func (r *Reflector) waitForRevision(ctx context.Context, revision int64, suspect time.Time) error {
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
			} else if !suspect.IsZero() && time.Now().After(suspect) {
				r.checkNow()
				suspect = time.Time{}
			}
		case <-ctx.Done():
			ask.Stop()
			return ctx.Err()
		}
		ask.Stop()
	}
}

// checkNow has the rows compared with etcd at once.
func (r *Reflector) checkNow() {
	select {
	case r.suspected <- struct{}{}:
	default: // already requested
	}
}
