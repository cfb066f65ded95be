package node

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// found knows what becomes of the units that were on the machine before fleetd was, as the original leaves them when it is killed.
// They are not stopped, and their files stay: etcd may not have them yet. One that is placed here is adopted. One that was placed
// elsewhere goes on until it is active there, and one that was stored and is deleted is given up.
type found struct {
	*holds
	unitFile func(name string) string
	asked    chan []string

	mu      sync.Mutex
	units   []string // the latest that were asked
	givenUp map[string]bool
	placed  map[string]string // see holds.elsewhere
	listed  time.Time
}

func newFound(h *holds, unitFile func(string) string) *found {
	return &found{holds: h, unitFile: unitFile, asked: make(chan []string, 1), givenUp: map[string]bool{}}
}

// markFound records the files that are there when fleetd is on the machine for the first time.
func (n *Node) markFound() error {
	for _, file := range []string{n.Layout.Launched(), n.Layout.Placements()} {
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	files, err := n.files.hashes(time.Now())
	if err != nil {
		return err
	}
	for name, hash := range files {
		if hash != "" {
			n.records.units[name] = Record{Found: true}
		}
	}
	if len(n.records.units) > 0 {
		n.Log.Info("Unit files were here before fleetd: their units are left alone until etcd says where they belong", "units", slices.Sorted(maps.Keys(n.records.units)))
	}
	return nil
}

// waitingForPlace returns the found units without a placement.
func waitingForPlace(in Input) []string {
	var names []string
	for name, rec := range in.Records {
		if _, placed := in.Placements[name]; rec.Found && !placed {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// of returns which of the found units are given up.
func (f *found) of(units []string) map[string]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(units, f.units) {
		select {
		case <-f.asked: // of an earlier pass
		default:
		}
		f.asked <- units
		f.units = units
	}
	maps.DeleteFunc(f.givenUp, func(name string, _ bool) bool { return !slices.Contains(units, name) })
	return maps.Clone(f.givenUp)
}

// run follows each unit until it has a placement here.
func (f *found) run(ctx context.Context) {
	var following sync.WaitGroup
	defer following.Wait()
	stop := map[string]context.CancelFunc{}
	defer func() {
		for _, cancel := range stop {
			cancel()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case units := <-f.asked:
			for name, cancel := range stop {
				if !slices.Contains(units, name) {
					cancel()
					delete(stop, name)
				}
			}
			for _, name := range units {
				if stop[name] != nil {
					continue
				}
				one, cancel := context.WithCancel(ctx)
				stop[name] = cancel
				following.Go(func() { f.follow(one, name) })
			}
		}
	}
}

// follow gives a unit up when its place is elsewhere, or nowhere. Which machines it is on is asked again and again only while it
// is stored and has no placement here.
func (f *found) follow(ctx context.Context, name string) {
	row := f.keys.Units()
	if store.WaitKey(ctx, f.store, row.Key(name), func(_ store.KV, there bool) bool { return there }) != nil {
		return
	}
	for again := (store.Backoff{First: 200 * time.Millisecond, Max: 30 * time.Second}); ; {
		_, there, _, err := f.store.Get(ctx, row.Key(name))
		if err == nil {
			switch {
			case !there:
				f.release(ctx, name, "Deleted")
				return
			case f.replaced(ctx, name):
				f.release(ctx, name, "PlacedElsewhere")
				return
			}
		}
		if !store.Sleep(ctx, again.Next()) {
			return
		}
	}
}

// replaced reports whether the unit is placed on another machine, and waits until it is active there, but not for ever. A global unit
// replaces none.
func (f *found) replaced(ctx context.Context, name string) bool {
	if global(f.unitFile(name), name) {
		return false
	}
	machine, err := f.machineOf(ctx, name)
	if err != nil || machine == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, f.hold)
	defer cancel()
	if err := f.waitActive(ctx, machine, name); err != nil {
		f.log.Info("Replacement is not active yet", "unit", name, "machine", machine, "error", err.Error())
	}
	return true
}

// global reports whether a unit file is that of a global unit.
func global(path, name string) bool {
	text, err := os.ReadFile(path)
	if err != nil {
		return false
	}
	parsed, err := unitfile.ParseName(name)
	if err != nil {
		return false
	}
	file, err := unitfile.Parse(string(text))
	if err != nil {
		return false
	}
	fleet, _ := unitfile.ParseFleet(file, parsed)
	return fleet.Global
}

// machineOf returns the other machine that a unit is placed on; "" for none. Units that ask at the same time share a reading.
func (f *found) machineOf(ctx context.Context, name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := time.Now(); now.Sub(f.listed) > time.Second/4 {
		placed, err := f.elsewhere(ctx)
		if err != nil {
			return "", err
		}
		f.placed, f.listed = placed, now
	}
	return f.placed[name], nil
}

func (f *found) release(ctx context.Context, name, reason string) {
	if ctx.Err() != nil {
		return // it has a placement here now
	}
	f.mu.Lock()
	f.givenUp[name] = true
	f.mu.Unlock()
	f.log.Info("Releasing the unit", "unit", name, "reason", reason)
	f.changed()
}
