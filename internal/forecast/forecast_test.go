package forecast

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

var keys = keyspace.New("")

// world is a cluster at rest, and what a person changes.
type world struct {
	t     testing.TB
	store *memstore.Store
	now   time.Time
}

func newWorld(t testing.TB, machines int) *world {
	w := &world{t: t, store: memstore.New(memstore.Options{}), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	lease, err := w.store.Grant(t.Context(), 24*time.Hour)
	require.NoError(t, err)
	for n := range machines {
		m := v1.Machine{Spec: v1.MachineSpec{Address: fmt.Sprintf("10.0.%d.%d", n/250, 1+n%250), Metadata: map[string]string{"zone": string(rune('a' + n%2))}, PortRange: v1.DefaultPortRange}}
		put(w, keys.Machines(), machine(n), m, lease)
		served := map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 1}}
		put(w, keys.Routers(), machine(n), v1.Router{Revision: 1, Served: served}, lease)
	}
	return w
}

func machine(n int) string { return fmt.Sprintf("%032x", n+1) }

func put[T any](w *world, row keyspace.Collection[T], name string, value T, lease store.LeaseID) {
	data, err := row.Encode(value)
	require.NoError(w.t, err)
	_, err = w.store.Commit(w.t.Context(), store.Txn{Ops: []store.Op{{Key: row.Key(name), Value: data, Lease: lease}}})
	require.NoError(w.t, err)
}

// manifests is a change that stores apps.
func manifests(texts ...string) Change {
	return func(ctx context.Context, s store.Interface) error {
		for _, text := range texts {
			objects, err := v1.ParseManifests([]byte(text))
			if err != nil {
				return err
			}
			if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: keys.Apps().Key(objects[0].App.Metadata.Name), Value: []byte(text)}}}); err != nil {
				return err
			}
		}
		return nil
	}
}

// plan foresees a change.
func (w *world) plan(whatIf wire.WhatIf, change Change) *wire.Foreseen {
	f, _, err := Run(w.t.Context(), w.store, Options{Keys: keys, Now: func() time.Time { return w.now }}, whatIf, change)
	require.NoError(w.t, err)
	return f
}

// run makes a change and lets it come to its end, as a forecast does.
func (w *world) run(change Change) *wire.Foreseen {
	copied, err := Read(w.t.Context(), w.store, keys, wire.WhatIf{})
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	r := newRun(copied, Options{Keys: keys, Now: func() time.Time { return w.now }})
	done := make(chan struct{})
	go func() { defer close(done); _ = r.known.Run(ctx) }()
	f, err := r.foresee(ctx, wire.WhatIf{}, change)
	require.NoError(w.t, err)
	cancel()
	<-done
	w.store, w.now = r.store, r.clock.now()
	return f
}

// lines are what is foreseen, as text.
func lines(f *wire.Foreseen) string {
	var b strings.Builder
	for _, a := range f.Actions {
		detail := ""
		if a.Detail {
			detail = "  "
		}
		fmt.Fprintf(&b, "%s%s\n", detail, strings.Join(strings.Fields(fmt.Sprint(a.Action, " ", a.App, " ", a.Unit, " ", a.From, " ", a.Machine, " ", a.Reason, ": ", a.Message)), " "))
	}
	for _, u := range f.Unplaced {
		fmt.Fprintf(&b, "unplaced %s\n", u.Unit)
	}
	for _, r := range f.Routes {
		fmt.Fprintf(&b, "hosts of %s: %v -> %v %v\n", r.App, r.Before, r.After, r.Refused)
	}
	return strings.ReplaceAll(b.String(), strings.Repeat("0", 31), "m")
}

func shop(replicas int, version, port string) string {
	return fmt.Sprintf(`apiVersion: fleet/v1
kind: App
metadata: {name: shop}
spec:
  replicas: %d
  exec: {command: [/bin/shop, %q]}
  ports: [{name: http, %s}]
  announce: {}
  route: {hosts: [shop.example.com]}
`, replicas, version, port)
}

const auto, fixed = "hostPort: auto", "port: 3000"

var update = flag.Bool("update", false, "write the golden files")

// What is foreseen of each change of a cluster of three machines, on which shop runs twice.
func TestForeseen(t *testing.T) {
	w := newWorld(t, 3)
	w.run(manifests(shop(2, "1", auto)))
	require.Empty(t, w.plan(wire.WhatIf{}, nil).Actions, "at rest nothing happens")
	for name, c := range map[string]struct {
		whatIf wire.WhatIf
		change Change
	}{
		"surge":              {change: manifests(shop(2, "2", auto))},
		"in place":           {change: manifests(shop(2, "2", fixed))},
		"scale up":           {change: manifests(shop(4, "1", auto))},
		"scale down":         {change: manifests(shop(1, "1", auto))},
		"delete":             {change: deletion("shop")},
		"two apps":           {change: manifests(shop(1, "1", auto), other)},
		"release and canary": {change: manifests(strings.NewReplacer("\n  announce: {}", "\n  announce: {}\n  update: {canary: {}}\n  release: {command: [/bin/migrate]}").Replace(shop(2, "2", auto)))},
		"drain":              {whatIf: wire.WhatIf{Drain: []string{machine(0)}}},
		"lose":               {whatIf: wire.WhatIf{Lose: []string{machine(0)}}},
		"lose zone":          {whatIf: wire.WhatIf{LoseMetadata: map[string]string{"zone": "a"}, Add: []wire.NewMachine{{Metadata: map[string]string{"zone": "c"}}}}},
		"lose and roll":      {whatIf: wire.WhatIf{Lose: []string{machine(0)}}, change: manifests(shop(3, "2", auto))},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.store.Revision()
			f := w.plan(c.whatIf, c.change)
			require.Equal(t, f, w.plan(c.whatIf, c.change), "the same is foreseen of the same")
			require.Equal(t, before, w.store.Revision(), "nothing is written")
			file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(lines(f)), 0o644))
			}
			golden, err := os.ReadFile(file)
			require.NoError(t, err)
			require.Equal(t, string(golden), lines(f))
		})
	}
}

// other wants more instances than there are machines for its port, and a host that shop has.
const other = `apiVersion: fleet/v1
kind: App
metadata: {name: other}
spec:
  replicas: 4
  exec: {command: [/bin/other]}
  ports: [{port: 4000}]
  announce: {}
  route: {hosts: [shop.example.com]}
`

func deletion(app string) Change {
	return func(ctx context.Context, s store.Interface) error {
		_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: keys.Apps().Key(app)}}})
		return err
	}
}

// What is paused, or stopped by hand, stays so in a forecast.
func TestForeseesWishes(t *testing.T) {
	w := newWorld(t, 3)
	w.run(manifests(shop(2, "1", auto)))
	put(w, keys.Rollouts(), "shop", v1.RolloutWish{Paused: true}, 0)
	require.Equal(t, []string{"accept"}, actions(w.plan(wire.WhatIf{}, manifests(shop(2, "2", auto)))), "a roll-out is paused")
	put(w, keys.Rollouts(), "shop", v1.RolloutWish{}, 0)
	require.Contains(t, actions(w.plan(wire.WhatIf{}, manifests(shop(2, "2", auto)))), "replace")
}

func actions(f *wire.Foreseen) (list []string) {
	for _, a := range f.Actions {
		list = append(list, a.Action)
	}
	return list
}
