package cache

import (
	"context"
	"fmt"

	"github.com/fleet-starter/fleet/internal/store"
)

// list replaces the collections' content by that of one revision. Readers see the old content until it is complete.
func (r *Reflector) list(ctx context.Context) error {
	revision := int64(0)
	for _, row := range r.rows { // by rows: etcd counts, for each page, all that follows behind it
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
	if err := r.lookForStrangers(ctx, revision); err != nil {
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

// replace puts the listing of that revision in place and returns what there is to tell.
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
	case <-r.again: // what it was asked for is done
	default:
	}
	return runs
}

// olderMost is how often in a row a listing may be older than what is known before it is believed.
const olderMost = 5

// believe refuses a listing that is older than what is known: a member that lags behind has answered. Where etcd says so
// again and again a backup was restored, and nothing is left of what was known.
func (r *Reflector) believe(revision int64) error {
	seen := r.seenRevision()
	if revision >= seen {
		r.older = 0
		return nil
	}
	if r.older++; r.older <= olderMost {
		return fmt.Errorf("etcd answered with revision %d, after %d was known", revision, seen)
	}
	r.older = 0
	r.differs(Difference{r.prefix, WentBack, fmt.Sprintf("etcd is at revision %d, after %d was known: it was restored from a backup", revision, seen)})
	return nil
}
