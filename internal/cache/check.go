package cache

import (
	"context"
	"fmt"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// WithCheckEvery sets how often the rows are compared with etcd, a tenth more or less. Default store.CheckEvery; negative
// for never.
func WithCheckEvery(d time.Duration) Option {
	return func(r *Reflector) {
		if d != 0 {
			r.checkEvery = d
		}
	}
}

// Difference is why a reflector does not trust what it has and lists again.
type Difference struct {
	Prefix, Reason, Message string
}

// The reasons of a Difference.
const (
	Late     = "Late"     // an event came after others, or progress, of later revisions: everything is read anew
	Missed   = "Missed"   // a change was never told by the watch: everything is read anew
	Behind   = "Behind"   // the watch does not bring what a read has: everything is read anew
	WentBack = "WentBack" // etcd's revision is lower than what it told before: a stale read, or a backup was restored
)

// OnDiffers has f called, from the reflector's goroutine, before a listing that a Difference makes necessary. f must not block.
func OnDiffers(f func(Difference)) Option {
	return func(r *Reflector) { r.onDiffers = append(r.onDiffers, f) }
}

// recorder writes events, as internal/events does.
type recorder interface {
	Record(kind, name, eventType, reason, message string)
}

// RecordDiffers has an event say why everything was listed anew.
func RecordDiffers(r recorder) Option {
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
	// behindFor is how long the watch may take to bring what a read has.
	behindFor = 10 * time.Second
	// checkPage bounds one answer of a check. Each page costs etcd a look at all keys that follow.
	checkPage = 25_000
)

// check compares each row with etcd, now and then, until ctx ends.
func (r *Reflector) check(ctx context.Context) {
	if r.checkEvery < 0 || r.WaitForSync(ctx) != nil {
		return
	}
	for store.Sleep(ctx, store.Around(r.checkEvery)) {
		for _, row := range r.rows {
			d, err := r.checkRow(ctx, row)
			if err != nil {
				r.metrics.checked(row.keyPrefix(), "Failed")
				r.log.V(1).Info("Comparing with etcd failed", "prefix", row.keyPrefix(), "error", err.Error())
				continue
			}
			if d == nil {
				r.metrics.checked(row.keyPrefix(), "Same")
				continue
			}
			r.metrics.checked(row.keyPrefix(), d.Reason)
			select {
			case r.again <- *d:
			default: // asked for already
			}
			break // the listing is of all rows
		}
	}
}

// checkRow asks etcd how many keys the row has and which of them changed since the last check. Where the count is right and
// so is each of those, all is: a change that was missed is among them, and a deletion leaves a count that is too high.
func (r *Reflector) checkRow(ctx context.Context, row row) (*Difference, error) {
	began := r.beginCheck(row)
	defer r.endCheck()
	now, err := r.changedSince(ctx, row.keyPrefix(), began.verified)
	if err != nil {
		return nil, err
	}
	if now.revision < began.seen {
		return &Difference{row.keyPrefix(), WentBack, fmt.Sprintf("etcd answered with revision %d, after %d was known", now.revision, began.seen)}, nil
	}
	problem := r.compare(row, began, now)
	if problem == "" {
		return nil, nil
	}
	wait, cancel := context.WithTimeout(ctx, behindFor)
	defer cancel()
	if err := r.WaitForRevision(wait, now.revision); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if r.compare(row, began, now) == "" {
			return nil, nil
		}
		return &Difference{row.keyPrefix(), Behind, fmt.Sprintf("the watch did not come to revision %d in %s: %s", now.revision, behindFor, problem)}, nil
	}
	if problem = r.compare(row, began, now); problem == "" {
		return nil, nil
	}
	return &Difference{row.keyPrefix(), Missed, fmt.Sprintf("at revision %d %s", now.revision, problem)}, nil
}

// checkBegun is what was known when a check began.
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

// asStored is what etcd says of a row at one revision: how many keys it has, and those that changed lately.
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

// compare says what differs, "" for nothing. What changed after the answer's revision is taken back for it.
func (r *Reflector) compare(row row, began checkBegun, now asStored) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.listings != began.listings {
		return "" // all is new
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
			return fmt.Sprintf("%s was changed at revision %d, known is its change at %d", kv.key, kv.revision, have)
		}
	}
	if count != now.count {
		return fmt.Sprintf("there are %d keys, %d are known", now.count, count)
	}
	r.verified[row] = now.revision
	return ""
}

func present(revision int64) int64 { return min(revision, 1) }
