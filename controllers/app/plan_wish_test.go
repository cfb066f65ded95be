package app

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// stoppedOnce is an app with one instance that was started, stopped and started again: its machine has answered the stop, and
// has not seen the start yet.
func stoppedOnce(t *testing.T) *world {
	w := running(t, 1, true)
	w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded}
	w.settleAll()
	require.Equal(t, v1.Loaded, w.states["web-discovery@1.service"].DesiredState)
	delete(w.overrides, "web@1.service")
	w.transcript()
	w.plan()
	require.Equal(t, "putUnit web@1.service Started launched\nputUnit web-discovery@1.service Started launched", w.transcript())
	return w
}

// TestStopRightAfterAStart: the machine's report from before the start does not answer the stop that follows. It may just be
// starting the sidekick.
func TestStopRightAfterAStart(t *testing.T) {
	for _, tt := range []struct {
		name, early, withdrawn, stopped string
		stop                            func(w *world)
	}{
		{"by hand", "", "putUnit web-discovery@1.service WithdrawForStop loaded", "putUnit web@1.service Stopped loaded",
			func(w *world) { w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded} }},
		{"with its app", "deleteRoute web AppDeleted", "putUnit web-discovery@1.service WithdrawForRemoval loaded",
			"deleteUnit web@1.service AppDeleted\ndeleteUnit web-discovery@1.service AppDeleted", func(w *world) { w.manifest = nil }},
		{"with its machine's drain", "", "putUnit web-discovery@1.service WithdrawForMove loaded\nputUnit web@1.service WithdrawForMove launched",
			"putUnit web@1.service LetGo launched", func(w *world) { w.goes(1, "m1") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := stoppedOnce(t)
			tt.stop(w)
			w.plan()
			require.Equal(t, tt.early, w.transcript(), "the machine has heard of no start")
			require.True(t, w.systemd("web@1.service"))
			require.True(t, w.systemd("web-discovery@1.service"))
			require.True(t, w.announcer(1))
			require.True(t, w.router("m1"))
			require.True(t, w.router("m2"))
			w.plan()
			require.Equal(t, tt.withdrawn, w.transcript())
			require.True(t, w.systemd("web-discovery@1.service"))
			require.True(t, w.announcer(1))
			require.True(t, w.router("m1"))
			w.plan()
			require.Empty(t, w.transcript(), "a router serves it")
			require.True(t, w.router("m2"))
			w.plan()
			require.Equal(t, tt.stopped, w.transcript())
		})
	}
}

// TestSidekickThatWaitsIsNotGone: a sidekick that is down because its target is may be started any moment, until its machine
// knows that it must not be.
func TestSidekickThatWaitsIsNotGone(t *testing.T) {
	w := running(t, 1, true)
	w.states["web-discovery@1.service"] = v1.UnitState{ActiveState: "inactive", DesiredState: v1.Launched, Message: "waits for web@1.service"}
	require.True(t, w.announcer(1))
	require.True(t, w.router("m1"))
	require.True(t, w.router("m2"))
	w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded}
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForStop loaded", w.transcript())
	w.plan()
	require.Empty(t, w.transcript())
	require.True(t, w.systemd("web-discovery@1.service"))
	w.plan()
	require.Equal(t, "putUnit web@1.service Stopped loaded", w.transcript())
}

// TestStartRightAfterAStop: before the machine has answered the stop, no other desired state is written, so that the answer
// is unambiguous.
func TestStartRightAfterAStop(t *testing.T) {
	w := running(t, 1, true)
	w.overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded}
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForStop loaded", w.transcript())
	delete(w.overrides, "web@1.service")
	w.plan()
	require.Empty(t, w.transcript())
	require.True(t, w.systemd("web-discovery@1.service"))
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service Returned launched", w.transcript())
}

// TestAnswered: which machines' answers are waited for.
func TestAnswered(t *testing.T) {
	said := func(machine string, desired v1.DesiredState) State {
		return State{machine, &v1.UnitState{DesiredState: desired}}
	}
	m1 := Place{Machines: []string{"m1"}}
	for _, tt := range []struct {
		name              string
		wish              v1.DesiredState
		place             Place
		states            []State
		answered, earlier bool
	}{
		{"it says so", v1.Loaded, m1, []State{said("m1", v1.Loaded)}, true, false},
		{"it speaks of an earlier wish", v1.Loaded, m1, []State{said("m1", v1.Launched)}, false, true},
		{"it has said nothing", v1.Loaded, m1, nil, false, false},
		{"its fleetd says nothing of wishes", v1.Loaded, m1, []State{said("m1", "")}, true, false},
		{"another machine says so", v1.Loaded, m1, []State{said("m2", v1.Loaded)}, false, false},
		{"one of two says so", v1.Loaded, Place{Machines: []string{"m1", "m2"}}, []State{said("m1", v1.Loaded), said("m2", v1.Launched)}, false, true},
		{"a machine that it has left speaks of an earlier wish", v1.Loaded, m1, []State{said("m1", v1.Loaded), said("m2", v1.Launched)}, true, false},
		{"its machine is away", v1.Loaded, Place{Away: true}, nil, true, false},
		{"it fits nowhere", v1.Launched, Place{Unplaced: &v1.Unplaced{}}, nil, true, false},
		{"it is about to be placed", v1.Launched, Place{}, nil, false, false},
		{"it is nowhere", v1.Inactive, Place{}, nil, true, false},
		{"it is to be nowhere, and is placed", v1.Inactive, m1, nil, false, true},
		{"it is to be nowhere, and its machine has not forgotten it", v1.Inactive, Place{}, []State{said("m1", v1.Loaded)}, false, true},
	} {
		p := &planner{in: Input{Units: map[string]StoredUnit{"s": {Unit: &v1.Unit{Spec: v1.UnitSpec{DesiredState: tt.wish}}}},
			Places: map[string]Place{"s": tt.place}, States: map[string][]State{"s": tt.states}}}
		u := p.pair("s", "")
		require.Equal(t, tt.answered, p.answered(&u), tt.name)
		require.Equal(t, tt.earlier, p.answeredEarlier(&u), tt.name)
	}
}

// TestAnnouncerThatIsKeptStopped: the scheduler keeps an announcer stopped if the instance has to be let go for its new file.
// The machine never sees the unit's launch, and is not waited for.
func TestAnnouncerThatIsKeptStopped(t *testing.T) {
	w := stoppedOnce(t)
	w.goes(1, "m1")
	w.plan()
	require.Empty(t, w.transcript(), "it is about to be started")
	w.places["web-discovery@1.service"] = Place{Machines: []string{"m1"}, Loaded: true}
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForMove loaded\nputUnit web@1.service WithdrawForMove launched", w.transcript())
	w.plan()
	require.Equal(t, "putUnit web@1.service LetGo launched", w.transcript())
}

// TestSidekickIsStoppedAroundAChange: an instance whose sidekick a person has stopped may still be in the routers. It is replaced
// when no request reaches it any more, like one that a roll-out takes out of them, whichever of the two came first.
func TestSidekickIsStoppedAroundAChange(t *testing.T) {
	stop := func(w *world) {
		w.overrides["web-discovery@1.service"] = v1.Override{DesiredState: v1.Loaded}
		w.plan()
	}
	change := func(w *world) {
		w.apply("%s", manifestOf("web", 1, "2", true))
		w.plan()
	}
	for name, begin := range map[string][]func(*world){
		"before":                {stop, change},
		"after":                 {change, stop},
		"before, and a restart": {stop, func(w *world) { w.restart(1, "now") }, change},
	} {
		t.Run(name, func(t *testing.T) {
			w := running(t, 1, true)
			for _, step := range begin {
				step(w)
			}
			require.Equal(t, v1.Loaded, w.units["web-discovery@1.service"].Spec.DesiredState)
			waits := func(why string) {
				w.plan()
				require.Equal(t, w.revisions[0].UnitFile, w.units["web@1.service"].Spec.Hash, why)
			}
			waits("its machine has not heard of it")
			require.True(t, w.systemd("web-discovery@1.service"))
			waits("its endpoint is there")
			require.True(t, w.announcer(1))
			waits("both routers serve it")
			require.True(t, w.router("m1"))
			waits("one router serves it")
			require.True(t, w.router("m2"))
			drained := w.routers["m2"]
			busy := drained
			busy.Draining = []v1.Draining{{Endpoint: "/services/web/web/web@1", Requests: 1}}
			w.routers["m2"] = busy
			waits("a request is under way to it")
			require.True(t, w.plan().Waiting)
			w.routers["m2"] = drained
			w.plan()
			require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
			require.Equal(t, v1.Loaded, w.units["web-discovery@1.service"].Spec.DesiredState, "the person's wish stands")
		})
	}
}
