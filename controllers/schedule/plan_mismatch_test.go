package schedule

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

const web, webSide = "web@1.service", "web-discovery@1.service"

// announced returns a world in which an instance of an app and its announcer run on m1.
func announced(t *testing.T, options string) *world {
	w := three(t)
	w.add(t, web+" MachineID=m1", webSide+" MachineOf="+web)
	w.converge()
	w.add(t, web+" "+options)
	for _, name := range []string{web, webSide} {
		change(w, name, func(u *index.UnitSpec) { u.Owner = "web" })
		w.setActive("m1", name, true)
	}
	require.Empty(t, w.converge())
	return w
}

// misfits is what makes a machine, or a unit, no longer fit: m3 is the only other machine that may.
var misfits = map[string]struct {
	options string
	change  func(t *testing.T, w *world)
	reason  string
}{
	"MachineMetadata=": {"MachineMetadata=zone=a;MachineMetadata=zone=c", func(_ *testing.T, w *world) {
		w.setConfig("m1", v1.MachineConfig{Metadata: map[string]string{"zone": "x"}})
	}, "MachineMetadata: m1 has no metadata zone=a or c"},
	"metadata of a machine that is drained": {"MachineMetadata=zone=a;MachineMetadata=zone=c", func(_ *testing.T, w *world) {
		w.setConfig("m1", v1.MachineConfig{Drain: true, Metadata: map[string]string{"zone": "x"}})
	}, "Drain: m1 is being drained"},
	"MachineID=": {"", func(t *testing.T, w *world) {
		change(w, web, func(u *index.UnitSpec) { u.Hash, u.Fleet = "2", fleet(t, web, "MachineID=m3") })
	}, "MachineID: MachineID=m3 is not m1"},
	"CPU=": {"CPU=1000m", func(_ *testing.T, w *world) {
		w.setMachine(index.MachineSpec{ID: "m2", Capacity: v1.Capacity{CPU: 500}})
		w.setMachine(index.MachineSpec{ID: "m1", Metadata: map[string]string{"zone": "a"}, Capacity: v1.Capacity{CPU: 500}})
	}, "CPU: m1 has too little CPU for CPU=1 beside what was there first"},
}

// TestAServingUnitIsLetGoFirst: a unit that gets requests leaves a machine that it no longer fits when its app has let it go, with all
// that goes with it.
func TestAServingUnitIsLetGoFirst(t *testing.T) {
	for name, test := range misfits {
		t.Run(name, func(t *testing.T) {
			w := announced(t, test.options)
			was := w.placements["m1/"+web].Value
			test.change(t, w)
			require.Contains(t, w.converge(), "Update "+web+" on m1: "+test.reason+": it moves when its app has let it go")
			require.Equal(t, []string{"m1/" + webSide, "m1/" + web}, w.where())
			was.Leaving = true
			require.Equal(t, was, w.placements["m1/"+web].Value, "it goes on as it is")
			require.True(t, w.placements["m1/"+webSide].Value.Leaving)
			change(w, webSide, func(u *index.UnitSpec) { u.DesiredState = v1.Loaded })
			require.Equal(t, []string{"Update " + webSide + " on m1: StateChanged: the desired state is loaded"}, w.converge())
			change(w, web, func(u *index.UnitSpec) { u.LetGo = "m1" })
			w.converge()
			require.Equal(t, []string{"m3/" + webSide, "m3/" + web}, w.where())
			require.Equal(t, w.units[web].Hash, w.placements["m3/"+web].Value.Hash)
			require.False(t, w.placements["m3/"+web].Value.Leaving)
		})
	}
}

// TestAUnitThatFitsNowhereElseStays: it stays as it is, and says why.
func TestAUnitThatFitsNowhereElseStays(t *testing.T) {
	for name, test := range misfits {
		t.Run(name, func(t *testing.T) {
			w := announced(t, test.options)
			w.setConfig("m3", v1.MachineConfig{Cordoned: true})
			w.converge()
			was := w.placements["m1/"+web].Value
			test.change(t, w)
			require.Empty(t, w.converge())
			require.Equal(t, was, w.placements["m1/"+web].Value)
			require.Contains(t, w.placements, "m1/"+webSide)
			require.Contains(t, w.unplaced[web].Message, "it stays on m1 for now (")
			w.setConfig("m3", v1.MachineConfig{})
			require.NotEmpty(t, w.converge(), "there is a machine for it")
		})
	}
}

// TestAUnitOfNoAppRunsOnlyWhereItMatches: as in fleet it is taken off, with what follows it, also when it fits nowhere.
func TestAUnitOfNoAppRunsOnlyWhereItMatches(t *testing.T) {
	for _, name := range []string{"MachineMetadata=", "MachineID="} {
		test := misfits[name]
		w := announced(t, test.options)
		for _, name := range []string{web, webSide} {
			change(w, name, func(u *index.UnitSpec) { u.Owner = "" })
		}
		w.setConfig("m3", v1.MachineConfig{Cordoned: true})
		w.converge()
		test.change(t, w)
		require.Contains(t, w.converge(), "Unplace "+web+" from m1: "+test.reason)
		require.Empty(t, w.where(), name)
		w.setConfig("m3", v1.MachineConfig{})
		w.converge()
		require.Equal(t, []string{"m3/" + webSide, "m3/" + web}, w.where())
	}
}

// TestAFileThatDoesNotMatchIsNotGiven: where only the former file may be, that goes on, with what is asked of it. Where neither may be, as
// the machine has changed, the unit gets its file.
func TestAFileThatDoesNotMatchIsNotGiven(t *testing.T) {
	w := three(t)
	w.add(t, "a.service MachineMetadata=zone=a")
	change(w, "a.service", func(u *index.UnitSpec) { u.Owner = "a" })
	w.converge()
	give := func(hash, options string) v1.Placement {
		u := w.units["a.service"]
		u.Hash, u.Fleet, u.RequestedAt = hash, fleet(t, "a.service", options), "at "+hash
		w.setUnit(u)
		w.converge()
		return w.placements["m1/a.service"].Value
	}
	require.Equal(t, v1.Placement{Hash: "1", DesiredState: v1.Launched, RequestedAt: "at 2"}, give("2", "MachineMetadata=zone=x"))
	w.setConfig("m1", v1.MachineConfig{Metadata: map[string]string{"zone": "y"}})
	require.Equal(t, v1.Placement{Hash: "3", DesiredState: v1.Launched, RequestedAt: "at 3"}, give("3", "MachineMetadata=zone=x"))
	require.Equal(t, v1.Placement{Hash: "4", DesiredState: v1.Launched, RequestedAt: "at 4"}, give("4", "MachineMetadata=zone=x"))
}

// TestAStayIsTakenBack: a unit that was asked to leave stays if its machine fits again.
func TestAStayIsTakenBack(t *testing.T) {
	w := announced(t, "MachineMetadata=zone=a;MachineMetadata=zone=c")
	misfits["MachineMetadata="].change(t, w)
	require.Len(t, w.converge(), 2)
	w.setConfig("m1", v1.MachineConfig{})
	require.Equal(t, []string{"Update " + web + " on m1: Stays: it no longer has to leave m1", "Update " + webSide + " on m1: Stays: it no longer has to leave m1"}, w.converge())
}

// TestBackWhereItStillRuns: a machine that was away keeps what runs there until it is active elsewhere. If it is placed there again
// before that, with another file, it may get requests: it goes on with the file that it has until its app has let it go.
func TestBackWhereItStillRuns(t *testing.T) {
	begin := func(t *testing.T, left unitfile.Fleet) *world {
		w := newWorld(t)
		w.setMachine(index.MachineSpec{ID: "m1"})
		for _, name := range []string{web, webSide} {
			u := launched(name, unitfile.Fleet{})
			u.Hash, u.Owner = "2", "web"
			if name == webSide {
				u.Fleet.MachineOf = []string{web}
			}
			w.setUnit(u)
			w.leave("m1", name, "1", left)
		}
		return w
	}
	t.Run("with its former file", func(t *testing.T) {
		w := begin(t, unitfile.Fleet{Ports: []int{80}})
		w.setUnit(launched("x.service", unitfile.Fleet{Ports: []int{80}}))
		w.converge()
		require.Equal(t, v1.Placement{Hash: "1", DesiredState: v1.Launched, Leaving: true}, w.placements["m1/"+web].Value)
		require.NotContains(t, w.placements, "m1/x.service", "both files count")
		change(w, web, func(u *index.UnitSpec) { u.LetGo = "m1" })
		w.converge()
		require.Equal(t, v1.Placement{Hash: "2", DesiredState: v1.Launched}, w.placements["m1/"+web].Value)
		require.Contains(t, w.placements, "m1/x.service")
	})
	for name, at := range map[string]func(w *world){
		"with its file of now":       func(w *world) { w.c.SetActive("m1", web, true, "2") },
		"not any more":               func(w *world) { w.c.SetActive("m1", web, false, "") },
		"not announced":              func(w *world) { w.c.SetActive("m1", webSide, false, "") },
		"with a file unknown":        func(w *world) { w.c.SetActive("m1", web, true, "3") },
		"of no app":                  func(w *world) { change(w, web, func(u *index.UnitSpec) { u.Owner = "" }) },
		"let go":                     func(w *world) { change(w, web, func(u *index.UnitSpec) { u.LetGo = "m1" }) },
		"its ports may be another's": func(w *world) { w.c.SetLeftover("m1", web, unitfile.Fleet{AutoPorts: []string{"http"}}) },
		"the room is taken": func(w *world) {
			w.c.SetLeftover("m1", web, unitfile.Fleet{Ports: []int{80}})
			w.put("m1", "x.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
			w.setUnit(launched("x.service", unitfile.Fleet{Ports: []int{80}}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := begin(t, unitfile.Fleet{})
			at(w)
			w.converge()
			require.Equal(t, v1.Placement{Hash: "2", DesiredState: v1.Launched}, w.placements["m1/"+web].Value)
		})
	}
}
