package schedule

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

var update = flag.Bool("update", false, "write the golden files anew")

// fleet is the [X-Fleet] section of a text.
func fleet(t testing.TB, name, section string) unitfile.Fleet {
	file, err := unitfile.Parse("[X-Fleet]\n" + section)
	require.NoError(t, err)
	parsed, err := unitfile.ParseName(name)
	require.NoError(t, err)
	f, problems := unitfile.ParseFleet(file, parsed)
	require.Empty(t, unitfile.Errors(problems))
	return f
}

// add writes units: a name, then options separated by ';'.
func (w *world) add(t testing.TB, units ...string) {
	for _, line := range units {
		name, section, _ := strings.Cut(line, " ")
		w.setUnit(launched(name, fleet(t, name, strings.ReplaceAll(section, ";", "\n"))))
	}
}

const (
	appConflict = "Conflicts=app@*.service"
	beside      = "MachineOf=app@%i.service"
)

// TestPlacement: where units go on three machines, in zones a, b and c, with 2 cores and 4G each.
func TestPlacement(t *testing.T) {
	for _, tc := range []struct {
		name  string
		units []string
		want  []string // machine/unit
	}{
		{"least loaded, ties by machine ID", []string{"a.service", "b.service", "c.service", "d.service"},
			[]string{"m1/a.service", "m1/d.service", "m2/b.service", "m3/c.service"}},
		{"by number of units, then by what they request", []string{"a.service CPU=1", "b.service", "c.service CPU=0.5", "d.service"},
			[]string{"m1/a.service", "m2/b.service", "m2/d.service", "m3/c.service"}},
		{"metadata", []string{"a.service MachineMetadata=zone=c", "b.service MachineMetadata=zone=b;MachineMetadata=zone=c"},
			[]string{"m2/b.service", "m3/a.service"}},
		{"machine ID", []string{"a.service MachineID=m3", "b.service", "c.service"},
			[]string{"m1/b.service", "m2/c.service", "m3/a.service"}},
		{"own template", []string{"app@1.service " + appConflict, "app@2.service " + appConflict, "app@3.service " + appConflict, "app@4.service " + appConflict},
			[]string{"m1/app@1.service", "m2/app@2.service", "m3/app@3.service"}},
		{"conflicts are symmetric: placed before, names the other", []string{"a.service MachineID=m1;Ports=80", "b.service MachineMetadata=zone=a", "c.service Conflicts=?.service"},
			[]string{"m1/a.service", "m1/b.service", "m2/c.service"}},
		{"conflicts are symmetric: placed before, is named", []string{"a.service MachineMetadata=zone=a", "b.service Conflicts=a.service;MachineMetadata=zone=a"},
			[]string{"m1/a.service"}},
		{"a unit never conflicts with itself", []string{"a.service Conflicts=*"}, []string{"m1/a.service"}},
		{"ports", []string{"a.service Ports=80", "b.service Ports=80 81", "c.service Ports=81", "d.service Ports=80"},
			[]string{"m1/a.service", "m2/b.service", "m3/c.service", "m3/d.service"}},
		{"resources", []string{"a.service CPU=1.5", "b.service CPU=1.5", "c.service CPU=1.5", "d.service CPU=1.5", "e.service CPU=0.5"},
			[]string{"m1/a.service", "m1/e.service", "m2/b.service", "m3/c.service"}},
		{"memory", []string{"a.service Memory=3G", "b.service Memory=3G", "c.service Memory=3G", "d.service Memory=3G", "e.service Memory=1G"},
			[]string{"m1/a.service", "m1/e.service", "m2/b.service", "m3/c.service"}},
		{"a group goes where all of it fits", []string{"x.service Ports=9;MachineID=m1", "app@1.service", "side@1.service Ports=9;" + beside},
			[]string{"m1/x.service", "m2/app@1.service", "m2/side@1.service"}},
		{"a group that fits nowhere as a whole waits as a whole", []string{"app@1.service MachineMetadata=zone=a", "side@1.service MachineMetadata=zone=b;" + beside}, []string{}},
		{"pairs side by side", []string{"app@1.service " + appConflict, "app@2.service " + appConflict, "side@1.service " + beside, "side@2.service " + beside},
			[]string{"m1/app@1.service", "m1/side@1.service", "m2/app@2.service", "m2/side@2.service"}},
		{"two targets", []string{"a.service", "b.service", "c.service MachineOf=a.service b.service"},
			[]string{"m1/a.service", "m1/b.service", "m1/c.service"}},
		{"a target that does not exist", []string{"side@1.service " + beside}, []string{}},
		{"circles", []string{"a.service MachineOf=b.service", "b.service MachineOf=c.service", "c.service MachineOf=a.service", "d.service MachineOf=a.service", "e.service"},
			[]string{"m1/e.service"}},
		{"global", []string{"g.service Global=true", "h.service Global=true;MachineMetadata=zone=b", "a.service"},
			[]string{"m1/a.service", "m1/g.service", "m2/g.service", "m2/h.service", "m3/g.service"}},
		{"global with conflicts", []string{"g.service Global=true;Conflicts=a.service", "a.service MachineID=m2"},
			[]string{"m1/g.service", "m2/g.service", "m3/g.service"}},
		{"beside a global unit", []string{"g.service Global=true;MachineMetadata=zone=b", "a.service MachineOf=g.service"},
			[]string{"m2/a.service", "m2/g.service"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := three(t)
			w.add(t, tc.units...)
			w.converge()
			require.Equal(t, tc.want, append([]string{}, w.where()...))
		})
	}
}

func TestSpreadOver(t *testing.T) {
	w := newWorld(t)
	for i, zone := range []string{"a", "a", "a", "b", "c"} {
		w.setMachine(Machine{ID: fmt.Sprint("m", i+1), Metadata: map[string]string{"zone": zone}})
	}
	w.setMachine(Machine{ID: "m0"}) // without a zone: last
	for i := range 7 {
		w.add(t, fmt.Sprintf("app@%d.service SpreadOver=zone", i+1))
	}
	w.add(t, "other.service SpreadOver=zone")
	w.converge()
	require.Equal(t, []string{"m1/app@1.service", "m1/other.service", "m2/app@4.service", "m3/app@7.service", "m4/app@2.service", "m4/app@5.service",
		"m5/app@3.service", "m5/app@6.service"}, w.where())
}

// TestChanges: what a placed unit makes of a change, and why. Before it: a.service on m1, b.service on m2.
func TestChanges(t *testing.T) {
	const gone = "its machine m1 is gone"
	for _, tc := range []struct {
		name   string
		change func(w *world)
		want   []string
	}{
		{"nothing", func(w *world) { w.setMachine(w.machines["m1"]); w.setUnit(w.units["a.service"]) }, nil},
		{"another machine", func(w *world) { w.setMachine(Machine{ID: "m0"}) }, nil},
		{"another file", func(w *world) { u := w.units["a.service"]; u.Hash = "2"; w.setUnit(u) },
			[]string{"Update a.service on m1: HashChanged: the unit has another file"}},
		{"stopped", func(w *world) { u := w.units["a.service"]; u.DesiredState = v1.Loaded; w.setUnit(u) },
			[]string{"Update a.service on m1: StateChanged: the unit is to be loaded"}},
		{"started again", func(w *world) { u := w.units["a.service"]; u.RequestedAt = "now"; w.setUnit(u) },
			[]string{"Update a.service on m1: Requested: a person asked for it to be started again"}},
		{"inactive", func(w *world) { u := w.units["a.service"]; u.DesiredState = v1.Inactive; w.setUnit(u) },
			[]string{"Unplace a.service from m1: Inactive: the unit is to be inactive"}},
		{"deleted", func(w *world) { w.deleteUnit("a.service") }, []string{"Unplace a.service from m1: Deleted: the unit does not exist"}},
		{"its machine is gone", func(w *world) { w.deleteMachine("m1") }, []string{"Move a.service from m1 to m3: MachineGone: " + gone}},
		{"cordoned", func(w *world) { w.setConfig("m1", v1.MachineConfig{Cordoned: true}) }, nil},
		{"drained", func(w *world) { w.setConfig("m1", v1.MachineConfig{Drain: true}) },
			[]string{"Move a.service from m1 to m3: Drain: m1 is being drained"}},
		{"other metadata", func(w *world) { w.setConfig("m1", v1.MachineConfig{Metadata: map[string]string{"zone": "x"}}) },
			[]string{"Move a.service from m1 to m3: MachineMetadata: m1 has no metadata zone=a or b or c"}},
		{"another constraint", func(w *world) {
			u := w.units["a.service"]
			u.Hash, u.Fleet = "2", unitfile.Fleet{MachineID: "m3"}
			w.setUnit(u)
		}, []string{"Move a.service from m1 to m3: MachineID: MachineID=m3 is not m1"}},
		{"a constraint that no machine meets", func(w *world) {
			u := w.units["a.service"]
			u.Hash, u.Fleet = "2", unitfile.Fleet{MachineID: "m9"}
			w.setUnit(u)
		}, []string{"Unplace a.service from m1: MachineID: MachineID=m9 is not m1"}},
		{"more than is left, here", func(w *world) {
			w.put("m1", "c.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
			w.add(w.t.(testing.TB), "c.service CPU=2")
			u := w.units["a.service"]
			u.Fleet.CPU = 1000
			w.setUnit(u)
		}, []string{"Move c.service from m1 to m3: CPU: m1 has too little CPU for CPU=2 beside what was there first"}},
		{"a broken file", func(w *world) { u := w.units["a.service"]; u.Hash, u.Problem = "2", "line 1: broken"; w.setUnit(u) }, nil},
		{"a broken file, stopped", func(w *world) {
			u := w.units["a.service"]
			u.Hash, u.Problem, u.DesiredState = "2", "line 1: broken", v1.Loaded
			w.setUnit(u)
		}, []string{"Update a.service on m1: StateChanged: the unit is to be loaded"}},
		{"placed twice", func(w *world) { w.put("m3", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched}) },
			[]string{"Unplace a.service from m3: Duplicate: a unit runs once, and this one is on m1"}},
		{"placed twice, and active there", func(w *world) {
			w.put("m3", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
			w.setActive("m3", "a.service", true)
		}, []string{"Unplace a.service from m1: Duplicate: a unit runs once, and this one is on m3"}},
		{"placed by a stranger where a conflict is", func(w *world) {
			w.add(w.t.(testing.TB), "c.service Conflicts=a.service")
			w.put("m1", "c.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
		}, []string{"Move c.service from m1 to m3: Conflicts: it conflicts with a.service, which was on m1 first (Conflicts=a.service of c.service)"}},
		{"an unreadable placement", func(w *world) { w.put("m1", "a.service", v1.Placement{}) },
			[]string{"Update a.service on m1: HashChanged: the unit has another file"}},
		{"an unreadable machine", func(w *world) { w.setMachine(Machine{ID: "m1", Problem: "broken"}) }, nil},
		{"of a unit that does not exist", func(w *world) { w.put("m2", "x.service", v1.Placement{}) },
			[]string{"Unplace x.service from m2: Deleted: the unit does not exist"}},
		{"a stray key", func(w *world) { w.c.SetStray("x", 7) },
			[]string{"DeleteStray x: Stray: the key is not placements/<machine>/<unit>: nothing reads it"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := three(t)
			w.add(t, "a.service MachineMetadata=zone=a;MachineMetadata=zone=b;MachineMetadata=zone=c", "b.service")
			w.converge()
			require.Equal(t, []string{"m1/a.service", "m2/b.service"}, w.where())
			tc.change(w)
			require.Equal(t, tc.want, w.converge())
		})
	}
}

// TestGroupMoves: what goes together moves together, in one transaction.
func TestGroupMoves(t *testing.T) {
	w := three(t)
	w.add(t, "app@1.service", "side@1.service "+beside)
	w.converge()
	w.deleteMachine("m1")
	actions := w.step()
	require.Equal(t, []string{"Move app@1.service from m1 to m2: MachineGone: its machine m1 is gone",
		"Move side@1.service from m1 to m2: MachineGone: its machine m1 is gone"}, lines(actions, true))
	require.Equal(t, actions[0].Txn, actions[1].Txn)

	// A follower that comes later goes to its target, which does not move for it.
	w.add(t, "late.service MachineOf=app@1.service")
	require.Equal(t, []string{"Place late.service on m2: Placed: of the machines that fit, this one runs least"}, w.converge())
	// Without its target it is nowhere.
	w.deleteUnit("app@1.service")
	w.converge()
	require.Empty(t, w.where())
	require.Equal(t, "it waits for app@1.service (MachineOf=), which does not exist", w.unplaced["late.service"].Message)
}

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

// TestFreeze: most machines vanish at once.
func TestFreeze(t *testing.T) {
	vanish := func(t *testing.T) *world {
		w := newWorld(t)
		for i := range 5 {
			w.setMachine(Machine{ID: fmt.Sprint("m", i+1)})
			w.add(t, fmt.Sprintf("app@%d.service", i+1))
		}
		w.converge()
		for i := range 3 {
			w.deleteMachine(fmt.Sprint("m", i+1))
		}
		require.Equal(t, []string{"FreezeMoves : MachinesVanished: 3 of 5 machines are missed: nothing is moved off them until they return, or drain is set for those that are gone for good"}, w.converge())
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
			w.setMachine(Machine{ID: fmt.Sprint("m", i+1)})
		}
		require.Equal(t, []string{"UnfreezeMoves : MachinesBack: 0 of 5 machines are missed: what they ran may be moved again"}, w.converge())
	})
	t.Run("one returns", func(t *testing.T) {
		w := vanish(t)
		w.setMachine(Machine{ID: "m2"})
		got := w.converge()
		require.Equal(t, "UnfreezeMoves : MachinesBack: 2 of 5 machines are missed: what they ran may be moved again", got[0])
		require.Len(t, got, 3)
	})
	t.Run("a person says that one is gone for good", func(t *testing.T) {
		w := vanish(t)
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		require.Equal(t, "UnfreezeMoves : MachinesBack: 2 of 4 machines are missed: what they ran may be moved again", w.converge()[0])
	})
	t.Run("time passes", func(t *testing.T) {
		w := vanish(t)
		w.limits.FreezeTimeout = time.Minute
		require.Equal(t, time.Minute, w.plan().After)
		w.now = w.now.Add(time.Minute)
		require.Equal(t, moves("m1", "m2", "m3"), w.converge())
	})
	t.Run("new units are placed", func(t *testing.T) {
		w := vanish(t)
		w.add(t, "new.service")
		require.Equal(t, []string{"Place new.service on m4: Placed: of the machines that fit, this one runs least"}, w.converge())
	})
}

// TestGrace: at the beginning machines have some time to report.
func TestGrace(t *testing.T) {
	w := newWorld(t)
	w.limits.Grace = 0 // the default
	w.put("m2", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	w.put("m3", "b.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	w.add(t, "a.service", "b.service")
	w.setMachine(Machine{ID: "m1"})
	require.Empty(t, w.converge())
	w.now = w.now.Add(10 * time.Second)
	w.setMachine(Machine{ID: "m3"})
	require.Empty(t, w.converge())
	require.Equal(t, 20*time.Second, w.plan().After)
	w.now = w.now.Add(20 * time.Second)
	require.Equal(t, []string{"Move a.service from m2 to m1: MachineGone: its machine m2 is gone"}, w.converge())
	w.deleteMachine("m1") // one that was seen has none
	require.Equal(t, []string{"Move a.service from m1 to m3: MachineGone: its machine m1 is gone"}, w.converge())
}

// TestGraceOfANewLeader: there is none where the cluster was up when the machine vanished, together with the leader.
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
			w.setMachine(Machine{ID: "m1", Since: tc.since})
			require.Equal(t, tc.want, w.converge())
		})
	}
}

// TestSettle: machines that the network takes vanish one by one, as their leases end. Not all that they run moves to
// those that vanish next.
func TestSettle(t *testing.T) {
	vanish := func(t *testing.T, n int) (w *world, moves []string) {
		w = newWorld(t)
		w.limits.Grace = 30 * time.Second
		for i := range 10 {
			w.setMachine(Machine{ID: fmt.Sprint("m", i)})
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
		require.Equal(t, append(first, "FreezeMoves : MachinesVanished: 6 of 10 machines are missed: nothing is moved off them until they return, or drain is set for those that are gone for good"), moves[:4])
		w.now = w.now.Add(time.Hour)
		require.Empty(t, w.converge())
	})
	t.Run("some of them", func(t *testing.T) {
		w, moves := vanish(t, 4)
		require.Equal(t, first, moves)
		require.Equal(t, 9*time.Second, w.plan().After)
		w.now = w.now.Add(10 * time.Second)
		require.Len(t, w.converge(), 4)
	})
}

// TestReplaces: the one that comes takes the place, the other one goes elsewhere. Not in circles.
func TestReplaces(t *testing.T) {
	w := three(t)
	w.add(t, "a.service", "b.service", "c.service", "d.service")
	w.converge()
	w.add(t, "new.service Replaces=c.service")
	require.Equal(t, []string{"Place new.service on m3: Placed: of the machines that fit, this one runs least",
		"Move c.service from m3 to m2: Replaced: new.service takes its place (Replaces=)"}, w.converge())
	w.add(t, "x.service Replaces=y.service", "y.service Replaces=x.service")
	w.converge()
	require.Len(t, w.where(), 7)
}

// TestGlobalAbsence: what a global unit has on a machine that is missed stays a while, for its return.
func TestGlobalAbsence(t *testing.T) {
	w := three(t)
	w.add(t, "g.service Global=true")
	w.converge()
	w.deleteMachine("m2")
	require.Empty(t, w.converge())
	require.Equal(t, time.Hour, w.plan().After)
	w.setMachine(Machine{ID: "m2", Metadata: map[string]string{"zone": "b"}})
	require.Empty(t, w.converge())
	w.deleteMachine("m2")
	require.Empty(t, w.converge())
	w.now = w.now.Add(time.Hour)
	require.Equal(t, []string{"Unplace g.service from m2: MachineGone: its machine m2 is gone"}, w.converge())
}

// TestExplanations compares what is said of units that fit nowhere with the golden files in testdata.
func TestExplanations(t *testing.T) {
	for _, tc := range []struct {
		name  string
		world func(w *world)
	}{
		{"conflicts-and-metadata", func(w *world) {
			w.add(t, "app@1.service "+appConflict, "app@2.service "+appConflict)
			w.converge()
			w.add(t, "app@3.service MachineMetadata=zone=a;MachineMetadata=zone=b;"+appConflict)
		}},
		{"conflict-of-the-other", func(w *world) {
			w.add(t, "db.service Conflicts=web@*.service;MachineMetadata=zone=a")
			w.converge()
			w.add(t, "web@1.service MachineMetadata=zone=a")
		}},
		{"ports", func(w *world) {
			w.add(t, "a.service Ports=80", "b.service Ports=80", "c.service Ports=80 81")
			w.converge()
			w.add(t, "d.service Ports=80 81")
		}},
		{"crowd", func(w *world) { // IDs in another order than names
			for i := range 12 {
				w.setMachine(Machine{ID: fmt.Sprintf("%x", 15-i), Metadata: map[string]string{"zone": "x", "n": fmt.Sprint(i)}})
				w.add(t, fmt.Sprintf("app@%d.service MachineMetadata=n=%d;Ports=80;%s", i+1, i, appConflict))
				w.setActive(fmt.Sprintf("%x", 15-i), fmt.Sprintf("app@%d.service", i+1), true)
			}
			w.converge()
			w.setConfig("f", v1.MachineConfig{Drain: true})
			for _, name := range []string{"app@1.service", "app@77.service", "app@78.service"} {
				w.add(t, name+" MachineMetadata=zone=x;Ports=80;"+appConflict)
			}
			w.add(t, "side@77.service "+beside, "side@78.service "+beside, "proxy.service Global=true;MachineMetadata=zone=x;Ports=80")
		}},
		{"resources", func(w *world) { w.add(t, "a.service CPU=3", "b.service Memory=8G", "c.service Memory=8G;CPU=2.5") }},
		{"machine-id", func(w *world) {
			w.add(t, "a.service Ports=80;MachineID=m2")
			w.converge()
			w.add(t, "b.service MachineID=m9", "c.service MachineID=m2;Ports=80")
		}},
		{"cordon-and-drain", func(w *world) {
			w.setConfig("m1", v1.MachineConfig{Cordoned: true})
			w.setConfig("m2", v1.MachineConfig{Drain: true})
			w.setMachine(Machine{ID: "m3", Problem: "broken"})
			w.add(t, "a.service")
		}},
		{"drained-and-stays", func(w *world) {
			w.add(t, "app@1.service MachineMetadata=zone=a")
			w.converge()
			w.setConfig("m1", v1.MachineConfig{Drain: true})
		}},
		{"group", func(w *world) {
			w.add(t, "x.service Ports=9;MachineID=m1", "y.service Ports=9;MachineID=m2")
			w.converge()
			w.add(t, "app@1.service MachineMetadata=zone=a;MachineMetadata=zone=b", "side@1.service Ports=9;"+beside)
		}},
		{"follower", func(w *world) {
			w.add(t, "app@1.service Ports=80")
			w.converge()
			w.add(t, "side@1.service Ports=80;"+beside, "lonely.service MachineOf=nobody.service")
		}},
		{"quarrel", func(w *world) { w.add(t, "app@1.service Ports=80", "side@1.service Ports=80;"+beside) }},
		{"circle", func(w *world) {
			w.add(t, "a.service MachineOf=b.service", "b.service MachineOf=c.service", "c.service MachineOf=a.service", "d.service MachineOf=c.service")
		}},
		{"global", func(w *world) {
			w.add(t, "a.service Ports=80;MachineID=m2")
			w.converge()
			w.add(t, "g.service Global=true;Ports=80", "h.service Global=true;MachineMetadata=zone=x")
		}},
		{"no-machines", func(w *world) {
			for _, id := range []string{"m1", "m2", "m3"} {
				w.deleteMachine(id)
			}
			w.add(t, "a.service")
		}},
		{"unit-file", func(w *world) {
			u := launched("a.service", unitfile.Fleet{})
			u.Problem = "line 3: [X-Fleet] Ports: port \"x\": write numbers from 1 to 65535"
			w.setUnit(u)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := three(t)
			tc.world(w)
			w.converge()
			golden(t, tc.name, w.explained())
		})
	}
}

// TestExplanationsAreShared: what a thousand instances that fit nowhere have in common is kept once.
func TestExplanationsAreShared(t *testing.T) {
	w := three(t)
	w.add(t, "x.service Ports=80;MachineID=m1", "y.service Ports=80;MachineID=m2", "z.service Ports=80;MachineID=m3")
	w.converge()
	w.add(t, "app@1.service Ports=80", "side@1.service "+beside, "app@2.service Ports=80", "side@2.service "+beside)
	var reasons []*v1.Refusal
	for _, a := range w.step() {
		require.Equal(t, SetUnplaced, a.Kind)
		reasons = append(reasons, &a.Unplaced.Reasons[0])
	}
	require.Len(t, reasons, 4)
	for _, r := range reasons {
		require.Same(t, reasons[0], r)
	}
}

func TestNatural(t *testing.T) {
	sorted := []string{"a.service", "a1b.service", "a1b2.service", "a2.service", "a10.service", "app", "app@1.service", "app@02.service", "app@2.service", "app@10.service", "b"}
	list := slices.Clone(sorted)
	slices.Reverse(list)
	slices.SortFunc(list, natural)
	require.Equal(t, sorted, list)
}

// explained is all that is said, for people.
func (w *world) explained() string {
	var b strings.Builder
	for _, name := range sortedKeys(w.unplaced) {
		value := w.unplaced[name]
		fmt.Fprintf(&b, "%s: %s\n", name, value.Message)
		for _, r := range value.Reasons {
			fmt.Fprintf(&b, "    %s x%d %v: %s\n", r.Reason, r.Count, r.Machines, r.Message)
		}
	}
	return b.String()
}

func golden(t *testing.T, name, got string) {
	path := filepath.Join("testdata", name+".txt")
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}
