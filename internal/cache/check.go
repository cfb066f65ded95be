package cache

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/store"
)

// WithCheckEvery sets how often the rows are compared with etcd, plus or minus a tenth. Default store.CheckEvery;
// negative means never.
func WithCheckEvery(d time.Duration) Option {
	return func(r *Reflector) {
		if d != 0 {
			r.checkEvery = d
		}
	}
}

// Difference is the reason why a reflector distrusts its content and lists again.
type Difference struct {
	Prefix, Reason, Message string
}

// The reasons of a Difference.
const (
	Late     = "Late"     // an event came after events, or progress, of later revisions
	Missed   = "Missed"   // a change was never reported
	Behind   = "Behind"   // the watch does not deliver what a read returned
	WentBack = "WentBack" // etcd's revision is lower than before: a stale read, or a restored backup
)

// OnDiffers sets a function called from the reflector's goroutine before a listing caused by a Difference. f must not
// block.
func OnDiffers(f func(Difference)) Option {
	return func(r *Reflector) { r.onDiffers = append(r.onDiffers, f) }
}

// RecordDiffers records an event with the reason for a new listing.
func RecordDiffers(r events.Interface) Option {
	return OnDiffers(func(d Difference) { r.Record(v1.KindKey, d.Prefix, v1.EventWarning, "Cache"+d.Reason, d.Message) })
}

// differsError ends a watch.
type differsError struct{ Difference }

func (e *differsError) Error() string { return e.Reason + ": " + e.Message }

func (r *Reflector) differs(d Difference) {
	r.log.Info("Cache differs from etcd", "reason", d.Reason, "prefix", d.Prefix, "message", d.Message)
	r.metrics.relisted(r.prefix, d.Reason)
	for _, f := range r.onDiffers {
		f(d)
	}
}

const (
	// behindFor is how long the watch may take to deliver what a read returned.
	behindFor = 10 * time.Second
	// checkPage bounds one page of a check. For each page etcd scans all following keys.
	checkPage = 25_000
)

// check compares each row with etcd at intervals, and when a waiter suspects the watch, until ctx ends.
func (r *Reflector) check(ctx context.Context) {
	if r.checkEvery < 0 || r.WaitForSync(ctx) != nil {
		return
	}
	for r.nextCheck(ctx) {
		for _, row := range r.rows {
			d, err := r.checkRow(ctx, row)
			if err != nil {
				r.metrics.checked(row.keyPrefix(), "Failed")
				r.log.V(1).Info("Failed to compare with etcd", "prefix", row.keyPrefix(), "error", err.Error())
				continue
			}
			if d == nil {
				r.metrics.checked(row.keyPrefix(), "Same")
				continue
			}
			r.metrics.checked(row.keyPrefix(), d.Reason)
			select {
			case r.again <- *d:
			default: // already requested
			}
			break // a listing includes all rows
		}
	}
}

// nextCheck waits until the rows are to be compared, and reports whether ctx is still alive.
func (r *Reflector) nextCheck(ctx context.Context) bool {
	regular := time.NewTimer(store.Around(r.checkEvery))
	defer regular.Stop()
	select {
	case <-regular.C:
	case <-r.suspected:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// checkRow asks etcd for the number of the row's keys and for those that changed since the last check. If the number
// and those keys match, everything does: a missed change is among the keys, and a missed deletion makes the known
// number too high.
func (r *Reflector) checkRow(ctx context.Context, row row) (*Difference, error) {
	began := r.beginCheck(row)
	defer r.endCheck()
	now, err := r.changedSince(ctx, row.keyPrefix(), began.verified)
	if err != nil {
		return nil, err
	}
	if now.revision < began.seen {
		return &Difference{row.keyPrefix(), WentBack, fmt.Sprintf("etcd answered at revision %d, after revision %d", now.revision, began.seen)}, nil
	}
	problem := r.compare(row, began, now)
	if problem == "" {
		return nil, nil
	}
	wait, cancel := context.WithTimeout(ctx, behindFor)
	defer cancel()
	if err := r.waitForRevision(wait, now.revision, time.Time{}); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if r.compare(row, began, now) == "" {
			return nil, nil
		}
		return &Difference{row.keyPrefix(), Behind, fmt.Sprintf("the watch did not reach revision %d within %s: %s", now.revision, behindFor, problem)}, nil
	}
	if problem = r.compare(row, began, now); problem == "" {
		return nil, nil
	}
	return &Difference{row.keyPrefix(), Missed, fmt.Sprintf("at revision %d %s", now.revision, problem)}, nil
}

// checkBegun is the known state when a check began.
type checkBegun struct {
	verified, seen int64
	listings       int
}

func (r *Reflector) beginCheck(row row) checkBegun {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal = &journal{row: row}
	return checkBegun{verified: r.verified[row], seen: r.seen, listings: r.listings}
}

func (r *Reflector) endCheck() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.journal = nil
}

// asStored is etcd's state of a row at one revision: the number of keys, and the recently changed ones.
type asStored struct {
	revision, count int64
	changed         []keyRevision
}

type keyRevision struct {
	key      string
	revision int64
}

func (r *Reflector) changedSince(ctx context.Context, prefix string, revision int64) (asStored, error) {
	opts := store.ListOptions{KeysOnly: true, ChangedAfter: revision, Limit: checkPage}
	page, err := r.store.List(ctx, prefix, opts)
	now := asStored{revision: page.Revision, count: page.Count}
	for err == nil {
		for _, kv := range page.KVs {
			now.changed = append(now.changed, keyRevision{kv.Key, kv.ModRevision})
		}
		if !page.More || len(page.KVs) == 0 {
			return now, nil
		}
		opts.Revision, opts.After = now.revision, page.KVs[len(page.KVs)-1].Key
		page, err = r.store.List(ctx, prefix, opts)
	}
	return asStored{}, err
}

// compare returns a description of the difference, "" if there is none. Changes after the answer's revision are undone
// for the comparison.
func (r *Reflector) compare(row row, began checkBegun, now asStored) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listings != began.listings {
		return "" // everything is newer
	}
	before := r.journal.after(now.revision)
	count := int64(row.count())
	for key, revision := range before {
		count += present(revision) - present(row.have(key))
	}
	for _, kv := range now.changed {
		have, changedSince := before[kv.key]
		if !changedSince {
			have = row.have(kv.key)
		}
		if have != kv.revision {
			return fmt.Sprintf("%s changed at revision %d, the cache has revision %d", kv.key, kv.revision, have)
		}
	}
	if count != now.count {
		return fmt.Sprintf("etcd has %d keys, the cache has %d", now.count, count)
	}
	r.verified[row] = now.revision
	return ""
}

func present(revision int64) int64 { return min(revision, 1) }
