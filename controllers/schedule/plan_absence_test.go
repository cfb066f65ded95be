package schedule

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// TestFreeze: most machines vanish at once.
func TestFreeze(t *testing.T) {
	vanish := func(t *testing.T) *world {
		w := newWorld(t)
		for i := range 5 {
			w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i+1)})
			w.add(t, fmt.Sprintf("app@%d.service", i+1))
		}
		w.converge()
		for i := range 3 {
			w.deleteMachine(fmt.Sprint("m", i+1))
		}
		require.Equal(t, []string{"FreezeMoves : MachinesVanished: 3 of 5 machines are missed: nothing is moved off them until they return, or drain is set for those that will not"}, w.converge())
		return w
	}
	moves := func(from ...string) []string {
		want := []string{fmt.Sprintf("UnfreezeMoves : MachinesBack: %d of %d machines are missed: what they ran may be moved again", len(from), 2+len(from))}
		for i, m := range from {
			want = append(want, fmt.Sprintf("Move app@%s.service from %s to m%d: MachineGone: its machine %s is gone", m[1:], m, 4+i%2, m))
		}
		return want
	}
	t.Run("they return", func(t *testing.T) {
		w := vanish(t)
		for i := range 3 {
			w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i+1)})
		}
		require.Equal(t, []string{"UnfreezeMoves : MachinesBack: 0 of 5 machines are missed: what they ran may be moved again"}, w.converge())
	})
	t.Run("one returns", func(t *testing.T) {
		w := vanish(t)
		w.setMachine(index.MachineSpec{ID: "m2"})
		got := w.converge()
		require.Equal(t, "UnfreezeMoves : MachinesBack: 2 of 5 machines are missed: what they ran may be moved again", got[0])
		require.Len(t, got, 3)
	})
	t.Run("a person says that one is gone for good", func(t *testing.T) {
		w := vanish(t)
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		require.Equal(t, "UnfreezeMoves : MachinesBack: 2 of 4 machines are missed: what they ran may be moved again", w.converge()[0])
	})
	t.Run("a changed file waits for the machine", func(t *testing.T) {
		w := vanish(t)
		u := w.units["app@1.service"]
		u.Hash, u.Fleet.Conflicts = "changed", []string{"other@*.service"}
		w.setUnit(u)
		require.Empty(t, w.converge(), "what it conflicts with may be on the machine")
		require.NotEqual(t, "changed", w.placements["m1/app@1.service"].Value.Hash)
		w.setMachine(index.MachineSpec{ID: "m1"})
		w.converge()
		require.Equal(t, "changed", w.placements["m1/app@1.service"].Value.Hash)
	})
	t.Run("time passes", func(t *testing.T) {
		w := vanish(t)
		w.limits.FreezeTimeout = time.Minute
		require.Equal(t, time.Minute, w.plan().After)
		w.now = w.now.Add(time.Minute)
		require.Equal(t, moves("m1", "m2", "m3"), w.converge())
	})
	t.Run("time has passed, and there is room later", func(t *testing.T) {
		w := vanish(t)
		w.limits.FreezeTimeout = time.Minute
		w.plan()
		for _, name := range []string{"app@1.service", "app@2.service", "app@3.service"} {
			u := w.units[name]
			u.Fleet.Conflicts = []string{"app@4.service", "app@5.service"}
			w.setUnit(u)
		}
		w.now = w.now.Add(time.Minute)
		require.Equal(t, []string{"UnfreezeMoves : MachinesBack: 3 of 5 machines are missed: what they ran may be moved again"}, only(w.converge(), "UnfreezeMoves", "FreezeMoves", "Move"))
		w.now = w.now.Add(time.Second)
		w.setMachine(index.MachineSpec{ID: "m6"})
		require.Equal(t, []string{
			"Move app@1.service from m1 to m6: MachineGone: its machine m1 is gone",
			"Move app@2.service from m2 to m6: MachineGone: its machine m2 is gone",
			"Move app@3.service from m3 to m6: MachineGone: its machine m3 is gone",
		}, w.converge(), "the same machines are missed: it is over")
	})
	t.Run("others vanish when they were back", func(t *testing.T) {
		w := vanish(t)
		w.limits.FreezeTimeout = time.Minute
		w.plan()
		w.now = w.now.Add(40 * time.Second)
		for i := range 3 {
			w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i+1)})
		}
		w.converge()
		for i := range 3 {
			w.deleteMachine(fmt.Sprint("m", i+1))
		}
		require.Len(t, w.converge(), 1)
		w.now = w.now.Add(40 * time.Second)
		require.Empty(t, w.converge())
		require.Equal(t, 20*time.Second, w.plan().After)
	})
	t.Run("new units are placed", func(t *testing.T) {
		w := vanish(t)
		w.add(t, "new.service")
		require.Equal(t, []string{"Place new.service on m4: Placed: of the machines that fit, this one runs least"}, w.converge())
	})
}

// only returns the actions of these kinds.
func only(actions []string, kinds ...string) []string {
	return slices.DeleteFunc(actions, func(a string) bool {
		return !slices.ContainsFunc(kinds, func(kind string) bool { return strings.HasPrefix(a, kind+" ") })
	})
}

// TestGrace: at the start machines have some time to report.
func TestGrace(t *testing.T) {
	w := newWorld(t)
	w.limits.Grace = 0 // the default
	w.put("m2", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	w.put("m3", "b.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	w.add(t, "a.service", "b.service")
	w.setMachine(index.MachineSpec{ID: "m1"})
	require.Empty(t, w.converge())
	w.now = w.now.Add(10 * time.Second)
	w.setMachine(index.MachineSpec{ID: "m3"})
	require.Empty(t, w.converge())
	require.Equal(t, 20*time.Second, w.plan().After)
	w.now = w.now.Add(20 * time.Second)
	require.Equal(t, []string{"Move a.service from m2 to m1: MachineGone: its machine m2 is gone"}, w.converge())
	w.deleteMachine("m1") // one that was seen gets no grace
	require.Equal(t, []string{"Move a.service from m1 to m3: MachineGone: its machine m1 is gone"}, w.converge())
}

// TestGraceOfANewLeader: there is no grace if the cluster was up when the machine vanished together with the leader.
func TestGraceOfANewLeader(t *testing.T) {
	for _, tc := range []struct {
		name  string
		since int64 // of m1; a.service was placed on m2 at 11
		want  []string
	}{
		{"m1 was there already", 5, []string{"Move a.service from m2 to m1: MachineGone: its machine m2 is gone"}},
		{"m1 came later", 12, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.limits.Grace, w.revision = 0, 10 // the default
			w.put("m2", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
			w.add(t, "a.service")
			w.revision = 20 // and changed since
			w.put("m2", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
			w.setMachine(index.MachineSpec{ID: "m1", Since: tc.since})
			require.Equal(t, tc.want, w.converge())
		})
	}
}

// TestSettle: machines that the network loses vanish one by one, as their leases expire. Their units must not all move to
// those that vanish next.
func TestSettle(t *testing.T) {
	vanish := func(t *testing.T, n int) (w *world, moves []string) {
		w = newWorld(t)
		w.limits.Grace = 30 * time.Second
		for i := range 10 {
			w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i)})
			w.add(t, fmt.Sprintf("app@%d.service", i))
		}
		w.converge()
		for i := range n {
			w.now = w.now.Add(time.Second)
			w.deleteMachine(fmt.Sprint("m", i))
			moves = append(moves, w.converge()...)
		}
		return w, moves
	}
	first := []string{"Move app@0.service from m0 to m1: MachineGone: its machine m0 is gone",
		"Move app@0.service from m1 to m2: MachineGone: its machine m1 is gone",
		"Move app@1.service from m1 to m3: MachineGone: its machine m1 is gone"}
	t.Run("most of them", func(t *testing.T) {
		w, moves := vanish(t, 6)
		require.Equal(t, append(first, "FreezeMoves : MachinesVanished: 6 of 10 machines are missed: nothing is moved off them until they return, or drain is set for those that will not"), moves[:4])
		w.now = w.now.Add(time.Hour)
		require.Empty(t, w.converge())
	})
	t.Run("some of them", func(t *testing.T) {
		w, moves := vanish(t, 4)
		require.Equal(t, first, moves)
		require.Equal(t, 10*time.Second, w.plan().After)
		w.now = w.now.Add(11 * time.Second)
		require.Len(t, w.converge(), 4)
	})
}

// TestMostVanishWithTheLeader: three of five machines vanish, the leader's among them. The next leader finds two of them missing and
// moves their units. When it misses the third one, it counts them all.
func TestMostVanishWithTheLeader(t *testing.T) {
	lead := func(t *testing.T) *world {
		w := newWorld(t)
		w.limits.Grace, w.revision = 0, 10 // the default
		for i := range 5 {
			w.put(fmt.Sprint("m", i+1), fmt.Sprintf("app@%d.service", i+1), v1.Placement{Hash: "1", DesiredState: v1.Launched})
			w.add(t, fmt.Sprintf("app@%d.service", i+1))
		}
		for _, id := range []string{"m3", "m4", "m5"} {
			w.setMachine(index.MachineSpec{ID: id, Since: 5}) // before the units
		}
		return w
	}
	first := []string{
		"Move app@1.service from m1 to m3: MachineGone: its machine m1 is gone",
		"Move app@2.service from m2 to m4: MachineGone: its machine m2 is gone",
	}
	t.Run("a moment later", func(t *testing.T) {
		w := lead(t)
		require.Equal(t, first, w.converge())
		w.now = w.now.Add(10*time.Second + 900*time.Millisecond) // leases end ten seconds apart, and etcd notices it a moment late
		w.deleteMachine("m3")
		require.Equal(t, []string{"FreezeMoves : MachinesVanished: 3 of 5 machines are missed: nothing is moved off them until they return, or drain is set for those that will not"}, w.converge())
		w.now = w.now.Add(time.Hour)
		require.Empty(t, w.converge())
		w.setMachine(index.MachineSpec{ID: "m1"})
		require.Equal(t, "UnfreezeMoves : MachinesBack: 2 of 5 machines are missed: what they ran may be moved again", w.converge()[0])
	})
	t.Run("after a while", func(t *testing.T) {
		w := lead(t)
		require.Equal(t, first, w.converge())
		w.now = w.now.Add(11 * time.Second) // nothing is planned meanwhile
		w.deleteMachine("m3")
		require.Len(t, only(w.converge(), "Move"), 2, "the first two have nothing to do with it")
	})
}

// TestGlobalAbsence: a global unit's placement on a missed machine stays for a while, in case it returns.
func TestGlobalAbsence(t *testing.T) {
	w := three(t)
	w.add(t, "g.service Global=true")
	w.converge()
	w.deleteMachine("m2")
	require.Empty(t, w.converge())
	require.Equal(t, time.Hour, w.plan().After)
	w.setMachine(index.MachineSpec{ID: "m2", Metadata: map[string]string{"zone": "b"}})
	require.Empty(t, w.converge())
	w.deleteMachine("m2")
	require.Empty(t, w.converge())
	w.now = w.now.Add(time.Hour)
	require.Equal(t, []string{"Unplace g.service from m2: MachineGone: its machine m2 is gone"}, w.converge())
}

// TestGlobalAbsenceWhileFrozen: while most machines are missed, a global unit's placements on them stay, however long.
func TestGlobalAbsenceWhileFrozen(t *testing.T) {
	w := newWorld(t)
	var all []string
	for i := range 5 {
		w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i+1)})
		w.add(t, fmt.Sprintf("app@%d.service", i+1))
		all = append(all, fmt.Sprintf("m%d/app@%d.service", i+1, i+1), fmt.Sprintf("m%d/g.service", i+1))
	}
	w.converge()
	w.add(t, "g.service Global=true")
	w.converge()
	for i := range 3 {
		w.deleteMachine(fmt.Sprint("m", i+1))
	}
	require.Len(t, w.converge(), 1, "they are missed")
	w.now = w.now.Add(2 * time.Hour)
	require.Empty(t, w.converge())
	require.Equal(t, all, w.where())

	for i := range 2 { // a single one is gone, and forgotten
		w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i+1)})
	}
	require.Contains(t, w.converge(), "Unplace g.service from m3: MachineGone: its machine m3 is gone")
}

// TestExcept: a global unit leaves the machines that its app excepts, at once and making room, and returns when they are no
// longer excepted.
func TestExcept(t *testing.T) {
	w := three(t)
	w.add(t, "g.service Global=true;Ports=80", "a@1.service Ports=80")
	w.converge()
	require.Equal(t, []string{"m1/g.service", "m2/g.service", "m3/g.service"}, w.where())
	except := func(machines string) []string {
		u := launched("g.service", fleet(t, "g.service", "Global=true\nPorts=80"))
		u.Except = machines
		w.setUnit(u)
		return w.converge()
	}
	require.Contains(t, except("m2"), "Unplace g.service from m2: Excepted: its app takes it off m2")
	require.Equal(t, []string{"m1/g.service", "m2/a@1.service", "m3/g.service"}, w.where())
	require.Contains(t, except("m2,m3"), "Unplace g.service from m3: Excepted: its app takes it off m3")
	require.Equal(t, []string{"m1/g.service", "m2/a@1.service"}, w.where())
	except("")
	require.Equal(t, []string{"m1/g.service", "m2/a@1.service", "m3/g.service"}, w.where())
}
