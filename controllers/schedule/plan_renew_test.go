package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// TestRenewGlobal: a global unit of no app gets a new file on one machine after the other.
func TestRenewGlobal(t *testing.T) {
	const unit = "agent.service"
	renews := func(machine string) string {
		return "Update agent.service on " + machine + ": HashChanged: the unit's file changed"
	}
	waits := func(t *testing.T, w *world, machine, on string) {
		require.Equal(t, "it stays on "+machine+" with its former file for now: it is not active with its new file on "+on+" yet", w.unplaced[unit].Message)
	}
	start := func(t *testing.T, owner string) *world {
		w := three(t)
		w.add(t, unit+" Global=true")
		change(w, unit, func(u *index.UnitSpec) { u.Owner = owner })
		w.converge()
		for _, m := range []string{"m1", "m2", "m3"} {
			w.setActive(m, unit, true)
		}
		require.Empty(t, w.converge())
		change(w, unit, func(u *index.UnitSpec) { u.Hash = "2" })
		return w
	}
	t.Run("one by one", func(t *testing.T) {
		w := start(t, "")
		require.Equal(t, []string{renews("m1")}, w.converge())
		waits(t, w, "m2", "m1")
		w.setUnit(w.units[unit])
		require.Empty(t, w.converge(), "it is still active with the former file")
		w.setActive("m1", unit, false)
		require.Empty(t, w.converge())
		w.setActive("m1", unit, true)
		require.Equal(t, []string{renews("m2")}, w.converge())
		waits(t, w, "m3", "m2")
		w.setActive("m2", unit, true)
		require.Equal(t, []string{renews("m3")}, w.converge())
		require.Empty(t, w.unplaced)
	})
	t.Run("the file that does not start is replaced", func(t *testing.T) {
		w := start(t, "")
		w.converge()
		w.setActive("m1", unit, false)
		change(w, unit, func(u *index.UnitSpec) { u.Hash = "3" })
		require.Equal(t, renews("m1"), w.converge()[0])
		require.Equal(t, "1", w.placements["m2/"+unit].Value.Hash)
	})
	t.Run("the machine that has it goes", func(t *testing.T) {
		w := start(t, "")
		w.converge()
		w.deleteMachine("m1")
		require.Equal(t, renews("m2"), w.converge()[0])
	})
	t.Run("where it does not run there is nothing to keep", func(t *testing.T) {
		w := start(t, "")
		w.setActive("m2", unit, false)
		require.Equal(t, []string{renews("m1"), renews("m2")}, w.converge())
		waits(t, w, "m3", "m1")
	})
	t.Run("a machine without room waits for something else", func(t *testing.T) {
		w := three(t)
		w.setMachine(index.MachineSpec{ID: "m4", Capacity: v1.Capacity{CPU: 1000, Memory: 1}})
		w.add(t, unit+" Global=true;Memory=1G")
		w.converge()
		for _, m := range []string{"m1", "m2", "m3"} {
			w.setActive(m, unit, true)
		}
		change(w, unit, func(u *index.UnitSpec) { u.Hash = "2" })
		require.Equal(t, []string{renews("m1")}, w.converge())
		w.setActive("m1", unit, true)
		require.Equal(t, []string{renews("m2")}, w.converge())
	})
	t.Run("it is to stop", func(t *testing.T) {
		w := start(t, "")
		change(w, unit, func(u *index.UnitSpec) { u.DesiredState = v1.Loaded })
		require.Len(t, w.converge(), 3)
		require.Equal(t, "2", w.placements["m3/"+unit].Value.Hash)
	})
	t.Run("an app decides for itself", func(t *testing.T) {
		require.Equal(t, []string{renews("m1"), renews("m2"), renews("m3")}, start(t, "agent").converge())
	})
}
