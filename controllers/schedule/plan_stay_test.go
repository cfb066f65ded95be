package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestAnInstanceAndItsSidekickChangeTogether: the announcer of an instance is launched again in the transaction that gives
// the instance its new file, and not before.
func TestAnInstanceAndItsSidekickChangeTogether(t *testing.T) {
	const app, sidekick = "web@1.service", "web-discovery@1.service"
	of := func(w *world, name string) v1.Placement { return w.placements["m1/"+name].Value }
	// rolling is in the middle of a roll-out: withdrawn, with the old file.
	rolling := func(t *testing.T, owner string) *world {
		w := newWorld(t)
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 1000}})
		for _, u := range []index.UnitSpec{
			{Name: app, Hash: "app1", DesiredState: v1.Launched, Owner: "web", Fleet: unitfile.Fleet{CPU: 500}},
			{Name: sidekick, Hash: "side1", DesiredState: v1.Loaded, Owner: owner, Fleet: unitfile.Fleet{MachineOf: []string{app}}},
		} {
			w.setUnit(u)
		}
		w.converge()
		require.Equal(t, v1.Placement{Hash: "side1", DesiredState: v1.Loaded}, of(w, sidekick))
		return w
	}
	update := func(w *world, cpu int64) {
		u, s := w.units[app], w.units[sidekick]
		u.Hash, u.Fleet.CPU = "app2", cpu
		s.Hash, s.DesiredState = "side2", v1.Launched
		w.setUnit(u)
		w.setUnit(s)
	}
	both := []v1.Placement{{Hash: "app2", DesiredState: v1.Launched}, {Hash: "side2", DesiredState: v1.Launched}}
	neither := []v1.Placement{{Hash: "app1", DesiredState: v1.Launched}, {Hash: "side1", DesiredState: v1.Loaded}}

	t.Run("in one transaction", func(t *testing.T) {
		w := rolling(t, "web")
		update(w, 500)
		var txns []int
		for _, a := range w.plan().Actions {
			require.Equal(t, Update, a.Kind)
			txns = append(txns, a.Txn)
		}
		require.Len(t, txns, 2)
		require.Equal(t, txns[0], txns[1])
		w.converge()
		require.Equal(t, both, []v1.Placement{of(w, app), of(w, sidekick)})
	})
	t.Run("the machine is away", func(t *testing.T) {
		w := rolling(t, "web")
		for _, id := range []string{"m2", "m3"} {
			w.setMachine(index.MachineSpec{ID: id})
		}
		w.converge()
		for _, id := range []string{"m1", "m2", "m3"} {
			w.deleteMachine(id)
		}
		update(w, 500)
		w.converge()
		require.Equal(t, neither, []v1.Placement{of(w, app), of(w, sidekick)})
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 1000}})
		w.converge()
		require.Equal(t, both, []v1.Placement{of(w, app), of(w, sidekick)})
	})
	former := []v1.Placement{{Hash: "app1", DesiredState: v1.Launched}, {Hash: "side1", DesiredState: v1.Launched}}
	t.Run("the new file asks for too much", func(t *testing.T) {
		w := rolling(t, "web")
		update(w, 2000)
		w.converge()
		require.Equal(t, former, []v1.Placement{of(w, app), of(w, sidekick)}, "what runs serves as before")
		require.Contains(t, w.unplaced, app)
		u := w.units[app]
		u.Hash, u.Fleet.CPU = "app1", 500 // reverted
		w.setUnit(u)
		w.converge()
		require.Equal(t, []v1.Placement{former[0], both[1]}, []v1.Placement{of(w, app), of(w, sidekick)})
	})
	t.Run("until there is room: then its app is asked first", func(t *testing.T) {
		w := rolling(t, "web")
		update(w, 2000)
		w.converge()
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 4000}})
		w.converge()
		asked := former[0]
		asked.Leaving = true
		require.Equal(t, []v1.Placement{asked, former[1]}, []v1.Placement{of(w, app), of(w, sidekick)})
		s := w.units[sidekick]
		s.DesiredState = v1.Loaded // withdrawn
		w.setUnit(s)
		w.converge()
		require.Equal(t, v1.Loaded, of(w, sidekick).DesiredState)
		require.Equal(t, asked, of(w, app), "its announcer is told to stop, and may run still")
		u := w.units[app]
		u.LetGo = "m1"
		w.setUnit(u)
		w.converge()
		require.Equal(t, both[0], of(w, app))
		s.DesiredState = v1.Launched
		w.setUnit(s)
		w.converge()
		require.Equal(t, both, []v1.Placement{of(w, app), of(w, sidekick)})
	})
	t.Run("the machine was away, and its instance never withdrawn", func(t *testing.T) {
		w := rolling(t, "web")
		s := w.units[sidekick]
		s.DesiredState = v1.Launched
		w.setUnit(s)
		for _, id := range []string{"m2", "m3"} {
			w.setMachine(index.MachineSpec{ID: id})
		}
		w.converge()
		for _, id := range []string{"m1", "m2", "m3"} {
			w.deleteMachine(id)
		}
		update(w, 500)
		w.converge()
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 1000}})
		w.converge()
		asked := former[0]
		asked.Leaving = true
		require.Equal(t, []v1.Placement{asked, former[1]}, []v1.Placement{of(w, app), of(w, sidekick)})
	})
	t.Run("the machine has returned since, and its announcer may run still", func(t *testing.T) {
		w := rolling(t, "web")
		w.revision++
		w.setMachine(index.MachineSpec{ID: "m1", Capacity: v1.Capacity{CPU: 1000}, Since: w.revision})
		update(w, 500)
		w.converge()
		asked := neither[0]
		asked.Leaving = true
		require.Equal(t, []v1.Placement{asked, neither[1]}, []v1.Placement{of(w, app), of(w, sidekick)},
			"an announcer that is started now is stopped a moment later, and what its machine said before is no answer to that")
		u := w.units[app]
		u.LetGo = "m1"
		w.setUnit(u)
		w.converge()
		require.Equal(t, both, []v1.Placement{of(w, app), of(w, sidekick)})
	})
	t.Run("the new file cannot be read", func(t *testing.T) {
		w := rolling(t, "web")
		update(w, 500)
		u := w.units[app]
		u.Problem = "it cannot be read"
		w.setUnit(u)
		w.converge()
		require.Equal(t, former, []v1.Placement{of(w, app), of(w, sidekick)})
		s := w.units[sidekick]
		s.DesiredState = v1.Inactive
		w.setUnit(s)
		w.converge()
		require.NotContains(t, w.placements, "m1/"+sidekick, "what takes it away is not held up")
	})
	t.Run("it is withdrawn all the same", func(t *testing.T) {
		w := rolling(t, "web")
		s := w.units[sidekick]
		s.DesiredState = v1.Launched
		w.setUnit(s)
		w.converge()
		u := w.units[app]
		u.Hash, u.Fleet.CPU = "app2", 2000
		s.DesiredState = v1.Loaded
		w.setUnit(u)
		w.setUnit(s)
		w.converge()
		require.Equal(t, neither, []v1.Placement{of(w, app), of(w, sidekick)})
	})
	t.Run("units of different owners do not wait for each other", func(t *testing.T) {
		w := rolling(t, "pair")
		update(w, 2000)
		w.converge()
		require.Equal(t, []v1.Placement{neither[0], both[1]}, []v1.Placement{of(w, app), of(w, sidekick)})
	})
}
