package schedule

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// TestAbsences: what a scheduler remembers of machines that are missed is what its plans depend on, besides what is stored.
func TestAbsences(t *testing.T) {
	start := func() *world {
		w := newWorld(t)
		w.limits.FreezeTimeout = time.Minute
		for i := range 5 {
			w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i+1)})
			w.add(t, fmt.Sprintf("app@%d.service", i+1))
		}
		w.converge()
		return w
	}
	// next are the plans of now: of this scheduler, of one that knows what it remembers, and of one that does not.
	next := func(w *world) (own, recalled, anew Decision) {
		absences := remembered(w.c)
		x := w.rebuilt()
		absences.recall(x)
		own = w.plan()
		return own, Plan(Input{Index: x, Now: w.now, Limits: w.limits, FrozenSince: w.since}), Plan(Input{Index: w.rebuilt(), Now: w.now, Limits: w.limits})
	}
	t.Run("moves are frozen for half of the time", func(t *testing.T) {
		w := start()
		for i := range 3 {
			w.deleteMachine(fmt.Sprint("m", i+1))
		}
		w.converge()
		w.now = w.now.Add(30 * time.Second)
		own, recalled, anew := next(w)
		require.Empty(t, recalled.Actions)
		require.Equal(t, [][]time.Duration{{30 * time.Second}, {time.Minute}}, [][]time.Duration{{own.After}, {anew.After}})
		require.Equal(t, own.After, recalled.After)
		require.Equal(t, []string{"m1", "m2", "m3"}, remembered(w.c).IDs())
	})
	t.Run("a third machine vanishes after two that were moved away from", func(t *testing.T) {
		w := start()
		w.limits.Settle = 20 * time.Second
		for i := range 2 {
			w.deleteMachine(fmt.Sprint("m", i+1))
		}
		require.Len(t, w.converge(), 2)
		w.now = w.now.Add(time.Second)
		w.deleteMachine("m3")
		own, recalled, anew := next(w)
		require.Equal(t, []bool{true, true, false}, []bool{own.Frozen, recalled.Frozen, anew.Frozen}, "the others were emptied")
		require.Equal(t, lines(own.Actions, true), lines(recalled.Actions, true))
		require.NotEqual(t, lines(own.Actions, true), lines(anew.Actions, true))
	})
	t.Run("a machine was seen", func(t *testing.T) {
		w := start()
		w.deleteMachine("m1")
		own, recalled, _ := next(w)
		require.NotEmpty(t, own.Actions, "it is moved away from at once")
		require.Equal(t, lines(own.Actions, true), lines(recalled.Actions, true))
	})
}
