package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

func TestFlappingUnitIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		keys := keyspace.New("")
		w := newStateWriter(Options{Store: s, Keys: keys, Machine: "m", Log: logr.Discard()}.withDefaults(), func() {})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.run(ctx) })
		defer running.Wait()
		defer cancel()
		writes := func() int64 {
			_, _, revision, err := s.Get(ctx, "none")
			require.NoError(t, err)
			return revision
		}
		stored := func(unit string) string {
			kv, ok, _, err := s.Get(ctx, keys.StatesOf("m").Key(unit))
			require.NoError(t, err)
			if !ok {
				return ""
			}
			state, err := keys.StatesOf("m").Decode(kv.Value)
			require.NoError(t, err)
			return state.InvocationID
		}
		flap := func(n int) {
			for i := range n {
				w.put("loops.service", v1.UnitState{InvocationID: fmt.Sprint(i)})
				time.Sleep(time.Second / 2)
			}
		}
		before := writes()
		flap(paceBurst)
		require.EqualValues(t, paceBurst, writes()-before, "a few changes are written at once")
		before = writes()
		flap(120) // a minute
		require.InDelta(t, float64(time.Minute/paceEvery), float64(writes()-before), 5)

		w.put("other.service", v1.UnitState{InvocationID: "x"})
		time.Sleep(time.Second / 10)
		require.Equal(t, "x", stored("other.service"), "no other unit waits")
		time.Sleep(paceEvery)
		require.Equal(t, "119", stored("loops.service"), "the last state comes")
		before = writes()
		time.Sleep(time.Hour)
		require.Equal(t, before, writes())
		flap(paceBurst)
		require.EqualValues(t, paceBurst, writes()-before, "it is settled: at once again")
		w.delete("loops.service")
		time.Sleep(time.Second)
		require.Empty(t, stored("loops.service"))
	})
}

// A write whose answer was lost may have been made: a state that returned to its old value is written, too.
func TestStateThatReturnsAfterALostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memstore.New(memstore.Options{})
		conn, row := s.Connect(), keyspace.New("").StatesOf("m")
		w := newStateWriter(Options{Store: conn, Keys: keyspace.New(""), Machine: "m", Log: logr.Discard()}.withDefaults(), func() {})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { w.run(ctx) })
		defer running.Wait()
		defer cancel()
		stored := func() string {
			time.Sleep(10 * time.Second) // longer than its retry pause
			kv, ok, _, err := s.Get(ctx, row.Key("a.service"))
			require.NoError(t, err)
			if !ok {
				return ""
			}
			state, err := row.Decode(kv.Value)
			require.NoError(t, err)
			return state.ActiveState
		}
		active, inactive := v1.UnitState{ActiveState: "active"}, v1.UnitState{ActiveState: "inactive"}
		w.put("a.service", inactive)
		require.Equal(t, "inactive", stored())
		conn.LoseAnswers(true)
		w.put("a.service", active)
		require.Equal(t, "active", stored())
		w.put("a.service", inactive)
		conn.LoseAnswers(false)
		require.Equal(t, "inactive", stored())

		w.delete("a.service")
		require.Empty(t, stored())
		conn.LoseAnswers(true)
		w.put("a.service", active)
		require.Equal(t, "active", stored())
		w.delete("a.service")
		conn.LoseAnswers(false)
		require.Empty(t, stored())
	})
}
