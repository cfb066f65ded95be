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

	onRelist   []func(int64)
	onIgnored  []func(key string, revision int64, reason, why string)
	onDiffers  []func(Difference)
	metrics    *Metrics
	older      int // listings in a row that were older than what is known
	checkEvery time.Duration
	again      chan Difference // holds one: has the watch end and a listing begin

	mu sync.RWMutex // guards the rows' trees and what follows
	// applied is the revision up to which the trees are complete, as etcd says: progress counts. seen is the one that they
	// were brought to by a listing or by events. told is the one up to which the handlers know.
	applied, seen, told, lastChange int64
	verified                        map[row]int64 // the revisions at which the rows were found to be what etcd holds
	listings                        int           // how many there were
	journal                         *journal      // of what changes while a check is under way, else nil
	moved                           chan struct{} // closed and replaced when told moves
	synced                          chan struct{} // closed after the first listing
}

// The pauses between attempts while etcd is away, and how long a waiter lets pass before it asks for progress.
const (
	retryFirst    = 100 * time.Millisecond
	retryMax      = 5 * time.Second
	distrustMax   = 30 * time.Second // between listings that an etcd causes which goes on telling nonsense
	progressAfter = 200 * time.Millisecond
)

// NewReflector returns a reflector of the keys below prefix. It does nothing before Run.
func NewReflector(s store.Interface, prefix string, opts ...Option) *Reflector {
	r := &Reflector{
		store:      s,
		prefix:     prefix,
		log:        logr.Discard(),
		checkEvery: store.CheckEvery,
		again:      make(chan Difference, 1),
		verified:   make(map[row]int64),
		moved:      make(chan struct{}),
		synced:     make(chan struct{}),
	}
	for _, opt := range opts {
		opt(r)
	}
	return r
}

// Run lists and watches until ctx ends, and returns ctx's error. While etcd is away the collections keep
// what they have, and the watch goes on from there. What etcd's watch got wrong is listed anew. Call it once.
func (r *Reflector) Run(ctx context.Context) error {
	var checking sync.WaitGroup
	defer checking.Wait()
	checking.Go(func() { r.check(ctx) }) // ends with ctx
	retry, distrust := store.Backoff{First: retryFirst, Max: retryMax}, store.Backoff{First: retryFirst, Max: distrustMax}
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

var errWatchEnded = errors.New("the watch ended")

// watch applies batches until the watch ends, or is not to be trusted any more. It begins where events have brought the
// trees, not where progress has: that may have been told early.
func (r *Reflector) watch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	batches := r.store.Watch(ctx, r.prefix, r.seenRevision())
	defer func() {
		cancel()
		for range batches { // until its goroutine has ended
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
