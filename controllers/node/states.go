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

// stateWriter reports states. It takes them at once and writes them, many in a transaction, as soon as etcd lets it: a
// unit never waits for etcd. What the store has already is not written again, and a unit that changes all the time, such
// as one that systemd starts again every second, is written now and then.
type stateWriter struct {
	store store.Interface
	row   keyspace.Collection[v1.UnitState]
	log   logr.Logger
	pause time.Duration
	known func() // called when the states in the store became known
	wake  chan struct{}

	mu      sync.Mutex
	loaded  bool                    // written is what the store has
	written map[string]v1.UnitState // by unit
	want    map[string]*v1.UnitState
	paces   map[string]pace
}

func newStateWriter(o Options, known func()) *stateWriter {
	w := &stateWriter{store: o.Store, row: o.Keys.StatesOf(o.Machine), log: o.Log, pause: o.Debounce, known: known,
		wake: make(chan struct{}, 1), written: map[string]v1.UnitState{}, want: map[string]*v1.UnitState{}, paces: map[string]pace{}}
	w.poke() // an earlier life may have left states that nothing else reminds of
	return w
}

// view returns the states as they are, or are about to be, in the store.
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

// reload has the store asked for what it has.
func (w *stateWriter) reload() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loaded = false
	w.poke()
}

func (w *stateWriter) run(ctx context.Context) {
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	var later <-chan time.Time // when the first withheld state may be written
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
		// Whatever changes meanwhile goes into one transaction.
		if !store.Sleep(ctx, w.pause) {
			return
		}
	}
}

// flush writes what is wanted and not written, and returns when there is more to write that has to wait; 0 for never.
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
		if results[i].Err != nil { // it may have been written all the same: what the store has is like no state that is known
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

// groups returns an operation for each state that differs from the store's, and forgets those that do not. After is
// when the first one that is withheld may be written.
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
				w.log.Error(err, "State cannot be written", "unit", name)
				delete(w.want, name)
				continue
			}
			op.Value = value
		}
		groups, names = append(groups, store.Group{op}), append(names, name)
	}
	return groups, names, after
}

// A unit's state is written at once for so many changes in a row; more of them, once in a while. One release that cannot
// start would otherwise have thousands of machines write all the time.
const (
	paceBurst = 20
	paceEvery = 3 * time.Second
)

// pace is when the allowance of a unit would be whole again; the zero value is a whole one.
type pace struct{ whole time.Time }

// wait returns how long to wait before the next write.
func (p pace) wait(now time.Time) time.Duration {
	return p.whole.Add(-(paceBurst - 1) * paceEvery).Sub(now)
}

// next is the pace after one write.
func (p pace) next(now time.Time) pace {
	if p.whole.Before(now) {
		p.whole = now
	}
	return pace{p.whole.Add(paceEvery)}
}

// load learns which states the store has, once.
func (w *stateWriter) load(ctx context.Context) error {
	w.mu.Lock()
	loaded := w.loaded
	w.mu.Unlock()
	if loaded {
		return nil
	}
	written := map[string]v1.UnitState{}
	_, err := store.ListAll(ctx, w.store, w.row.Prefix(), store.ListOptions{}, func(kv store.KV) error {
		if name, ok := w.row.Name(kv.Key); ok {
			// What cannot be read counts as a state that is like no other: it is replaced or deleted.
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
