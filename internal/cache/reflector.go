package cache

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/store"
)

// Option changes a Reflector.
type Option func(*Reflector)

// WithLogger has the reflector log there.
func WithLogger(log logr.Logger) Option { return func(r *Reflector) { r.log = log } }

// WithPageSize sets how many keys one request of a listing brings. 0 means the store's default.
func WithPageSize(keys int64) Option { return func(r *Reflector) { r.pageSize = keys } }

// OnProgress has f called, from the reflector's goroutine, whenever Revision moved and all handlers were told.
func OnProgress(f func(revision int64)) Option {
	return func(r *Reflector) { r.onProgress = append(r.onProgress, f) }
}

// OnRelist has f called, from the reflector's goroutine, after every listing: the first one, and again where
// the watch could not go on without a gap.
func OnRelist(f func(revision int64)) Option {
	return func(r *Reflector) { r.onRelist = append(r.onRelist, f) }
}

// Why a key is ignored.
const (
	NoSuchRow  = "NoSuchRow"  // it lies in no row
	NoSuchName = "NoSuchName" // no object of the row can have it
	NoLease    = "NoLease"    // the row's objects live under one
	Unreadable = "Unreadable" // the object is there, without its value
)

// OnIgnored has f called, from the reflector's goroutine, with every key below a row's prefix that is a stranger's, or
// whose value cannot be read. f must not block, and hears of a key again with a new listing.
func OnIgnored(f func(key string, revision int64, reason, why string)) Option {
	return func(r *Reflector) { r.onIgnored = append(r.onIgnored, f) }
}

// Reflector lists and watches one prefix and feeds the collections registered below it, in the order of
// revisions across all of them.
type Reflector struct {
	store    store.Interface
	prefix   string
	pageSize int64
	log      logr.Logger
	rows     []row
	// strangers is where they are looked for; nil: only in rows.
	strangers *strangers

	onProgress, onRelist []func(int64)
	onIgnored            []func(key string, revision int64, reason, why string)

	mu sync.RWMutex // guards the rows' trees and what follows
	// applied is the revision up to which the trees are complete, told the one up to which the handlers know.
	applied, told, lastChange int64
	moved                     chan struct{} // closed and replaced when told moves
	synced                    chan struct{} // closed after the first listing
}

// The pauses between attempts while etcd is away, and how long a waiter lets pass before it asks for progress.
const (
	retryFirst    = 100 * time.Millisecond
	retryMax      = 5 * time.Second
	progressAfter = 200 * time.Millisecond
)

// NewReflector returns a reflector of the keys below prefix. It does nothing before Run.
func NewReflector(s store.Interface, prefix string, opts ...Option) *Reflector {
	r := &Reflector{
		store:  s,
		prefix: prefix,
		log:    logr.Discard(),
		moved:  make(chan struct{}),
		synced: make(chan struct{}),
	}
	for _, opt := range opts {
		opt(r)
	}
	return r
}

// Run lists and watches until ctx ends, and returns ctx's error. While etcd is away the collections keep
// what they have, and the watch goes on from there. Call it once.
func (r *Reflector) Run(ctx context.Context) error {
	retry := store.Backoff{First: retryFirst, Max: retryMax}
	relist := true
	for {
		if relist {
			if err := r.list(ctx); err != nil {
				if !r.pause(ctx, "Listing failed, will retry", err, &retry) {
					return ctx.Err()
				}
				continue
			}
			retry.Reset()
		}
		seen := r.appliedRevision()
		err := r.watch(ctx)
		if relist = errors.Is(err, store.ErrCompacted); relist {
			r.log.Info("Listing again", "reason", "Compacted", "prefix", r.prefix, "revision", r.appliedRevision())
			continue
		}
		if r.appliedRevision() > seen {
			retry.Reset()
		}
		if !r.pause(ctx, "Watch ended, will go on", err, &retry) {
			return ctx.Err()
		}
	}
}

func (r *Reflector) pause(ctx context.Context, message string, err error, retry *store.Backoff) bool {
	if ctx.Err() != nil {
		return false
	}
	after := retry.Next()
	r.log.Info(message, "prefix", r.prefix, "error", err.Error(), "after", after)
	return store.Sleep(ctx, after)
}

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
	if err := r.lookForStrangers(ctx, revision); err != nil {
		return err
	}
	runs := make([]run, 0, len(r.rows))
	r.mu.Lock()
	for _, row := range r.rows {
		if n := row.relisted(revision); n > 0 {
			runs = append(runs, run{row, n})
		}
	}
	if len(runs) > 0 || r.lastChange == 0 {
		r.lastChange = revision
	}
	r.applied = revision
	r.mu.Unlock()
	r.tell(runs, revision)
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

// run is a number of changes of one row that follow each other.
type run struct {
	row row
	n   int
}

// applyBatch changes all trees at once and then tells the handlers, in the order of the changes.
func (r *Reflector) applyBatch(batch store.Batch) {
	var runs []run
	r.mu.Lock()
	for _, e := range batch.Events {
		r.lastChange = e.ModRevision
		row := r.rowOf(e.Key)
		if row == nil {
			if r.strangers != nil && !e.Deleted {
				r.strange(e.KV)
			}
			continue
		}
		if !row.apply(e) {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].row == row {
			runs[last].n++
		} else {
			runs = append(runs, run{row, 1})
		}
	}
	r.applied = max(r.applied, batch.Revision)
	r.mu.Unlock()
	r.tell(runs, batch.Revision)
}

func (r *Reflector) tell(runs []run, revision int64) {
	for _, run := range runs {
		run.row.tell(run.n)
	}
	r.mu.Lock()
	r.told = max(r.told, revision)
	close(r.moved)
	r.moved = make(chan struct{})
	r.mu.Unlock()
	for _, f := range r.onProgress {
		f(revision)
	}
}

var errWatchEnded = errors.New("the watch ended")

// watch applies batches until the watch ends.
func (r *Reflector) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	batches := r.store.Watch(ctx, r.prefix, r.appliedRevision())
	defer func() {
		cancel()
		for range batches { // until its goroutine has ended
		}
	}()
	for batch := range batches {
		if batch.Err != nil {
			return batch.Err
		}
		r.applyBatch(batch)
	}
	return errWatchEnded
}

// ignored says that nothing is made of a key.
func (r *Reflector) ignored(kv store.KV, reason, why string) {
	r.log.Info("Key is ignored", "reason", reason, "key", kv.Key, "revision", kv.ModRevision, "why", why)
	for _, f := range r.onIgnored {
		f(kv.Key, kv.ModRevision, reason, why)
	}
}

// rowOf returns the row that a key lies in, or nil.
func (r *Reflector) rowOf(key string) row {
	for _, row := range r.rows {
		if strings.HasPrefix(key, row.keyPrefix()) {
			return row
		}
	}
	return nil
}

func (r *Reflector) appliedRevision() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.applied
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
