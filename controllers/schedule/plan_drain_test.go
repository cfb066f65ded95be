package schedule

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
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

// TestDrainGoesOn: who is waited for is stopped, deleted or broken instead of becoming active.
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
