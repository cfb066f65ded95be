package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// TestAnAppIsSpreadEvenly: whatever else the machines run, and with what goes beside an instance.
func TestAnAppIsSpreadEvenly(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"m1", "m2", "m3"} {
		w.setMachine(index.MachineSpec{ID: id})
	}
	w.add(t, "router.service Global=true", "a.service MachineID=m1", "b.service MachineID=m1", "c.service MachineID=m1", "d.service MachineID=m2")
	w.converge()
	for i := range 6 {
		w.add(t, fmt.Sprintf("own@%d.service", i+1), fmt.Sprintf("own-discovery@%d.service MachineOf=own@%%i.service", i+1))
	}
	w.converge()
	require.Equal(t, map[string]int{"m1": 2, "m2": 2, "m3": 2}, w.instances("own@"))
	require.Equal(t, map[string]int{"m1": 2, "m2": 2, "m3": 2}, w.instances("own-discovery@"))

	w.setMachine(index.MachineSpec{ID: "m4"})
	require.Equal(t, []string{"Place router.service on m4: Placed: a global unit runs on every machine that matches"}, w.converge(), "nothing is moved to be spread")
}

// instances counts the units whose names begin with prefix by machine.
func (w *world) instances(prefix string) map[string]int {
	on := map[string]int{}
	for _, p := range w.placements {
		if strings.HasPrefix(p.UnitName, prefix) {
			on[p.MachineName]++
		}
	}
	return on
}

// TestFewestInstancesThenUnits: each instance goes to the machine with the fewest of its template of those that it may go to, then to that
// with the fewest units, and stays there.
func TestFewestInstancesThenUnits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		ids := make([]string, rapid.SampledFrom([]int{3, 12, 80}).Draw(t, "machines"))
		for i := range ids {
			ids[i] = fmt.Sprintf("m%02d", i)
			w.setMachine(index.MachineSpec{ID: ids[i]})
		}
		machine := rapid.SampledFrom(ids)
		closed, taken := map[string]bool{}, map[string]bool{}
		for range rapid.IntRange(0, len(ids)/2).Draw(t, "closed") {
			id := machine.Draw(t, "closed machine")
			closed[id] = true
			w.setConfig(id, v1.MachineConfig{Cordoned: true})
		}
		for i := range rapid.IntRange(0, len(ids)).Draw(t, "others") {
			id, port := machine.Draw(t, "of another"), rapid.Bool().Draw(t, "port")
			other := launched(fmt.Sprintf("other%d.service", i), unitfile.Fleet{})
			if port && !taken[id] {
				taken[id], other.Fleet.Ports = true, []int{80}
			}
			w.setUnit(other)
			w.put(id, other.Name, v1.Placement{Hash: other.Hash, DesiredState: v1.Launched})
		}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			name := fmt.Sprintf("app@%d.service", rapid.IntRange(0, i).Draw(t, "instance"))
			if _, there := w.units[name]; there {
				w.deleteUnit(name)
				for _, done := range w.converge() {
					require.NotContains(t, done, "Move", "it makes room, but nothing moves")
				}
				continue
			}
			app := launched(name, unitfile.Fleet{})
			if rapid.Bool().Draw(t, "needs port 80") {
				app.Fleet.Ports = []int{80}
			}
			want := w.emptiest(ids, func(id string) bool { return closed[id] || len(app.Fleet.Ports) > 0 && w.portUser(80, id, "") != "" })
			w.setUnit(app)
			w.converge()
			_, placed := w.placements[want+"/"+name]
			require.Equal(t, want != "", placed, "%s is not on %s: %v", name, want, w.where())
		}
	})
}

// emptiest returns the machine that an instance of app@ should go to; "" if all are excluded.
func (w *world) emptiest(ids []string, excluded func(id string) bool) string {
	apps, units := w.instances("app@"), w.instances("")
	allowed := slices.DeleteFunc(slices.Clone(ids), excluded)
	if len(allowed) == 0 {
		return ""
	}
	return slices.MinFunc(allowed, func(a, b string) int {
		return cmp.Or(cmp.Compare(apps[a], apps[b]), cmp.Compare(units[a], units[b]), strings.Compare(a, b))
	})
}
