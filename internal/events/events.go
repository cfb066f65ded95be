// Package events records what happened and why, without ever blocking its callers.
package events

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Options set up a Recorder.
type Options struct {
	// Source is the controller or program that records; Machine is where it runs.
	Source, Machine string
	// TTL is how long an event is kept, at least half of it. Default 2 h.
	TTL time.Duration
	// Repeat is how long the same event is not written again. Default 10 min.
	Repeat time.Duration
	// Buffer is how many events wait while etcd is unreachable; further ones are dropped. Default 1,000.
	Buffer int
	// Ignored is how many ignored keys are reported at once. Default 100.
	Ignored int
	Log     logr.Logger
	// Later calls record later, and returns at once. Only a simulation needs it, to record no two events at the same moment.
	// nil: each event is recorded at once.
	Later func(event string, record func())
}

// Interface records events. *Recorder implements it, and so do tests' fakes.
type Interface interface {
	// Record records that something happened to the object of that kind and name. eventType is v1.EventNormal or
	// v1.EventWarning. It never waits.
	Record(kind, name, eventType, reason, message string)
}

// Recorder writes events to etcd. A nil *Recorder records nothing. It is safe for many goroutines.
type Recorder struct {
	*sink
	source string
}

// sink is what all recorders of a process share: the buffer, the lease, the writer.
type sink struct {
	store store.Interface
	keys  keyspace.Keys
	opts  Options
	queue chan entry

	mu      sync.Mutex
	recent  map[identity]*repeats
	dropped int
	ignored ignored
}

// identity is what makes two events equal.
type identity struct{ source, kind, name, eventType, reason, message string }

// repeats counts how often an event occurred again since it was written.
type repeats struct {
	until time.Time
	count int
}

// entry is one event as it will be stored. Its key is made once, so that retrying a write whose answer was lost does not
// duplicate it.
type entry struct {
	key   string
	value []byte
	// once is the end of the key if the event is written only when no other has it, see Ignored; else empty.
	once string
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
	if opts.Ignored <= 0 {
		opts.Ignored = 100
	}
	return &Recorder{
		source: opts.Source,
		sink: &sink{
			store:   s,
			keys:    keys,
			opts:    opts,
			queue:   make(chan entry, opts.Buffer),
			recent:  make(map[identity]*repeats),
			ignored: newIgnored(opts.Ignored),
		},
	}
}

// WithSource returns a recorder for another controller of the same process. It shares the buffer and the lease.
func (r *Recorder) WithSource(source string) *Recorder {
	if r == nil {
		return nil
	}
	return &Recorder{sink: r.sink, source: source}
}

// Record implements Interface.
func (r *Recorder) Record(kind, name, eventType, reason, message string) {
	if r == nil {
		return
	}
	id := identity{r.source, kind, cut(name), eventType, reason, cut(message)}
	if r.opts.Later != nil {
		r.opts.Later(fmt.Sprint(id), func() { r.record(id, time.Now()) })
		return
	}
	r.record(id, time.Now())
}

// maxText bounds names and messages. Foreign keys in etcd could have longer names than etcd accepts in a value, and one such
// event would block all others.
const maxText = 4096

func cut(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "..."
}

func (s *sink) record(id identity, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.recent[id]
	if seen != nil && now.Before(seen.until) {
		seen.count++
		return
	}
	event := v1.Event{
		Time: now.UTC(), Kind: id.kind, Name: id.name, Type: id.eventType, Reason: id.reason, Message: id.message,
		Source: id.source, Machine: s.opts.Machine,
	}
	if seen != nil && seen.count > 0 {
		event.Count = seen.count + 1
	}
	if s.enqueue(event, "") {
		s.remember(id, now)
	}
}

// enqueue queues an event, and returns false if too many are waiting.
func (s *sink) enqueue(event v1.Event, once string) bool {
	row := s.keys.Events()
	value, err := row.Encode(event)
	if err != nil {
		s.opts.Log.Error(err, "Event cannot be written", "reason", event.Reason)
		return false
	}
	id := once
	if id == "" {
		id = randomID()
	}
	select {
	case s.queue <- entry{key: row.Key(event.Time.Format(timeFormat) + "-" + id), value: value, once: once}:
		return true
	default:
		s.dropped++
		return false
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
			clear(s.recent) // better a duplicate event than unbounded memory
		}
	}
	s.recent[id] = &repeats{until: now.Add(s.opts.Repeat)}
}

// Run writes events until ctx ends, then what is left, for at most two seconds, and returns nil. When idle it does nothing.
func (r *Recorder) Run(ctx context.Context) error {
	w := writer{sink: r.sink}
	for {
		select {
		case e := <-r.queue:
			if left := w.writeUntilDone(ctx, w.gather(e)); len(left) > 0 {
				w.flush(ctx, left)
				return nil
			}
		case <-ctx.Done():
			w.flush(ctx, nil)
			return nil
		}
	}
}

// flushTimeout bounds the last writes of a process that stops.
const flushTimeout = 2 * time.Second

// writer is the only goroutine that writes.
type writer struct {
	*sink
	lease   store.LeaseID
	granted time.Time
}

// gather takes what else is queued, up to one transaction.
func (w *writer) gather(entries ...entry) []entry {
	for len(entries) < store.MaxTxnOps-1 {
		select {
		case e := <-w.queue:
			entries = append(entries, e)
		default:
			return entries
		}
	}
	return entries
}

// writeUntilDone retries until the entries are written or ctx ends, and returns what is left.
func (w *writer) writeUntilDone(ctx context.Context, entries []entry) []entry {
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 30 * time.Second}
	for {
		err := w.write(ctx, entries)
		if err == nil {
			return nil
		}
		after := retry.Next()
		w.opts.Log.V(1).Info("Writing events failed, will retry", "error", err.Error(), "after", after)
		if !store.Sleep(ctx, after) {
			return entries
		}
	}
}

func (w *writer) flush(ctx context.Context, entries []entry) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTimeout)
	defer cancel()
	for entries = w.gather(entries...); len(entries) > 0; entries = w.gather() {
		if err := w.write(ctx, entries); err != nil {
			w.opts.Log.Info("Events are lost", "reason", "Stopping", "count", len(entries)+len(w.queue), "error", err.Error())
			return
		}
	}
}

// write puts entries under the shared lease.
func (w *writer) write(ctx context.Context, entries []entry) error {
	w.logDropped()
	entries, err := w.withoutKnown(ctx, entries)
	if err != nil || len(entries) == 0 {
		return err
	}
	lease, err := w.sharedLease(ctx)
	if err != nil {
		return err
	}
	groups := make([]store.Group, len(entries))
	for i, e := range entries {
		groups[i] = store.Group{{Key: e.key, Value: e.value, Lease: lease}}
	}
	_, err = store.LastRevision(store.Write(ctx, w.store, groups, store.Fence{}))
	if errors.Is(err, store.ErrLeaseNotFound) {
		w.lease = 0
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

// timeFormat is the first part of names, <time>-<id>: they sort by time.
const timeFormat = "20060102T150405.000000Z"

func randomID() string {
	var id [4]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}
