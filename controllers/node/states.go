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
// unit never waits for etcd. What the store has already is not written again.
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
}

func newStateWriter(o Options, known func()) *stateWriter {
	w := &stateWriter{store: o.Store, row: o.Keys.StatesOf(o.Machine), log: o.Log, pause: o.Debounce, known: known,
		wake: make(chan struct{}, 1), written: map[string]v1.UnitState{}, want: map[string]*v1.UnitState{}}
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
	for {
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
		for {
			err := w.flush(ctx)
			if err == nil {
				retry.Reset()
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

// flush writes what is wanted and not written.
func (w *stateWriter) flush(ctx context.Context) error {
	if err := w.load(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	want := maps.Clone(w.want)
	groups, names := w.groups()
	w.mu.Unlock()
	results := store.Write(ctx, w.store, groups, store.Fence{})
	_, err := store.LastRevision(results)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, name := range names {
		if results[i].Err != nil {
			continue
		}
		if want[name] == nil {
			delete(w.written, name)
		} else {
			w.written[name] = *want[name]
		}
		if w.want[name] == want[name] { // not overtaken
			delete(w.want, name)
		}
	}
	return err
}

// groups returns an operation for each state that differs from the store's, and forgets those that do not.
func (w *stateWriter) groups() (groups []store.Group, names []string) {
	for _, name := range slices.Sorted(maps.Keys(w.want)) {
		state := w.want[name]
		written, ok := w.written[name]
		if state == nil && !ok || state != nil && ok && sameState(*state, written) {
			delete(w.want, name)
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
	return groups, names
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
