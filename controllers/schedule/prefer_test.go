package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// TestPreferMetadata: a unit goes where most of its preferences are met, and elsewhere rather than nowhere, which its
// placement notes.
func TestPreferMetadata(t *testing.T) {
	const ssd = "it would rather be on a machine with metadata disk=ssd"
	begin := func(t *testing.T) *world {
		w := newWorld(t)
		for id, labels := range map[string]map[string]string{
			"m1": {"zone": "a"}, "m2": {"zone": "a", "disk": "hdd"}, "m3": {"zone": "b", "disk": "ssd"},
		} {
			w.setMachine(index.MachineSpec{ID: id, Metadata: labels})
		}
		return w
	}
	t.Run("the machine that meets most", func(t *testing.T) {
		w := begin(t)
		w.add(t, `a.service PreferMetadata=disk=ssd;PreferMetadata=disk=hdd;PreferMetadata=zone=a`, "b.service PreferMetadata=disk=ssd;PreferMetadata=zone=c")
		require.Equal(t, []string{
			"Place a.service on m2: Placed: of the machines that fit, this one runs least",
			"Place b.service on m3: Placed: of the machines that fit, this one runs least; it would rather be on a machine with metadata zone=c",
		}, w.converge())
	})
	t.Run("rather than nowhere", func(t *testing.T) {
		w := begin(t)
		for _, name := range []string{"a@1.service", "a@2.service"} {
			w.add(t, name+" PreferMetadata=disk=ssd;Conflicts=a@*.service")
		}
		require.Equal(t, []string{
			"Place a@1.service on m3: Placed: of the machines that fit, this one runs least",
			"Place a@2.service on m1: Placed: of the machines that fit, this one runs the fewest instances of its template; " + ssd,
		}, w.converge())
		require.Empty(t, w.placements["m3/a@1.service"].Value.Note)
		require.Equal(t, ssd, w.placements["m1/a@2.service"].Value.Note)
		require.Empty(t, w.unplaced)
		require.Empty(t, w.converge())
	})
	t.Run("spread comes first", func(t *testing.T) {
		w := begin(t)
		w.add(t, "a@1.service PreferMetadata=disk=ssd;SpreadOver=zone", "a@2.service PreferMetadata=disk=ssd;SpreadOver=zone", "a@3.service PreferMetadata=disk=hdd;SpreadOver=zone")
		w.converge()
		require.Equal(t, []string{"m1/a@2.service", "m2/a@3.service", "m3/a@1.service"}, w.where())
	})
	t.Run("it stays, and its note follows the machine", func(t *testing.T) {
		w := begin(t)
		w.setConfig("m3", v1.MachineConfig{Cordoned: true})
		w.add(t, "a.service PreferMetadata=disk=ssd")
		w.converge()
		w.setConfig("m3", v1.MachineConfig{})
		require.Empty(t, w.converge(), "a unit that has a machine is not moved for a better one")
		w.setConfig("m1", v1.MachineConfig{Metadata: map[string]string{"disk": "ssd"}})
		require.Equal(t, []string{"Update a.service on m1: Preference: the machine has what the unit prefers"}, w.converge())
		w.setConfig("m1", v1.MachineConfig{})
		require.Equal(t, []string{"Update a.service on m1: Preference: " + ssd}, w.converge())
		w.deleteMachine("m1")
		w.converge()
		require.Equal(t, []string{"m3/a.service"}, w.where())
	})
}

// TestPreferMachine: a unit goes to the machine that it names, such as one that runs it already, and elsewhere rather than nowhere.
func TestPreferMachine(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"m1", "m2", "m3"} {
		w.setMachine(index.MachineSpec{ID: id, Metadata: map[string]string{"disk": id}})
	}
	prefer := func(name, machine, options string) {
		spec := launched(name, fleet(t, name, options))
		spec.Prefer = machine
		w.setUnit(spec)
	}
	prefer("a.service", "m3", "PreferMetadata=disk=m2")
	prefer("b.service", "m3", "Conflicts=a.service")
	prefer("c.service", "gone", "PreferMetadata=disk=m2")
	prefer("d.service", "m3", "")
	prefer("e.service", "", "MachineOf=d.service")
	w.converge()
	require.Equal(t, []string{"m1/b.service", "m2/c.service", "m3/a.service", "m3/d.service", "m3/e.service"}, w.where())
	w.deleteMachine("m3")
	w.converge()
	w.setMachine(index.MachineSpec{ID: "m3"})
	require.Empty(t, w.converge(), "a unit that has a machine is not moved back")
}
