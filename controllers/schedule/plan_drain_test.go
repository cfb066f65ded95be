package schedule

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// TestDrain: one unit of a template after the other, the next when all the others are active.
func TestDrain(t *testing.T) {
	w := three(t)
	for i := range 3 {
		w.add(t, fmt.Sprintf("app@%d.service MachineID=m1", i+1))
	}
	w.converge()
	for i := range 3 {
		name := fmt.Sprintf("app@%d.service", i+1)
		w.add(t, name)
		w.setActive("m1", name, true)
	}
	require.Empty(t, w.converge())
	w.setConfig("m1", v1.MachineConfig{Drain: true})
	for i, to := range []string{"m2", "m3", "m2"} {
		name := fmt.Sprintf("app@%d.service", i+1)
		require.Equal(t, []string{fmt.Sprintf("Move %s from m1 to %s: Drain: m1 is being drained", name, to)}, w.converge())
		w.setActive("m1", name, false)
		require.Empty(t, w.converge(), "the next one has to wait")
		w.setActive(to, name, true)
	}
	require.Empty(t, w.converge())
}

// TestDrainGoesOn: the unit that is waited for is stopped, deleted or broken instead of becoming active.
func TestDrainGoesOn(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"stopped": func(w *world) { u := w.units["app@1.service"]; u.DesiredState = v1.Loaded; w.setUnit(u) },
		"deleted": func(w *world) { w.deleteUnit("app@1.service") },
		"broken":  func(w *world) { u := w.units["app@1.service"]; u.Hash, u.Problem = "2", "line 1: broken"; w.setUnit(u) },
	} {
		t.Run(name, func(t *testing.T) {
			w := three(t)
			w.add(t, "app@1.service", "app@2.service")
			w.converge()
			w.setActive("m2", "app@2.service", true)
			w.setConfig("m2", v1.MachineConfig{Drain: true})
			require.Empty(t, w.converge(), "app@1 is not active yet")
			change(w)
			require.Contains(t, w.converge(), "Move app@2.service from m2 to m3: Drain: m2 is being drained")
		})
	}
}

// TestDrainAsksTheApp: units of an app leave when it has let them go, a whole group at once, and stay if that is taken back.
// Stopped units, and those of a dead machine, leave without that.
func TestDrainAsksTheApp(t *testing.T) {
	const asked = "Drain: m1 is being drained: it moves when its app has let it go"
	begin := func(t *testing.T) *world {
		w := three(t)
		for _, u := range []string{"web@1.service MachineID=m1", "web-side@1.service MachineOf=web@1.service"} {
			w.add(t, u)
		}
		w.converge()
		for _, u := range []string{"web@1.service", "web-side@1.service MachineOf=web@1.service"} {
			w.add(t, u)
		}
		for name, u := range w.units {
			u.Owner = "app"
			w.setUnit(u)
			w.setActive("m1", name, true)
		}
		require.Empty(t, w.converge())
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		require.Equal(t, []string{"Update web@1.service on m1: " + asked, "Update web-side@1.service on m1: " + asked}, w.converge())
		require.True(t, w.placements["m1/web@1.service"].Value.Leaving)
		return w
	}
	change := func(w *world, name string, f func(u *index.UnitSpec)) {
		u := w.units[name]
		f(&u)
		w.setUnit(u)
	}
	withdraw := func(w *world) {
		change(w, "web-side@1.service", func(u *index.UnitSpec) { u.DesiredState = v1.Loaded })
	}
	t.Run("let go", func(t *testing.T) {
		w := begin(t)
		withdraw(w)
		require.Equal(t, []string{"Update web-side@1.service on m1: StateChanged: the desired state is loaded"}, w.converge())
		change(w, "web@1.service", func(u *index.UnitSpec) { u.LetGo = "m2" })
		require.Empty(t, w.converge(), "that was another move")
		change(w, "web@1.service", func(u *index.UnitSpec) { u.LetGo = "m1" })
		require.Equal(t, []string{"Move web@1.service from m1 to m2: Drain: m1 is being drained", "Move web-side@1.service from m1 to m2: Drain: m1 is being drained"}, w.converge())
		require.False(t, w.placements["m2/web@1.service"].Value.Leaving)
	})
	t.Run("taken back", func(t *testing.T) {
		w := begin(t)
		w.setConfig("m1", v1.MachineConfig{})
		require.Equal(t, []string{"Update web@1.service on m1: Stays: it no longer has to leave m1", "Update web-side@1.service on m1: Stays: it no longer has to leave m1"}, w.converge())
	})
	t.Run("another one is started beside it", func(t *testing.T) {
		w := begin(t)
		for _, u := range []string{"web@2.service", "web-side@2.service MachineOf=web@2.service"} {
			w.add(t, u)
		}
		for name, u := range w.units {
			u.Owner = "app"
			w.setUnit(u)
			require.NotContains(t, strings.Join(w.converge(), "\n"), "no longer", "%s is not active yet", name)
		}
		require.True(t, w.placements["m1/web@1.service"].Value.Leaving)
		change(w, "web@1.service", func(u *index.UnitSpec) { u.LetGo = "m1" })
		withdraw(w)
		w.converge()
		require.False(t, w.placements["m1/web@1.service"].Value.Leaving, "the one beside it has failed: it is needed")
	})
	t.Run("stopped", func(t *testing.T) {
		w := begin(t)
		withdraw(w)
		change(w, "web@1.service", func(u *index.UnitSpec) { u.DesiredState = v1.Loaded })
		require.Len(t, w.converge(), 2)
		require.Equal(t, []string{"m2/web-side@1.service", "m2/web@1.service"}, w.where())
	})
	t.Run("its machine dies", func(t *testing.T) {
		w := begin(t)
		w.deleteMachine("m1")
		require.Len(t, w.converge(), 2)
		require.Equal(t, []string{"m2/web-side@1.service", "m2/web@1.service"}, w.where())
	})
	t.Run("no room elsewhere", func(t *testing.T) {
		w := begin(t)
		w.setConfig("m2", v1.MachineConfig{Cordoned: true})
		w.setConfig("m3", v1.MachineConfig{Cordoned: true})
		change(w, "web@1.service", func(u *index.UnitSpec) { u.LetGo = "m1" })
		w.converge()
		require.False(t, w.placements["m1/web@1.service"].Value.Leaving, "its app has it return to the routers")
	})
	t.Run("others take the room elsewhere", func(t *testing.T) {
		w := begin(t)
		w.add(t, "x.service Conflicts=web@*.service")
		require.Equal(t, []string{"Place x.service on m2: Placed: of the machines that fit, this one runs least"}, w.converge(), "m3 is left")
		w.add(t, "y.service Conflicts=web@*.service")
		require.Equal(t, []string{"Place y.service on m3: Placed: of the machines that fit, this one runs least",
			"Update web@1.service on m1: Stays: it no longer has to leave m1", "Update web-side@1.service on m1: Stays: it no longer has to leave m1"}, w.converge())
		require.Equal(t, "it stays on m1 for now (m1 is being drained): 0 of 2 other machines fit web@1.service together with web-side@1.service: "+
			"2 run a unit that conflicts (Conflicts=web@*.service of x.service, y.service)", w.unplaced["web@1.service"].Message)
	})
	t.Run("a former file takes it again", func(t *testing.T) {
		w := begin(t)
		w.setConfig("m3", v1.MachineConfig{Cordoned: true})
		a := index.UnitSpec{Name: "a.service", Hash: "1", DesiredState: v1.Launched, Owner: "a", Fleet: fleet(t, "a.service", "Conflicts=web@*.service")}
		w.setUnit(a) // known, and placed with another file
		a.Hash, a.Fleet = "2", fleet(t, "a.service", "MachineID=m2")
		w.setUnit(a)
		w.converge()
		require.True(t, w.placements["m1/web@1.service"].Value.Leaving)
		w.put("m2", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched, Leaving: true})
		w.converge()
		require.False(t, w.placements["m1/web@1.service"].Value.Leaving)
	})
}

// TestDrainAsksOneAtATime: the next instance is asked when the previous one has left.
func TestDrainAsksOneAtATime(t *testing.T) {
	w := three(t)
	for _, n := range []string{"1", "2"} {
		w.add(t, "web@"+n+".service MachineID=m1")
	}
	w.converge()
	for _, n := range []string{"1", "2"} {
		name := "web@" + n + ".service"
		w.add(t, name)
		u := w.units[name]
		u.Owner = "app"
		w.setUnit(u)
		w.setActive("m1", name, true)
	}
	w.setConfig("m1", v1.MachineConfig{Drain: true})
	require.Len(t, w.converge(), 1)
	u := w.units["web@2.service"]
	u.RequestedAt = "now" // a unit that changed is not asked either
	w.setUnit(u)
	require.Equal(t, []string{"Update web@2.service on m1: Requested: a person asked for it to be started again"}, w.converge())
	u = w.units["web@1.service"]
	u.LetGo = "m1"
	w.setUnit(u)
	require.Equal(t, []string{"Move web@1.service from m1 to m2: Drain: m1 is being drained"}, w.converge())
	w.setActive("m2", "web@1.service", true)
	require.Equal(t, []string{"Update web@2.service on m1: Drain: m1 is being drained: it moves when its app has let it go"}, w.converge())
}
