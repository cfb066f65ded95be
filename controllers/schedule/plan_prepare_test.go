package schedule

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
)

// TestPrepareBeforeADrain: a unit that runs leaves a drained machine when the next one has its image.
func TestPrepareBeforeADrain(t *testing.T) {
	const (
		unit      = "web@1.service"
		asked     = "Prepare web@1.service on m2: Prepare: m1 is being drained: it moves when m2 has pulled its image"
		leaves    = "Update web@1.service on m1: Drain: m1 is being drained: it moves when its app has let it go"
		moves     = "Move web@1.service from m1 to m2: Drain: m1 is being drained"
		noMore    = "PrepareNoMore web@1.service on m2: Prepare: nothing is to be prepared any more"
		options   = "Image=docker localhost:5000/web:2"
		elsewhere = "Prepare web@1.service on m3: Prepare: m1 is being drained: it moves when m3 has pulled its image"
	)
	start := func(t *testing.T, owner, options string) *world {
		w := three(t)
		w.add(t, unit+" MachineID=m1")
		w.converge()
		w.add(t, unit+" "+options)
		change(w, unit, func(u *index.UnitSpec) { u.Owner, u.RequestedAt = owner, "noon" })
		w.setActive("m1", unit, true)
		w.converge()
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		return w
	}
	begin := func(t *testing.T) *world {
		w := start(t, "web", options)
		require.Equal(t, []string{asked}, w.converge())
		require.Equal(t, v1.Next{Preparation: v1.Preparation{Hash: "1", RequestedAt: "noon"}, Since: w.now.UTC()}, w.preparing["m2/"+unit].Next)
		require.False(t, w.placements["m1/"+unit].Value.Leaving)
		return w
	}
	letGo := func(w *world) {
		change(w, unit, func(u *index.UnitSpec) { u.LetGo = "m1" })
	}
	t.Run("of an app", func(t *testing.T) {
		w := begin(t)
		w.prepared("m2", unit, v1.PreparedPulling)
		w.now = w.now.Add(time.Hour)
		require.Empty(t, w.converge(), "however long it takes")
		w.setMachine(index.MachineSpec{ID: "m0"}) // it runs less
		require.Empty(t, w.converge())
		w.prepared("m2", unit, v1.PreparedReady)
		require.Equal(t, []string{leaves}, w.converge())
		letGo(w)
		require.Equal(t, []string{moves, noMore}, w.converge(), "the machine has its placement before it may forget the image")
		require.Empty(t, w.preparing)
	})
	t.Run("of no app", func(t *testing.T) {
		w := start(t, "", options)
		require.Equal(t, []string{asked}, w.converge())
		w.prepared("m2", unit, v1.PreparedReady)
		require.Equal(t, []string{moves, noMore}, w.converge())
	})
	t.Run("without an image", func(t *testing.T) {
		require.Equal(t, []string{leaves}, start(t, "web", "").converge())
	})
	t.Run("not running", func(t *testing.T) {
		w := start(t, "", options)
		w.setActive("m1", unit, false)
		require.Equal(t, []string{moves}, w.converge())
	})
	t.Run("stops running", func(t *testing.T) {
		w := begin(t)
		w.setActive("m1", unit, false)
		w.setUnit(w.units[unit])
		require.Equal(t, []string{leaves}, w.converge())
		require.NotEmpty(t, w.preparing)
	})
	t.Run("with its sidekick", func(t *testing.T) {
		w := start(t, "web", options)
		w.setConfig("m1", v1.MachineConfig{})
		w.add(t, "web-side@1.service MachineOf=web@1.service")
		w.converge()
		change(w, "web-side@1.service", func(u *index.UnitSpec) { u.Owner = "web" })
		w.setActive("m1", "web-side@1.service", true)
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		require.Equal(t, []string{asked}, w.converge())
		w.prepared("m2", unit, v1.PreparedReady)
		require.Len(t, w.converge(), 2)
		change(w, "web-side@1.service", func(u *index.UnitSpec) { u.DesiredState = v1.Loaded })
		letGo(w)
		require.Contains(t, w.converge(), moves)
		require.Empty(t, w.preparing)
		require.Equal(t, []string{"m2/web-side@1.service", "m2/web@1.service"}, w.where())
	})
	t.Run("the pull fails, then not", func(t *testing.T) {
		w := begin(t)
		w.prepared("m2", unit, v1.PreparedFailed)
		w.now = w.now.Add(time.Hour)
		require.Empty(t, w.converge())
		w.prepared("m2", unit, v1.PreparedReady)
		require.Equal(t, []string{leaves}, w.converge())
	})
	t.Run("no answer", func(t *testing.T) {
		w := begin(t)
		require.Equal(t, v1.AnswerPatience, w.plan().After)
		w.now = w.now.Add(v1.AnswerPatience - time.Second)
		require.Empty(t, w.converge())
		w.now = w.now.Add(time.Second)
		require.Equal(t, []string{leaves}, w.converge(), "an older fleetd does not prepare")
	})
	t.Run("the leader before had a fast clock", func(t *testing.T) {
		w := begin(t)
		w.prepare("m2", unit, v1.Next{Preparation: w.preparing["m2/"+unit].Next.Preparation, Since: w.now.Add(time.Hour)})
		require.Equal(t, v1.AnswerPatience, w.plan().After)
	})
	t.Run("an answer for another start", func(t *testing.T) {
		w := begin(t)
		w.prepared("m2", unit, v1.PreparedReady)
		change(w, unit, func(u *index.UnitSpec) { u.RequestedAt = "one" })
		require.Equal(t, []string{asked, "Update web@1.service on m1: Requested: a person asked for it to be started again"}, w.converge())
		require.Equal(t, "one", w.preparing["m2/"+unit].Next.RequestedAt)
	})
	t.Run("drain is taken back", func(t *testing.T) {
		w := begin(t)
		w.setConfig("m1", v1.MachineConfig{})
		require.Equal(t, []string{noMore}, w.converge())
	})
	t.Run("the other machine is cordoned", func(t *testing.T) {
		w := begin(t)
		w.prepared("m2", unit, v1.PreparedReady)
		w.setConfig("m2", v1.MachineConfig{Cordoned: true})
		require.Equal(t, []string{elsewhere, noMore}, w.converge())
	})
	t.Run("the other machine dies", func(t *testing.T) {
		w := begin(t)
		w.deleteMachine("m2")
		require.Equal(t, []string{elsewhere, noMore}, w.converge())
	})
	t.Run("no machine is left", func(t *testing.T) {
		w := begin(t)
		w.setConfig("m2", v1.MachineConfig{Cordoned: true})
		w.setConfig("m3", v1.MachineConfig{Cordoned: true})
		require.Equal(t, []string{noMore}, w.converge())
		require.Equal(t, []string{"m1/" + unit}, w.where())
	})
	t.Run("its machine dies", func(t *testing.T) {
		w := begin(t)
		w.deleteMachine("m1")
		require.Equal(t, []string{"Move web@1.service from m1 to m2: MachineGone: its machine m1 is gone", noMore}, w.converge())
	})
	t.Run("it is stopped", func(t *testing.T) {
		w := begin(t)
		change(w, unit, func(u *index.UnitSpec) { u.DesiredState = v1.Loaded })
		require.Equal(t, []string{moves, noMore}, w.converge())
	})
	t.Run("it is deleted", func(t *testing.T) {
		w := begin(t)
		w.deleteUnit(unit)
		require.Contains(t, w.converge(), noMore)
		require.Empty(t, w.preparing)
		require.Nil(t, w.c.Unit(unit))
	})
	t.Run("of a unit that never was", func(t *testing.T) {
		w := three(t)
		w.prepare("m3", "x.service", v1.Next{})
		w.prepare("m2", unit, v1.Next{})
		require.Equal(t, []string{noMore, "PrepareNoMore x.service on m3: Prepare: nothing is to be prepared any more"}, w.converge())
		require.Nil(t, w.c.Unit(unit))
	})
	t.Run("the app has let it go, and the other machine dies", func(t *testing.T) {
		w := begin(t)
		w.prepared("m2", unit, v1.PreparedReady)
		w.converge()
		letGo(w)
		w.deleteMachine("m2")
		require.Equal(t, []string{"Move web@1.service from m1 to m3: Drain: m1 is being drained", noMore}, w.converge(), "no request reaches it any more: nothing is gained by waiting")
	})
}

// TestMoveOfWhatDoesNotRun: a unit that does not run moves at once, to where its image is not. It may be starting meanwhile, where it
// is: the move is made only if it is still down, and planned again otherwise.
func TestMoveOfWhatDoesNotRun(t *testing.T) {
	const unit = "web@1.service"
	for name, c := range map[string]struct {
		options string
		before  func(w *world)
		ifDown  bool
	}{
		"with an image":    {"Image=docker localhost:5000/web:2", func(*world) {}, true},
		"without":          {"", func(*world) {}, false},
		"it is not to run": {"Image=docker localhost:5000/web:2", func(w *world) { change(w, unit, func(u *index.UnitSpec) { u.DesiredState = v1.Loaded }) }, false},
		"its app has let it go": {"Image=docker localhost:5000/web:2", func(w *world) {
			change(w, unit, func(u *index.UnitSpec) { u.Owner, u.LetGo = "web", "m1" })
		}, false},
		"its machine is lost": {"Image=docker localhost:5000/web:2", func(w *world) { w.deleteMachine("m1") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := three(t)
			w.add(t, unit+" MachineID=m1")
			w.converge()
			w.add(t, unit+" "+c.options)
			c.before(w)
			w.setConfig("m1", v1.MachineConfig{Drain: true})
			actions := w.plan().Actions
			i := slices.IndexFunc(actions, func(a Action) bool { return a.Kind == Move })
			require.GreaterOrEqual(t, i, 0, "%v", actions)
			require.Equal(t, c.ifDown, actions[i].IfDown)
		})
	}
	t.Run("the one that has prepared its move runs", func(t *testing.T) {
		w := three(t)
		w.add(t, unit+" MachineID=m1")
		w.converge()
		w.add(t, unit+" Image=docker localhost:5000/web:2")
		w.setActive("m1", unit, true)
		w.setConfig("m1", v1.MachineConfig{Drain: true})
		w.converge()
		w.prepared("m2", unit, v1.PreparedReady)
		actions := w.plan().Actions
		require.Equal(t, Move, actions[0].Kind)
		require.False(t, actions[0].IfDown)
	})
}

// TestPrepareBeforeAMove: so does one whose machine does not match its file any more, whichever of the two changed. A unit that
// another one drives away makes room at once.
func TestPrepareBeforeAMove(t *testing.T) {
	const unit = "web@1.service"
	start := func(t *testing.T) *world {
		w := three(t)
		for _, m := range []string{"m1", "m2"} {
			w.setMachine(index.MachineSpec{ID: m, Metadata: map[string]string{"disk": "ssd"}})
		}
		w.add(t, unit+" MachineMetadata=disk=ssd;Image=docker localhost:5000/web:2")
		w.converge()
		require.Equal(t, []string{"m1/" + unit}, w.where())
		w.setActive("m1", unit, true)
		return w
	}
	t.Run("the machine's metadata changed", func(t *testing.T) {
		w := start(t)
		w.setMachine(index.MachineSpec{ID: "m1"})
		actions := w.converge()
		require.Len(t, actions, 1)
		require.Contains(t, actions[0], "Prepare "+unit+" on m2: Prepare: ")
		w.prepared("m2", unit, v1.PreparedPulling)
		require.Empty(t, w.converge())
		w.prepared("m2", unit, v1.PreparedReady)
		w.converge()
		require.Equal(t, []string{"m2/" + unit}, w.where())
		require.Empty(t, w.preparing)
	})
	t.Run("it changes back", func(t *testing.T) {
		w := start(t)
		w.setMachine(index.MachineSpec{ID: "m1"})
		w.converge()
		w.setMachine(index.MachineSpec{ID: "m1", Metadata: map[string]string{"disk": "ssd"}})
		require.Equal(t, []string{"PrepareNoMore " + unit + " on m2: Prepare: nothing is to be prepared any more"}, w.converge())
		require.Equal(t, []string{"m1/" + unit}, w.where())
	})
	t.Run("the unit's file changed", func(t *testing.T) {
		w := start(t)
		was := w.placements["m1/"+unit].Value
		to := launched(unit, fleet(t, unit, "MachineID=m3\nImage=docker localhost:5000/web:3"))
		to.Hash, to.RequestedAt = "2", "noon"
		w.setUnit(to)
		require.Len(t, w.converge(), 1)
		require.Equal(t, v1.Preparation{Hash: "2", RequestedAt: "noon"}, w.preparing["m3/"+unit].Next.Preparation)
		require.Equal(t, was, w.placements["m1/"+unit].Value, "it runs on with its former file")
		w.prepared("m3", unit, v1.PreparedReady)
		w.converge()
		require.Equal(t, []string{"m3/" + unit}, w.where())
		require.Equal(t, "2", w.placements["m3/"+unit].Value.Hash)
	})
	t.Run("another one takes its place", func(t *testing.T) {
		w := start(t)
		w.add(t, "db.service MachineMetadata=disk=ssd;Replaces=web@*")
		w.converge()
		require.ElementsMatch(t, []string{"m1/db.service", "m2/" + unit}, w.where())
		require.Empty(t, w.preparing)
	})
}

// TestPrepareOneAtATime: of a family one unit prepares its move, and moves, before the next one.
func TestPrepareOneAtATime(t *testing.T) {
	w := three(t)
	for _, n := range []string{"1", "2"} {
		w.add(t, "web@"+n+".service MachineID=m1")
	}
	w.converge()
	for _, n := range []string{"1", "2"} {
		name := "web@" + n + ".service"
		w.add(t, name+" Image=docker web")
		change(w, name, func(u *index.UnitSpec) { u.Owner = "web" })
		w.setActive("m1", name, true)
	}
	w.setConfig("m1", v1.MachineConfig{Drain: true})
	require.Equal(t, []string{"m2/web@1.service"}, asked(w))
	w.setUnit(w.units["web@2.service"]) // planned alone
	require.Equal(t, []string{"m2/web@1.service"}, asked(w))
	w.prepared("m2", "web@1.service", v1.PreparedReady)
	require.Equal(t, []string{"m2/web@1.service"}, asked(w))
	change(w, "web@1.service", func(u *index.UnitSpec) { u.LetGo = "m1" })
	require.Empty(t, asked(w), "it moved, and is not active yet")
	w.setActive("m2", "web@1.service", true)
	require.Equal(t, []string{"m3/web@2.service"}, asked(w))
}

// TestPrepareKeepsItsTurn: one that comes to the machine later does not take the turn of one that prepares already.
func TestPrepareKeepsItsTurn(t *testing.T) {
	w := three(t)
	w.add(t, "web@2.service MachineID=m1")
	w.converge()
	w.add(t, "web@2.service Image=docker web")
	w.setActive("m1", "web@2.service", true)
	w.setConfig("m1", v1.MachineConfig{Drain: true})
	require.Equal(t, []string{"m2/web@2.service"}, asked(w))
	w.put("m1", "web@1.service", v1.Placement{Hash: "1", DesiredState: v1.Launched})
	w.add(t, "web@1.service Image=docker web")
	w.setActive("m1", "web@1.service", true)
	require.Equal(t, []string{"m2/web@2.service"}, asked(w))
}

// asked is what machines are asked to prepare when there is nothing more to plan.
func asked(w *world) []string {
	w.converge()
	return sortedKeys(w.preparing)
}

func change(w *world, name string, f func(u *index.UnitSpec)) {
	u := w.units[name]
	f(&u)
	w.setUnit(u)
}
