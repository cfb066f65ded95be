package cache

import (
	"context"
	"fmt"

	"github.com/fleet-starter/fleet/internal/store"
)

// list replaces the collections' content by that of one revision. Readers see the old content until it is complete.
func (r *Reflector) list(ctx context.Context) error {
	revision := int64(0)
	for _, row := range r.rows { // by row: for each page, etcd counts all following keys
		row.beginListing()
		opts := store.ListOptions{Limit: r.pageSize, Revision: revision}
		var err error
		revision, err = store.ListAll(ctx, r.store, row.keyPrefix(), opts, func(kv store.KV) error {
			row.listed(kv)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if err := r.believe(revision); err != nil {
		return err
	}
	if err := r.findForeign(ctx, revision); err != nil {
		return err
	}
	r.tell(r.replace(revision), revision)
	for _, f := range r.onRelist {
		f(revision)
	}
	select {
	case <-r.synced:
	default:
		close(r.synced)
	}
	return nil
}

// replace switches to the listing of that revision and returns the changes to report.
func (r *Reflector) replace(revision int64) []run {
	runs := make([]run, 0, len(r.rows))
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, row := range r.rows {
		if n := row.relisted(revision); n > 0 {
			runs = append(runs, run{row, n})
		}
		r.verified[row] = revision
	}
	if len(runs) > 0 || r.lastChange == 0 {
		r.lastChange = revision
	}
	r.applied, r.seen, r.told = revision, revision, min(r.told, revision)
	r.listings++
	select {
	case <-r.again: // this listing fulfils the request
	default:
	}
	return runs
}

// olderMost is how many consecutive listings older than the known state are rejected.
const olderMost = 5

// believe rejects a listing that is older than the known state, because it comes from a member that lags behind. If
// that repeats, etcd was restored from a backup, and the known state is obsolete.
func (r *Reflector) believe(revision int64) error {
	seen := r.seenRevision()
	if revision >= seen {
		r.older = 0
		return nil
	}
	if r.older++; r.older <= olderMost {
		return fmt.Errorf("etcd answered at revision %d, after revision %d", revision, seen)
	}
	r.older = 0
	r.differs(Difference{r.prefix, WentBack, fmt.Sprintf("etcd is at revision %d, after revision %d: it was restored from a backup", revision, seen)})
	return nil
}
