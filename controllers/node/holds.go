package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// holds keeps units running that were moved elsewhere while this machine was cut off, until their replacements are
// active.
type holds struct {
	store   store.Interface
	keys    keyspace.Keys
	machine string
	log     logr.Logger
	wasAway func() bool
	hold    time.Duration
	changed func()
	asked   chan map[string]time.Time

	mu    sync.Mutex
	first bool                 // no pass since the start
	until map[string]time.Time // by unit; zero: not held
}

func newHolds(o Options, changed func()) *holds {
	return &holds{store: o.Store, keys: o.Keys, machine: o.Machine, log: o.Log, wasAway: o.WasAway, hold: o.HoldFor,
		changed: changed, asked: make(chan map[string]time.Time, 16), first: true, until: map[string]time.Time{}}
}

// of returns the held units among the orphans. New orphans are held for a while if the machine was away.
func (h *holds) of(now time.Time, orphans []string) map[string]time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	away := h.first || h.wasAway()
	h.first = false
	fresh, current := map[string]time.Time{}, map[string]time.Time{}
	for _, name := range orphans {
		until, seen := h.until[name]
		if !seen && away {
			until = now.Add(h.hold)
			fresh[name] = until
		}
		current[name] = until
	}
	h.until = current
	if len(fresh) > 0 {
		select {
		case h.asked <- fresh:
		default: // no search is running: wait for the deadline
		}
	}
	held := maps.Clone(current)
	maps.DeleteFunc(held, func(_ string, until time.Time) bool { return until.IsZero() })
	return held
}

func (h *holds) release(name, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.until[name].IsZero() {
		h.until[name] = time.Time{}
		h.log.Info("Releasing the unit", "unit", name, "reason", reason)
		h.changed()
	}
}

// run finds out where units were moved and waits until they are active there.
func (h *holds) run(ctx context.Context) {
	var searches sync.WaitGroup
	defer searches.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case units := <-h.asked:
			searches.Go(func() { h.search(ctx, units) })
		}
	}
}

func (h *holds) search(ctx context.Context, units map[string]time.Time) {
	ctx, cancel := context.WithDeadline(ctx, slices.MaxFunc(slices.Collect(maps.Values(units)), time.Time.Compare))
	defer cancel()
	elsewhere, err := h.elsewhere(ctx)
	for again := (store.Backoff{First: 200 * time.Millisecond, Max: 5 * time.Second}); err != nil; elsewhere, err = h.elsewhere(ctx) {
		h.log.Error(err, "Finding where units were moved failed, will retry: they run until then, or until the deadline", "units", len(units))
		if !store.Sleep(ctx, again.Next()) {
			return
		}
	}
	var wait sync.WaitGroup
	for _, name := range slices.Sorted(maps.Keys(units)) {
		machine, ok := elsewhere[name]
		if !ok {
			h.release(name, "PlacedNowhere")
			continue
		}
		wait.Go(func() {
			ctx, cancel := context.WithDeadline(ctx, units[name])
			defer cancel()
			placed, cancel := context.WithCancel(ctx)
			var watching sync.WaitGroup
			watching.Go(func() { defer cancel(); h.waitMoved(placed, machine, name) })
			err := h.waitActive(placed, machine, name)
			moved := placed.Err() != nil && ctx.Err() == nil
			cancel()
			watching.Wait()
			switch {
			case err == nil:
				h.release(name, "ReplacementActive")
			case moved: // its machine may have failed too
				h.search(ctx, map[string]time.Time{name: units[name]})
			default:
				h.log.Info("Replacement is not active yet", "unit", name, "machine", machine, "error", err.Error())
			}
		})
	}
	wait.Wait()
}

// elsewhere are the machines of all units that are placed on others.
func (h *holds) elsewhere(ctx context.Context) (map[string]string, error) {
	placements := h.keys.Placements()
	machines := map[string]string{}
	_, err := store.ListAll(ctx, h.store, placements.Prefix(), store.ListOptions{KeysOnly: true}, func(kv store.KV) error {
		name, _ := placements.Name(kv.Key)
		if machine, unit, ok := keyspace.Split(name); ok && machine != h.machine {
			machines[unit] = machine
		}
		return nil
	})
	return machines, err
}

// waitMoved returns when the unit is no longer placed on that machine, or ctx ends.
func (h *holds) waitMoved(ctx context.Context, machine, unit string) {
	_ = store.WaitKey(ctx, h.store, h.keys.PlacementsOf(machine).Key(unit), store.Gone)
}

// waitActive returns nil once that machine reports the unit as active.
func (h *holds) waitActive(ctx context.Context, machine, unit string) error {
	states := h.keys.StatesOf(machine)
	return store.WaitKey(ctx, h.store, states.Key(unit), func(kv store.KV, there bool) bool {
		state, err := states.Decode(kv.Value)
		return there && err == nil && instance.IsActive(&state) && state.DesiredState == v1.Launched
	})
}
