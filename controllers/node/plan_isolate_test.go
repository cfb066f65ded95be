package node

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/systemd/fake"
)

func TestPlanOfAMachineCutOff(t *testing.T) {
	runs := Record{Loaded: "A", Launched: "A"}
	isolated := Record{Loaded: "A", Stopped: true, Isolated: true}
	for _, tc := range []struct {
		name      string
		left      time.Duration // until it is cut off
		keeps     bool          // without OnPartition=stop
		desired   v1.DesiredState
		rec       Record
		unit      string
		confirmed bool
		disk      bool // etcd was not reached since the boot
		want      string
		after     time.Duration
	}{
		{"etcd answers", time.Second, false, v1.Launched, runs, "active", false, false, "", time.Second},
		{"cut off", 0, false, v1.Launched, runs, "active", false, false, "stop web@1.service CutOff\n", time.Second},
		{"cut off, and about to be restarted by systemd", -time.Minute, false, v1.Launched, runs, "activating", false, false, "stop web@1.service CutOff\n", time.Second},
		{"it stops", -time.Minute, false, v1.Launched, isolated, "deactivating", false, false, "", time.Second},
		{"it is stopped", -time.Minute, false, v1.Launched, isolated, "inactive", false, false, "", time.Second},
		{"it ended before", -time.Minute, false, v1.Launched, runs, "inactive", false, false, "note web@1.service CutOff\n", time.Second},
		{"something starts it", -time.Minute, false, v1.Launched, isolated, "active", false, false, "stop web@1.service CutOff\n", time.Second},
		{"etcd answers again, and may have moved it", time.Second, false, v1.Launched, isolated, "inactive", false, false, "", time.Second},
		{"etcd says that it is placed here", time.Second, false, v1.Launched, isolated, "inactive", true, false, "start web@1.service NotLaunched\n", time.Second},
		{"a boot without etcd", time.Second, false, v1.Launched, Record{Loaded: "A"}, "inactive", false, true, "", 0},
		{"a restart of fleetd without etcd", time.Second, false, v1.Launched, runs, "active", false, true, "", time.Second},
		{"it is to be loaded alone", -time.Minute, false, v1.Loaded, runs, "active", false, false, "stop web@1.service SetLoaded\n", 0},
		{"OnPartition=keep", -time.Minute, true, v1.Launched, runs, "active", false, false, "", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := Input{Now: t0, CutOffAt: t0.Add(tc.left), FromStore: !tc.disk, StatesRead: true,
				Placements: map[string]v1.Placement{app: {Hash: "A", DesiredState: tc.desired}}, Files: map[string]string{app: "A"},
				Texts: map[string]Text{"A": {FileHash: "A"}}, Records: map[string]Record{app: tc.rec}, Confirmed: map[string]bool{app: tc.confirmed},
				Relations: map[string]Relations{app: {Isolates: !tc.keeps}}, Units: map[string]SystemdUnit{app: unit(tc.unit, "i1")}, NoPulls: true}
			plan := Plan(in)
			var acts []Action
			for _, a := range plan.Actions {
				if a.Kind != WriteState {
					acts = append(acts, a)
				}
				if a.Reason == CutOff {
					require.True(t, a.Record.Isolated && a.Record.Launched == "", a.Record)
				}
				if a.Kind == Start {
					require.False(t, a.Record.Isolated)
				}
			}
			require.Equal(t, tc.want, transcript(Decision{Actions: acts}))
			require.Equal(t, tc.after, plan.After)
		})
	}
}

// lateWatch is a store whose watches deliver 5 s late while late is set.
type lateWatch struct {
	store.Interface
	late atomic.Bool
}

func (s *lateWatch) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	batches := make(chan store.Batch)
	go func() {
		defer close(batches)
		for batch := range s.Interface.Watch(ctx, prefix, after) {
			if s.late.Load() {
				store.Sleep(ctx, 5*time.Second)
			}
			select {
			case batches <- batch:
			case <-ctx.Done():
				return
			}
		}
	}()
	return batches
}

// A machine that is cut off stops what must not run twice, and nothing else. When etcd is back it starts that again, but not what was
// moved meanwhile, although its cache does not know that yet.
func TestAMachineThatIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const stops = stays + "[X-Fleet]\nOnPartition=stop\n"
		var cutOff atomic.Bool
		var watched *lateWatch
		m := startModel(t, fake.Options{}, func(o *Options) {
			watched = &lateWatch{Interface: o.Store}
			o.Store, o.BootGrace = watched, time.Second
			o.CutOffAt = func() time.Time {
				if cutOff.Load() {
					return time.Now()
				}
				return time.Now().Add(20 * time.Second)
			}
		})
		m.place("stays.service", stops)
		m.place("moves.service", stops)
		m.place("keeps.service", stays)
		active := func() []string { return m.active("keeps.service", "moves.service", "stays.service") }
		m.pass(time.Minute)
		require.ElementsMatch(t, []string{"keeps.service", "moves.service", "stays.service"}, active())

		watched.late.Store(true)
		m.conn.SetDown(true)
		cutOff.Store(true)
		m.pass(31 * time.Second)
		require.Equal(t, []string{"keeps.service"}, active())
		m.unplace("moves.service")
		m.pass(time.Minute)
		require.Equal(t, []string{"keeps.service"}, active())

		m.conn.SetDown(false)
		cutOff.Store(false)
		for range 100 {
			m.pass(100 * time.Millisecond)
			require.NotContains(t, active(), "moves.service")
		}
		require.ElementsMatch(t, []string{"keeps.service", "stays.service"}, active())
	})
}
