package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// stateWriter reports states. It accepts them at once and writes them in batches when etcd is available: a unit never
// waits for etcd. Unchanged states are not written, and a unit that changes all the time, such as one that systemd
// restarts every second, is rate-limited.
type stateWriter struct {
	store store.Interface
	row   keyspace.Collection[v1.UnitState]
	log   logr.Logger
	pause time.Duration
	known func() // called once the stored states are known
	wake  chan struct{}

	mu      sync.Mutex
	loaded  bool                    // written is in sync with the store
	written map[string]v1.UnitState // by unit
	want    map[string]*v1.UnitState
	paces   map[string]pace
}

func newStateWriter(o Options, known func()) *stateWriter {
	w := &stateWriter{store: o.Store, row: o.Keys.StatesOf(o.Machine), log: o.Log, pause: o.Debounce, known: known,
		wake: make(chan struct{}, 1), written: map[string]v1.UnitState{}, want: map[string]*v1.UnitState{}, paces: map[string]pace{}}
	w.poke() // an earlier fleetd may have left states
	return w
}

// read reports whether the states in the store are known.
func (w *stateWriter) read() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.loaded
}

// view returns the states that are, or are about to be, in the store.
func (w *stateWriter) view() map[string]v1.UnitState {
	w.mu.Lock()
	defer w.mu.Unlock()
	view := maps.Clone(w.written)
	for name, state := range w.want {
		if state == nil {
			delete(view, name)
		} else {
			view[name] = *state
		}
	}
	return view
}

func (w *stateWriter) put(name string, state v1.UnitState) { w.set(name, &state) }
func (w *stateWriter) delete(name string)                  { w.set(name, nil) }

func (w *stateWriter) set(name string, state *v1.UnitState) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.want[name] = state
	w.poke()
}

func (w *stateWriter) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// reload reads the stored states again.
func (w *stateWriter) reload() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loaded = false
	w.poke()
}

func (w *stateWriter) run(ctx context.Context) {
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	var later <-chan time.Time // when the first delayed state may be written
	for {
		select {
		case <-w.wake:
		case <-later:
		case <-ctx.Done():
			return
		}
		for {
			after, err := w.flush(ctx)
			if err == nil {
				retry.Reset()
				if later = nil; after > 0 {
					later = time.After(after)
				}
				break
			}
			w.log.V(1).Info("Writing states failed, will retry", "error", err.Error())
			if !store.Sleep(ctx, retry.Next()) {
				return
			}
		}
		// Further changes meanwhile join the transaction.
		if !store.Sleep(ctx, w.pause) {
			return
		}
	}
}

// flush writes the pending states and returns when to flush again; 0 for never.
func (w *stateWriter) flush(ctx context.Context) (after time.Duration, err error) {
	if err := w.load(ctx); err != nil {
		return 0, err
	}
	now := time.Now()
	w.mu.Lock()
	want := maps.Clone(w.want)
	groups, names, after := w.groups(now)
	w.mu.Unlock()
	results := store.Write(ctx, w.store, groups, store.Fence{})
	_, err = store.LastRevision(results)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, name := range names {
		if results[i].Err != nil { // it may have been written: treat the stored state as unknown
			w.written[name] = v1.UnitState{}
			continue
		}
		if want[name] == nil {
			delete(w.written, name)
			delete(w.paces, name)
		} else {
			w.written[name] = *want[name]
			w.paces[name] = w.paces[name].next(now)
		}
		if w.want[name] == want[name] { // not overtaken
			delete(w.want, name)
		}
	}
	return after, err
}

// groups returns an operation for each state that differs from the store's, and drops the others. after is when the
// first delayed one may be written.
func (w *stateWriter) groups(now time.Time) (groups []store.Group, names []string, after time.Duration) {
	for _, name := range slices.Sorted(maps.Keys(w.want)) {
		state := w.want[name]
		written, ok := w.written[name]
		if state == nil && !ok || state != nil && ok && sameState(*state, written) {
			delete(w.want, name)
			continue
		}
		if wait := w.paces[name].wait(now); wait > 0 && state != nil {
			after = earliest(after, wait)
			continue
		}
		op := store.Op{Key: w.row.Key(name)}
		if state != nil {
			value, err := w.row.Encode(*state)
			if err != nil {
				w.log.Error(err, "Writing the state failed", "unit", name)
				delete(w.want, name)
				continue
			}
			op.Value = value
		}
		groups, names = append(groups, store.Group{op}), append(names, name)
	}
	return groups, names, after
}

// A unit may change its state paceBurst times in a row, then once per interval. Otherwise one release that cannot start
// would make thousands of machines write all the time.
const (
	paceBurst = 20
	paceEvery = 3 * time.Second
)

// pace is when a unit's allowance is full again; zero is full.
type pace struct{ whole time.Time }

// wait returns how long to wait before the next write.
func (p pace) wait(now time.Time) time.Duration {
	return p.whole.Add(-(paceBurst - 1) * paceEvery).Sub(now)
}

// next is the pace after one more write.
func (p pace) next(now time.Time) pace {
	if p.whole.Before(now) {
		p.whole = now
	}
	return pace{p.whole.Add(paceEvery)}
}

// load reads the stored states, once.
func (w *stateWriter) load(ctx context.Context) error {
	if w.read() {
		return nil
	}
	written := map[string]v1.UnitState{}
	_, err := store.ListAll(ctx, w.store, w.row.Prefix(), store.ListOptions{}, func(kv store.KV) error {
		if name, ok := w.row.Name(kv.Key); ok {
			// An undecodable state differs from any other: it is replaced or deleted.
			written[name], _ = w.row.Decode(kv.Value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.written, w.loaded = written, true
	w.mu.Unlock()
	w.known()
	return nil
}
