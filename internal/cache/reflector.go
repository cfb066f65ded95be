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

// Reflector lists and watches one prefix and updates the collections registered below it, in the order of revisions
// across all of them.
type Reflector struct {
	store    store.Interface
	prefix   string
	pageSize int64
	log      logr.Logger
	rows     []row
	// foreign defines where foreign keys are looked for; nil means in rows only.
	foreign *foreignKeys

	onRelist   []func(int64)
	onIgnored  []func(key string, revision int64, reason, why string)
	onDiffers  []func(Difference)
	metrics    *Metrics
	older      int // consecutive listings older than the known state
	checkEvery time.Duration
	again      chan Difference // capacity 1: ends the watch and starts a listing
	suspected  chan struct{}   // capacity 1: starts a check

	mu sync.RWMutex // guards the rows' trees and the fields below
	// applied is the revision up to which the trees are complete according to etcd, including progress. seen is the
	// revision of the last listing or event. told is the revision up to which the handlers have been called.
	applied, seen, told, lastChange int64
	verified                        map[row]int64 // the revisions at which the rows were found to match etcd
	listings                        int           // number of listings
	journal                         *journal      // changes during a check, nil otherwise
	moved                           chan struct{} // closed and replaced when told changes
	synced                          chan struct{} // closed after the first listing
}

// The pauses between attempts while etcd is unreachable, and how long a waiter waits before asking for progress.
const (
	retryFirst    = 100 * time.Millisecond
	retryMax      = 5 * time.Second
	distrustMax   = 30 * time.Second // between listings caused by an etcd that keeps reporting inconsistent data
	progressAfter = 200 * time.Millisecond
	suspectAfter  = 5 * time.Second // how long a waiter trusts the watch
)

// NewReflector returns a reflector of the keys below prefix. It is inactive until Run.
func NewReflector(s store.Interface, prefix string, opts ...Option) *Reflector {
	r := &Reflector{
		store:      s,
		prefix:     prefix,
		log:        logr.Discard(),
		checkEvery: store.CheckEvery,
		again:      make(chan Difference, 1),
		suspected:  make(chan struct{}, 1),
		verified:   make(map[row]int64),
		moved:      make(chan struct{}),
		synced:     make(chan struct{}),
	}
	for _, opt := range opts {
		opt(r)
	}
	return r
}

// Run lists and watches until ctx ends, and returns ctx's error. While etcd is unreachable the collections keep their
// content, and the watch resumes from there. If the watch turns out to be unreliable, Run lists again. Call it once.
func (r *Reflector) Run(ctx context.Context) error {
	var checking sync.WaitGroup
	defer checking.Wait()
	checking.Go(func() { r.check(ctx) }) // ends with ctx
	retry, distrust := store.Backoff{First: retryFirst, Max: retryMax}, store.Backoff{First: retryFirst, Max: distrustMax}
	relist := true
	for {
		if relist {
			if err := r.list(ctx); err != nil {
				if !r.pause(ctx, "Failed to list, will retry", err, &retry) {
					return ctx.Err()
				}
				continue
			}
			retry.Reset()
		}
		seen, began := r.seenRevision(), time.Now()
		err := r.watch(ctx)
		var differs *differsError
		if relist = errors.As(err, &differs); relist {
			if time.Since(began) > 2*distrustMax {
				distrust.Reset()
			}
			r.differs(differs.Difference)
			if !r.pause(ctx, "Listing again", err, &distrust) {
				return ctx.Err()
			}
			continue
		}
		if relist = errors.Is(err, store.ErrCompacted); relist {
			r.log.Info("Listing again", "reason", "Compacted", "prefix", r.prefix, "revision", r.seenRevision())
			r.metrics.relisted(r.prefix, "Compacted")
			continue
		}
		if r.seenRevision() > seen {
			retry.Reset()
		}
		if !r.pause(ctx, "Watch ended, will resume", err, &retry) {
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

var errWatchEnded = errors.New("the watch ended")

// watch applies batches until the watch ends or cannot be trusted. It starts at the revision of the last event, not of
// progress, which may have been sent too early.
func (r *Reflector) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	batches := r.store.Watch(ctx, r.prefix, r.seenRevision())
	defer func() {
		cancel()
		for range batches { // wait for its goroutine to end
		}
	}()
	for {
		select {
		case d := <-r.again:
			return &differsError{d}
		case batch, ok := <-batches:
			switch {
			case !ok:
				return errWatchEnded
			case batch.Err != nil:
				return batch.Err
			}
			if err := r.applyBatch(batch); err != nil {
				return err
			}
		}
	}
}

// ignored reports that no object is made of a key.
func (r *Reflector) ignored(kv store.KV, reason, why string) {
	r.log.Info("Ignoring key", "reason", reason, "key", kv.Key, "revision", kv.ModRevision, "why", why)
	for _, f := range r.onIgnored {
		f(kv.Key, kv.ModRevision, reason, why)
	}
}

// rowOf returns the row that contains the key, or nil.
func (r *Reflector) rowOf(key string) row {
	for _, row := range r.rows {
		if strings.HasPrefix(key, row.keyPrefix()) {
			return row
		}
	}
	return nil
}
