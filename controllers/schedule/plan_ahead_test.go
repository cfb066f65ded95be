package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// TestAhead: before an instance gets a file with which it moves, the machine that it moves to is asked to prepare that, and not the
// machine that it leaves. Its app takes nothing away before one is asked.
func TestAhead(t *testing.T) {
	const unit, side = "web@1.service", "web-side@1.service"
	const noMore = "PrepareNoMore web@1.service on m2: Prepare: nothing is to be prepared any more"
	next := v1.Preparation{Hash: "2", RequestedAt: "noon"}
	ask := func(t *testing.T, w *world, options string) {
		change(w, unit, func(u *index.UnitSpec) {
			f := fleet(t, unit, options)
			u.Next, u.NextFleet = next, &f
		})
	}
	start := func(t *testing.T, options string) *world {
		w := three(t)
		w.setMachine(index.MachineSpec{ID: "m2", Metadata: map[string]string{"disk": "ssd"}, Capacity: v1.Capacity{Memory: 4 << 30}})
		w.add(t, unit+" "+options, side+" MachineOf=web@1.service")
		w.converge()
		require.Equal(t, []string{"m1/" + side, "m1/" + unit}, w.where())
		for _, name := range []string{unit, side} {
			change(w, name, func(u *index.UnitSpec) { u.Owner = "web" })
			w.setActive("m1", name, true)
		}
		w.converge()
		return w
	}
	// gets has the app give it the file, now that no request reaches it.
	gets := func(w *world) {
		change(w, side, func(u *index.UnitSpec) { u.DesiredState = v1.Loaded })
		w.converge()
		w.setActive("m1", side, false)
		change(w, side, func(u *index.UnitSpec) { u.DesiredState = v1.Launched })
		change(w, unit, func(u *index.UnitSpec) {
			u.Hash, u.RequestedAt, u.Fleet, u.Next, u.NextFleet = next.Hash, next.RequestedAt, *u.NextFleet, v1.Preparation{}, nil
		})
	}
	here := func(w *world) v1.Preparation { return w.placements["m1/"+unit].Value.Next }
	for name, tc := range map[string]struct{ is, next, why string }{
		"MachineMetadata=": {"", "MachineMetadata=disk=ssd", "m1 has no metadata disk=ssd"},
		"MachineID=":       {"MachineID=m1", "MachineID=m2", "MachineID=m2 is not m1"},
		"Conflicts=":       {"", "MachineMetadata=disk=ssd\nConflicts=web@*", "m1 has no metadata disk=ssd"},
		"SpreadOver=":      {"", "MachineMetadata=disk=ssd\nSpreadOver=zone", "m1 has no metadata disk=ssd"},
		"Memory=":          {"", "MachineMetadata=disk=ssd\nMemory=3G", "m1 has no metadata disk=ssd"},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, tc.is)
			ask(t, w, tc.next+"\nImage=docker web")
			require.Equal(t, []string{"Prepare web@1.service on m2: Prepare: " + tc.why + ": it moves with its next file when m2 has pulled the image"}, w.converge())
			require.Equal(t, v1.Next{Preparation: next, Since: w.now.UTC()}, w.preparing["m2/"+unit].Next)
			require.Zero(t, here(w))
			require.Empty(t, w.unplaced)
			w.prepared("m2", unit, v1.PreparedReady)
			require.Empty(t, w.converge())
			gets(w)
			w.converge()
			require.Equal(t, []string{"m2/" + side, "m2/" + unit}, w.where())
			require.Equal(t, next.Hash, w.placements["m2/"+unit].Value.Hash)
			require.Empty(t, w.preparing)
		})
	}
	t.Run("it stays", func(t *testing.T) {
		w := start(t, "")
		ask(t, w, "MachineMetadata=zone=a\nConflicts=web@*\nMemory=3G")
		require.Len(t, w.converge(), 1)
		require.Equal(t, next, here(w))
		require.Empty(t, w.preparing)
	})
	t.Run("others take the room that it needs then", func(t *testing.T) {
		for _, options := range []string{"Memory=4G", "Ports=80", "Conflicts=db.service", "MachineOf=x.service"} {
			w := start(t, "Memory=1G")
			w.add(t, "db.service MachineID=m1;Memory=2G;Ports=80", "x.service MachineID=m2")
			w.converge()
			ask(t, w, options+"\nMachineMetadata=zone=a\nMachineMetadata=zone=b\nImage=docker web")
			w.setMachine(index.MachineSpec{ID: "m2", Metadata: map[string]string{"zone": "b"}})
			w.converge()
			require.Zero(t, here(w), options)
			require.Contains(t, w.preparing, "m2/"+unit, options)
			gets(w)
			w.converge()
			require.Contains(t, w.where(), "m2/"+unit, options)
		}
	})
	t.Run("where it is prepared, although another one runs less", func(t *testing.T) {
		w := start(t, "")
		ask(t, w, "MachineMetadata=disk=ssd\nImage=docker web")
		w.converge()
		w.prepared("m2", unit, v1.PreparedReady)
		w.setMachine(index.MachineSpec{ID: "m0", Metadata: map[string]string{"disk": "ssd"}})
		require.Empty(t, w.converge())
		gets(w)
		w.converge()
		require.Contains(t, w.where(), "m2/"+unit)
	})
	t.Run("the other machine dies, or is cordoned", func(t *testing.T) {
		for name, break_ := range map[string]func(w *world){
			"dies":         func(w *world) { w.deleteMachine("m2") },
			"cordoned":     func(w *world) { w.setConfig("m2", v1.MachineConfig{Cordoned: true}) },
			"does not fit": func(w *world) { w.setMachine(index.MachineSpec{ID: "m2"}) },
		} {
			w := start(t, "")
			ask(t, w, "MachineMetadata=disk=ssd\nImage=docker web")
			w.converge()
			w.prepared("m2", unit, v1.PreparedFailed)
			w.setMachine(index.MachineSpec{ID: "m3", Metadata: map[string]string{"disk": "ssd"}})
			require.Empty(t, w.converge())
			break_(w)
			require.Len(t, w.converge(), 2, name)
			require.Equal(t, []string{"m3/" + unit}, sortedKeys(w.preparing), name)
		}
	})
	t.Run("its machine matches after all", func(t *testing.T) {
		w := start(t, "")
		ask(t, w, "MachineMetadata=disk=ssd\nImage=docker web")
		w.converge()
		w.setMachine(index.MachineSpec{ID: "m1", Metadata: map[string]string{"disk": "ssd"}})
		require.Len(t, w.converge(), 2)
		require.Equal(t, next, here(w))
		require.Empty(t, w.preparing)
	})
	t.Run("it is taken back", func(t *testing.T) {
		w := start(t, "")
		ask(t, w, "MachineMetadata=disk=ssd\nImage=docker web")
		w.converge()
		change(w, unit, func(u *index.UnitSpec) { u.Next, u.NextFleet = v1.Preparation{}, nil })
		require.Equal(t, []string{noMore}, w.converge())
	})
	t.Run("a drain comes first", func(t *testing.T) {
		w := start(t, "Image=docker web")
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		w.converge()
		require.Equal(t, []string{"m2/" + unit}, sortedKeys(w.preparing))
		ask(t, w, "MachineMetadata=disk=ssd\nImage=docker web")
		require.Empty(t, w.converge(), "that machine prepares it as it is")
		require.Equal(t, "1", w.preparing["m2/"+unit].Next.Hash)
		ask(t, w, "MachineMetadata=zone=c\nImage=docker web")
		w.converge()
		require.Equal(t, []string{"m2/" + unit, "m3/" + unit}, sortedKeys(w.preparing), "if the one cannot be pulled, perhaps the other can")
		w.prepared("m2", unit, v1.PreparedReady)
		w.converge()
		require.True(t, w.placements["m1/"+unit].Value.Leaving)
	})
	t.Run("from a drained machine where no other fits it as it is", func(t *testing.T) {
		w := start(t, "MachineID=m1;Image=docker web")
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		w.converge()
		ask(t, w, "MachineMetadata=disk=ssd\nImage=docker web")
		w.converge()
		require.Equal(t, []string{"m2/" + unit}, sortedKeys(w.preparing))
		require.Contains(t, w.unplaced[unit].Message, "m1 is being drained")
	})
}

// TestAheadFitsNowhere: where no machine would take an instance with its next file none is asked, and it says why. It runs on.
func TestAheadFitsNowhere(t *testing.T) {
	const unit = "web@1.service"
	for options, why := range map[string]string{
		"MachineMetadata=disk=sdd": "its next file fits nowhere, so it stays on m1 as it is (m1 has no metadata disk=sdd): 0 of 2 other machines fit: 2 have no metadata disk=sdd",
		"MachineID=m9":             "its next file fits nowhere, so it stays on m1 as it is (MachineID=m9 is not m1): machine m9 (MachineID=) is not present",
		"MachineID=m2\nPorts=80":   "its next file fits nowhere, so it stays on m1 as it is (MachineID=m2 is not m1): machine m2 (MachineID=) does not fit: it has port 80 in use (by db.service)",
		"Memory=5G":                "its next file fits nowhere, so it stays on m1 as it is (m1 has too little memory for Memory=5G beside what was there first): 0 of 2 other machines fit: 2 have too little memory left (Memory=5G, the most that is left is 4G)",
		"MachineOf=gone.service":   "its next file fits nowhere, so it stays on m1 as it is (gone.service is not on m1 (MachineOf=)): it waits for gone.service (MachineOf=), which has no machine",
	} {
		w := three(t)
		w.add(t, unit+" MachineID=m1", "db.service MachineID=m2;Ports=80")
		w.converge()
		change(w, unit, func(u *index.UnitSpec) {
			f := fleet(t, unit, options)
			u.Owner, u.Next, u.NextFleet = "web", v1.Preparation{Hash: "2"}, &f
		})
		was := w.placements["m1/"+unit]
		require.Empty(t, w.converge(), options)
		require.Equal(t, was, w.placements["m1/"+unit])
		require.Equal(t, why, w.unplaced[unit].Message)
		require.True(t, w.unplaced[unit].Next)
		require.Empty(t, w.preparing)

		for _, m := range []string{"m2", "m3", "m9"} {
			w.setMachine(index.MachineSpec{ID: m, Metadata: map[string]string{"disk": "sdd"}, Capacity: v1.Capacity{Memory: 8 << 30}})
		}
		w.deleteUnit("db.service")
		w.add(t, "gone.service MachineID=m3")
		w.converge()
		require.Len(t, w.preparing, 1, options)
		require.Empty(t, w.unplaced, options)
	}
}

// TestAheadSaysTheSame: of several units that its next file clashes with, the one that was there first is named, whatever the order
// in which the plan heard of them: a new leader has nothing to add.
func TestAheadSaysTheSame(t *testing.T) {
	const unit = "web@1.service"
	w := three(t)
	w.add(t, unit+" MachineID=m1", "job@2.service MachineID=m1", "job@3.service MachineID=m1", "job@4.service MachineID=m2", "job@5.service MachineID=m3")
	for _, name := range []string{unit, "job@3.service", "job@2.service"} {
		w.put("m1", name, v1.Placement{Hash: w.units[name].Hash, DesiredState: v1.Launched})
	}
	w.converge()
	change(w, unit, func(u *index.UnitSpec) {
		f := fleet(t, unit, "Conflicts=job@*.service")
		u.Owner, u.Next, u.NextFleet = "web", v1.Preparation{Hash: "2"}, &f
	})
	w.converge()
	require.Contains(t, w.unplaced[unit].Message, "it stays on m1 as it is (web@1.service conflicts with job@3.service (")
	for range 10 { // it is built in another order each time
		require.Empty(t, Plan(Input{Index: w.rebuilt(), Now: w.now, Limits: w.limits}).Actions)
	}
}
