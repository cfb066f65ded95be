package schedule

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// fleet parses the [X-Fleet] section of a text.
func fleet(t testing.TB, name, section string) unitfile.Fleet {
	file, err := unitfile.Parse("[X-Fleet]\n" + section)
	require.NoError(t, err)
	parsed, err := unitfile.ParseName(name)
	require.NoError(t, err)
	f, problems := unitfile.ParseFleet(file, parsed)
	require.Empty(t, unitfile.Errors(problems))
	return f
}

// add adds units: a name, then options separated by ';'.
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
		w.setMachine(index.MachineSpec{ID: fmt.Sprint("m", i+1), Metadata: map[string]string{"zone": zone}})
	}
	w.setMachine(index.MachineSpec{ID: "m0"}) // without a zone: last
	for i := range 7 {
		w.add(t, fmt.Sprintf("app@%d.service SpreadOver=zone", i+1))
	}
	w.add(t, "other.service SpreadOver=zone")
	w.converge()
	require.Equal(t, []string{"m1/app@1.service", "m1/other.service", "m2/app@4.service", "m3/app@7.service", "m4/app@2.service", "m4/app@5.service",
		"m5/app@3.service", "m5/app@6.service"}, w.where())
}

// changed is a change of a placed unit, with the expected actions and reasons. Before it: a.service on m1, b.service on m2.
var changed = []struct {
	name   string
	change func(w *world)
	want   []string
}{
	{"nothing", func(w *world) { w.setMachine(w.machines["m1"]); w.setUnit(w.units["a.service"]) }, nil},
	{"another machine", func(w *world) { w.setMachine(index.MachineSpec{ID: "m0"}) }, nil},
	{"another file", func(w *world) { u := w.units["a.service"]; u.Hash = "2"; w.setUnit(u) },
		[]string{"Update a.service on m1: HashChanged: the unit's file changed"}},
	{"stopped", func(w *world) { u := w.units["a.service"]; u.DesiredState = v1.Loaded; w.setUnit(u) },
		[]string{"Update a.service on m1: StateChanged: the desired state is loaded"}},
	{"started again", func(w *world) { u := w.units["a.service"]; u.RequestedAt = "now"; w.setUnit(u) },
		[]string{"Update a.service on m1: Requested: a person asked for it to be started again"}},
	{"inactive", func(w *world) { u := w.units["a.service"]; u.DesiredState = v1.Inactive; w.setUnit(u) },
		[]string{"Unplace a.service from m1: Inactive: the desired state is inactive"}},
	{"deleted", func(w *world) { w.deleteUnit("a.service") }, []string{"Unplace a.service from m1: Deleted: the unit does not exist"}},
	{"its machine is gone", func(w *world) { w.deleteMachine("m1") }, []string{"Move a.service from m1 to m3: MachineGone: its machine m1 is gone"}},
	{"cordoned", func(w *world) { w.setConfig("m1", v1.MachineConfig{Cordoned: true}) }, nil},
	{"stuck", func(w *world) { m := w.machines["m1"]; m.Stuck = true; w.setMachine(m) }, nil},
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
	}, []string{"Update a.service on m1: StateChanged: the desired state is loaded"}},
	{"placed twice", func(w *world) { w.put("m3", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched}) },
		[]string{"Unplace a.service from m3: Duplicate: a unit runs once, and this one is on m1"}},
	{"placed twice, and active there", func(w *world) {
		w.put("m3", "a.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
		w.setActive("m3", "a.service", true)
	}, []string{"Unplace a.service from m1: Duplicate: a unit runs once, and this one is on m3"}},
	{"placed by another client where a conflict is", func(w *world) {
		w.add(w.t.(testing.TB), "c.service Conflicts=a.service")
		w.put("m1", "c.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	}, []string{"Move c.service from m1 to m3: Conflicts: c.service conflicts with a.service (Conflicts=a.service of c.service); a.service was on m1 first"}},
	{"an unreadable placement", func(w *world) { w.put("m1", "a.service", v1.Placement{}) },
		[]string{"Update a.service on m1: HashChanged: the unit's file changed"}},
	{"an unreadable machine", func(w *world) { w.setMachine(index.MachineSpec{ID: "m1", Problem: "broken"}) }, nil},
	{"of a unit that does not exist", func(w *world) { w.put("m2", "x.service", v1.Placement{}) },
		[]string{"Unplace x.service from m2: Deleted: the unit does not exist"}},
	{"a stray key", func(w *world) { w.c.SetStray("x", 7) },
		[]string{"DeleteStray x: Stray: the key is not placements/<machine>/<unit>: nothing reads it"}},
}

func TestChanges(t *testing.T) {
	for _, tc := range changed {
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

// TestGroupMoves: a group moves together, in one transaction.
func TestGroupMoves(t *testing.T) {
	w := three(t)
	w.add(t, "app@1.service", "side@1.service "+beside)
	w.converge()
	w.deleteMachine("m1")
	actions := w.step()
	require.Equal(t, []string{"Move app@1.service from m1 to m2: MachineGone: its machine m1 is gone",
		"Move side@1.service from m1 to m2: MachineGone: its machine m1 is gone"}, lines(actions, true))
	require.Equal(t, actions[0].Txn, actions[1].Txn)

	// A later follower goes to its target, which does not move for it.
	w.add(t, "late.service MachineOf=app@1.service")
	require.Equal(t, []string{"Place late.service on m2: Placed: of the machines that fit, this one runs least"}, w.converge())
	// Without its target it has no machine.
	w.deleteUnit("app@1.service")
	w.converge()
	require.Empty(t, w.where())
	require.Equal(t, "it waits for app@1.service (MachineOf=), which does not exist", w.unplaced["late.service"].Message)
}

// TestReplaces: the new unit takes the place, and the other one goes elsewhere, but never in circles.
func TestReplaces(t *testing.T) {
	w := three(t)
	w.add(t, "a.service", "b.service", "c.service", "d.service")
	w.converge()
	w.add(t, "new.service Replaces=c.service")
	require.Equal(t, []string{"Place new.service on m3: Placed: of the machines that fit, this one runs least",
		"Move c.service from m3 to m2: Replaced: new.service takes its place (Replaces=)"}, w.converge())
	w.add(t, "x.service Replaces=y.service", "y.service Replaces=x.service")
	w.converge()
	require.Len(t, w.where(), 6)
	require.Equal(t, "0 of 3 machines fit: 3 are barred while x.service is placed: each of the two replaces the other (Replaces=)", w.unplaced["y.service"].Message)
	w.deleteUnit("x.service")
	require.Len(t, w.converge(), 2, "x goes, and y comes")
	require.NotContains(t, w.unplaced, "y.service")
	require.Len(t, w.where(), 6)
}

// TestReplacesInACircle: if each of three made room for the next one, that would never end.
func TestReplacesInACircle(t *testing.T) {
	w := newWorld(t)
	w.setMachine(index.MachineSpec{ID: "m1"})
	w.add(t, "a.service Replaces=c.service", "b@1.service Replaces=a.service", "c.service Replaces=b@*.service")
	w.converge()
	require.Equal(t, []string{"m1/a.service"}, w.where())
	for _, waits := range []string{"b@1.service", "c.service"} {
		require.Equal(t, "0 of 1 machine fits: 1 runs a unit that makes no room (Replaces=)", w.unplaced[waits].Message)
	}
	w.add(t, "d.service Replaces=a.service")
	require.Equal(t, []string{"Place d.service on m1: Placed: of the machines that fit, this one runs least", "Unplace a.service from m1: Replaced: d.service takes its place (Replaces=)"},
		w.converge()[:2], "it is in no circle")
	w.converge()
	require.Equal(t, []string{"m1/b@1.service", "m1/d.service"}, w.where())
}

// TestGrowth: a unit that grew goes where there is room; if there is none it keeps its former file. An unchanged unit never
// has to make room for it, even if it was placed later.
func TestGrowth(t *testing.T) {
	grow := func(w *world, fleet unitfile.Fleet) {
		u := w.units["old.service"]
		u.Hash, u.Fleet = "2", fleet
		w.setUnit(u)
	}
	w := three(t)
	w.add(t, "old.service CPU=0.5;MachineID=m1", "young.service CPU=1;MachineID=m1")
	w.converge()
	grow(w, unitfile.Fleet{CPU: 1500, MachineID: "m1"})
	require.Empty(t, w.converge())
	require.Contains(t, w.unplaced["old.service"].Message, "it stays on m1 for now")
	require.NotContains(t, w.unplaced, "young.service")
	require.Equal(t, []string{"m1/old.service", "m1/young.service"}, w.where())
	require.Equal(t, "1", w.placements["m1/old.service"].Value.Hash)

	w.setConfig("m1", v1.MachineConfig{Drain: true}) // it has to leave anyway, and cannot
	require.NotContains(t, strings.Join(w.converge(), "\n"), "old.service")
	require.Equal(t, "1", w.placements["m1/old.service"].Value.Hash)
	w.setConfig("m1", v1.MachineConfig{})
	w.converge()

	grow(w, unitfile.Fleet{CPU: 1500})
	require.Equal(t, []string{"Move old.service from m1 to m2: CPU: m1 has too little CPU for CPU=1.5 beside what was there first"}, w.converge())
}

// TestGoneMachineKeepsFiles: a unit on a missed machine fits nowhere else. Whether its new file fits there is decided when
// the machine is back.
func TestGoneMachineKeepsFiles(t *testing.T) {
	w := three(t)
	w.deleteMachine("m2")
	w.deleteMachine("m3")
	w.add(t, "first.service", "changed.service")
	w.converge()
	w.deleteMachine("m1")
	u := w.units["changed.service"]
	u.Hash, u.Fleet, u.DesiredState = "2", unitfile.Fleet{Conflicts: []string{"first.service"}}, v1.Loaded
	w.setUnit(u)
	require.Equal(t, []string{"Update changed.service on m1: StateChanged: the desired state is loaded"}, w.converge())
	require.Equal(t, "1", w.placements["m1/changed.service"].Value.Hash)
}
