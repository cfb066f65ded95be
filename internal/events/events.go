// Package events writes down what happened and why, without ever holding up who saw it.
package events

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Options set up a Recorder.
type Options struct {
	// Source is the controller or program that records; Machine where it runs.
	Source, Machine string
	// TTL is how long an event is kept, at least half of it. Default 2 h.
	TTL time.Duration
	// Repeat is how long the same event is not written again. Default 10 min.
	Repeat time.Duration
	// Buffer is how many events wait while etcd is away; further ones are dropped. Default 1,000.
	Buffer int
	Log    logr.Logger
}

// Recorder records events. A nil *Recorder records nothing. It is safe for many goroutines.
type Recorder struct {
	*sink
	source string
}

// sink is what all recorders of a process share: the buffer, the lease, the writer.
type sink struct {
	store store.Interface
	keys  keyspace.Keys
	opts  Options
	queue chan v1.Event

	mu      sync.Mutex
	recent  map[identity]*repeats
	dropped int
}

// identity is what makes two events the same.
type identity struct{ source, kind, name, eventType, reason, message string }

// repeats counts how often an event came again after it was written.
type repeats struct {
	until time.Time
}

// New returns a recorder. Events are written by Run; those recorded before it wait.
func New(s store.Interface, keys keyspace.Keys, opts Options) *Recorder {
	if opts.TTL <= 0 {
		opts.TTL = 2 * time.Hour
	}
	if opts.Repeat <= 0 {
		opts.Repeat = 10 * time.Minute
	}
	if opts.Buffer <= 0 {
		opts.Buffer = 1000
	}
	if opts.Log.GetSink() == nil {
		opts.Log = logr.Discard()
	}
	return &Recorder{
		source: opts.Source,
		sink: &sink{
			store:  s,
			keys:   keys,
			opts:   opts,
			queue:  make(chan v1.Event, opts.Buffer),
			recent: make(map[identity]*repeats),
		},
	}
}

// WithSource returns a recorder for another controller of the same process: it shares buffer and lease.
func (r *Recorder) WithSource(source string) *Recorder {
	if r == nil {
		return nil
	}
	return &Recorder{sink: r.sink, source: source}
}

// Record records that something happened to the object of that kind and name. eventType is v1.EventNormal
// or v1.EventWarning. It never waits.
func (r *Recorder) Record(kind, name, eventType, reason, message string) {
	if r == nil {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	id := identity{r.source, kind, name, eventType, reason, message}
	if seen := r.recent[id]; seen != nil && now.Before(seen.until) {
		return
	}
	select {
	case r.queue <- v1.Event{
		Time: now.UTC(), Kind: kind, Name: name, Type: eventType, Reason: reason, Message: message,
		Source: r.source, Machine: r.opts.Machine,
	}:
		r.remember(id, now)
	default:
		r.dropped++
	}
}

// maxRecent bounds what is remembered of events, so that a flood of different ones does not fill the memory.
const maxRecent = 4096

func (s *sink) remember(id identity, now time.Time) {
	if len(s.recent) >= maxRecent {
		for id, seen := range s.recent {
			if !now.Before(seen.until) {
				delete(s.recent, id)
			}
		}
		if len(s.recent) >= maxRecent {
			clear(s.recent) // rather an event twice than more memory
		}
	}
	s.recent[id] = &repeats{until: now.Add(s.opts.Repeat)}
}

// Run writes events until ctx ends, then what is left, for at most a request's time. It returns nil.
func (r *Recorder) Run(ctx context.Context) error {
	w := writer{sink: r.sink}
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 30 * time.Second}
	for {
		select {
		case e := <-r.queue:
			events := w.gather(e)
			for {
				err := w.write(ctx, events)
				if err == nil {
					retry.Reset()
					break
				}
				after := retry.Next()
				r.opts.Log.V(1).Info("Writing events failed, will retry", "error", err.Error(), "after", after)
				if !store.Sleep(ctx, after) {
					w.flush(ctx, events)
					return nil
				}
			}
		case <-ctx.Done():
			w.flush(ctx, nil)
			return nil
		}
	}
}

// flushTimeout bounds the last write of a process that stops.
const flushTimeout = 2 * time.Second

// writer is the one goroutine that writes.
type writer struct {
	*sink
	lease   store.LeaseID
	granted time.Time
}

// gather takes what else is waiting, up to one transaction.
func (w *writer) gather(events ...v1.Event) []v1.Event {
	for len(events) < store.MaxTxnOps {
		select {
		case e := <-w.queue:
			events = append(events, e)
		default:
			return events
		}
	}
	return events
}

func (w *writer) flush(ctx context.Context, events []v1.Event) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	for events = w.gather(events...); len(events) > 0; events = w.gather() {
		if err := w.write(ctx, events); err != nil {
			w.opts.Log.Info("Events are lost", "reason", "Stopping", "count", len(events)+len(w.queue), "error", err.Error())
			return
		}
	}
}

// write puts events under the shared lease.
func (w *writer) write(ctx context.Context, events []v1.Event) error {
	w.logDropped()
	lease, err := w.sharedLease(ctx)
	if err != nil {
		return err
	}
	row := w.keys.Events()
	groups := make([]store.Group, len(events))
	for i, e := range events {
		value, err := row.Encode(e)
		if err != nil {
			return fmt.Errorf("event %s: %w", e.Reason, err)
		}
		groups[i] = store.Group{{Key: row.Key(name(e.Time)), Value: value, Lease: lease}}
	}
	_, err = store.LastRevision(store.Write(ctx, w.store, groups, store.Fence{}))
	if err != nil {
		w.lease = 0 // it may have ended
	}
	return err
}

// sharedLease returns the lease of this hour: granted when an event needs it, never renewed.
func (w *writer) sharedLease(ctx context.Context) (store.LeaseID, error) {
	if w.lease != 0 && time.Since(w.granted) < w.opts.TTL/2 {
		return w.lease, nil
	}
	now := time.Now()
	lease, err := w.store.Grant(ctx, w.opts.TTL)
	if err != nil {
		return 0, err
	}
	w.lease, w.granted = lease, now
	return lease, nil
}

func (s *sink) logDropped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dropped > 0 {
		s.opts.Log.Info("Events were dropped", "reason", "BufferFull", "count", s.dropped)
		s.dropped = 0
	}
}

// name makes names that sort by time, <time>-<id>.
func name(t time.Time) string {
	var id [4]byte
	rand.Read(id[:])
	return t.UTC().Format("20060102T150405.000000Z") + "-" + hex.EncodeToString(id[:])
}
