package node

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

// TestAMachineThatReturns: when a machine that was cut off stops what was moved away from it. It runs in both places until
// the replacement is active, and for HoldFor at most.
func TestAMachineThatReturns(t *testing.T) {
	const unit = "web@1.service"
	keys := keyspace.New("")
	placed := func(s store.Interface) { put(t, s, keys.Placements(), "m2/"+unit, launch("A")) }
	state := func(s store.Interface, active string, desired v1.DesiredState) {
		put(t, s, keys.States(), "m2/"+unit, v1.UnitState{ActiveState: active, DesiredState: desired})
	}
	for _, c := range []struct {
		name   string
		away   bool
		before func(s store.Interface)
		later  func(s store.Interface) // after 10 s
		want   []time.Duration         // whether it is held at 0, 5, 15 and 31 s
	}{
		{"the replacement is active", true, func(s store.Interface) { placed(s); state(s, "active", v1.Launched) }, nil, nil},
		{"it becomes active", true, func(s store.Interface) { placed(s); state(s, "activating", v1.Launched) },
			func(s store.Interface) { state(s, "active", v1.Launched) }, []time.Duration{0, 5 * time.Second}},
		{"it is deleted later", true, func(s store.Interface) { placed(s); state(s, "activating", v1.Launched) },
			func(s store.Interface) {
				_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Placements().Key("m2/" + unit)}}})
				require.NoError(t, err)
			}, []time.Duration{0, 5 * time.Second}},
		{"it fails", true, func(s store.Interface) { placed(s); state(s, "failed", v1.Launched) }, nil, []time.Duration{0, 5 * time.Second, 15 * time.Second}},
		{"it is active and to be stopped", true, func(s store.Interface) { placed(s); state(s, "active", v1.Loaded) }, nil, []time.Duration{0, 5 * time.Second, 15 * time.Second}},
		{"its machine is gone as well, and it becomes active on a third", true, func(s store.Interface) { placed(s); state(s, "activating", v1.Launched) },
			func(s store.Interface) {
				put(t, s, keys.Placements(), "m3/"+unit, launch("A"))
				put(t, s, keys.States(), "m3/"+unit, v1.UnitState{ActiveState: "active", DesiredState: v1.Launched})
				_, err := s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: keys.Placements().Key("m2/" + unit)}}})
				require.NoError(t, err)
			}, []time.Duration{0, 5 * time.Second}},
		{"etcd does not answer at first", true, func(s store.Interface) { placed(s); state(s, "active", v1.Launched); s.(*memstore.Store).SetDown(true) },
			func(s store.Interface) { s.(*memstore.Store).SetDown(false) }, []time.Duration{0, 5 * time.Second}},
		{"etcd does not answer", true, func(s store.Interface) { placed(s); state(s, "active", v1.Launched); s.(*memstore.Store).SetDown(true) }, nil,
			[]time.Duration{0, 5 * time.Second, 15 * time.Second}},
		{"it was deleted meanwhile", true, func(store.Interface) {}, nil, nil},
		{"the machine was not away", false, placed, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := memstore.New(memstore.Options{})
				c.before(s)
				h := newHolds(Options{Store: s, Keys: keys, Machine: "m1", Log: logr.Discard(), HoldFor: 30 * time.Second, WasAway: func() bool { return c.away }}, func() {})
				h.first = false // fleetd was running all the time
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() { h.run(ctx) })
				defer running.Wait()
				defer cancel()

				start := time.Now()
				h.of(start, []string{unit})
				var held []time.Duration
				for _, at := range []time.Duration{0, 5 * time.Second, 15 * time.Second, 31 * time.Second} {
					if at > 10*time.Second && c.later != nil {
						c.later(s)
					}
					time.Sleep(time.Until(start.Add(at)))
					synctest.Wait()
					until := h.of(time.Now(), []string{unit})
					plan := Plan(Input{FromStore: true, Now: time.Now(), Holds: until, Files: map[string]string{unit: "A"},
						Records: map[string]Record{unit: {Loaded: "A", Launched: "A"}}, Units: map[string]SystemdUnit{unit: {LoadState: "loaded", ActiveState: "active"}}})
					if !slices.ContainsFunc(plan.Actions, func(a Action) bool { return a.Kind == Stop }) {
						held = append(held, at)
					}
				}
				require.Equal(t, c.want, held)
			})
		})
	}
}

// TestABootAsksEtcdFirst: a machine that was off does not start what was moved away from it, if etcd answers in time. If not,
// it starts what it had.
func TestABootAsksEtcdFirst(t *testing.T) {
	n := odd(t, func(l layout.Layout) {
		require.NoError(t, os.WriteFile(l.Placements(), []byte(`{"web@1.service":{"hash":"A","desiredState":"launched"}}`), 0o644))
	}, fake.Options{})
	require.Contains(t, n.disk.placements, "web@1.service")
	require.Equal(t, 5*time.Second, n.BootGrace, "as docs/guarantees.md says")
	require.Equal(t, 30*time.Second, n.HoldFor, "as docs/guarantees.md says")
	n.started = time.Now()
	result, err := n.Reconcile(t.Context(), controller.Singleton{})
	require.NoError(t, err)
	require.InDelta(t, n.BootGrace, result.RequeueAfter, float64(time.Second))
	require.Empty(t, n.states.view(), "it has looked at nothing")

	n.started = time.Now().Add(-n.BootGrace)
	_, err = n.Reconcile(t.Context(), controller.Singleton{})
	require.NoError(t, err)
	require.Contains(t, n.states.want, "web@1.service")
}

func put[T any](t *testing.T, s store.Interface, row keyspace.Collection[T], name string, value T) {
	t.Helper()
	data, err := row.Encode(value)
	require.NoError(t, err)
	_, err = s.Commit(t.Context(), store.Txn{Ops: []store.Op{{Key: row.Key(name), Value: data}}})
	require.NoError(t, err)
}
