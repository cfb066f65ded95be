package app

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestNewPlacementIsPreparedElsewhere: an instance that will move with its new file goes on until the machine that it moves to
// has its image. Where none would take it nothing happens to it, however long.
func TestNewPlacementIsPreparedElsewhere(t *testing.T) {
	const unit = "web@1.service"
	for name, image := range map[string]bool{"of an image": true, "of no image": false} {
		t.Run(name, func(t *testing.T) {
			w := running(t, 1, true)
			if image {
				w = runningImages(t, 1)
			}
			before := w.units[unit].Spec
			w.asked = func(v1.Next) []Asked { return nil }
			w.places[unit] = Place{Machines: []string{"m1"}, Unplaced: &v1.Unplaced{Next: true, Message: "its next file fits nowhere"}}
			w.apply("%s", strings.Replace(manifestOf("web", 1, "1", true), "spec:", "spec:\n  placement: {machineMetadata: {disk: ssd}}", 1))
			stays := func() {
				t.Helper()
				w.settleAll()
				w.now = w.now.Add(10 * time.Minute)
				w.settleAll()
				require.Equal(t, 1, w.serving())
				require.Equal(t, before, w.units[unit].Spec)
				require.NotZero(t, w.units[unit].Next)
				require.False(t, w.units[unit].Rollout.UnderWay())
			}
			stays()
			require.Contains(t, w.transcript(), "Warning RolloutStalled")

			delete(w.places, unit)
			begun := w.now
			w.asked = func(v1.Next) []Asked { return []Asked{{"m2", begun}} }
			answers := func(state v1.PreparedState) {
				w.elsewhere = map[string]v1.UnitState{unit: {ActiveState: "inactive", Prepared: v1.Prepared{Preparation: w.units[unit].Next.Preparation, State: state}}}
			}
			w.pull = v1.PreparedReady // m1 says so, which counts for nothing
			require.False(t, slices.ContainsFunc(w.plan().Actions, func(a Action) bool { return a.Kind != Report }))
			answers(v1.PreparedPulling)
			stays()
			answers(v1.PreparedFailed)
			stays()
			answers(v1.PreparedReady)
			w.settleAll()
			require.Equal(t, w.revisions[1].UnitFile, w.units[unit].Spec.Hash)
			require.Zero(t, w.units[unit].Next)
			require.Equal(t, []string{"Normal RolloutComplete", "putRevision web RevisionComplete"}, w.log[len(w.log)-2:])
		})
	}
}

// TestAnotherMachineIsAskedAnew: the time to answer begins when that machine is asked.
func TestAnotherMachineIsAskedAnew(t *testing.T) {
	w := runningImages(t, 1)
	at := w.now.Add(time.Hour)
	w.asked = func(v1.Next) []Asked { return []Asked{{"m2", at}} }
	w.apply("%s", manifestOf("web", 1, "2", true))
	w.settleAll()
	w.now = at.Add(v1.AnswerPatience - v1.DefaultMinReady - time.Second)
	w.settleAll()
	require.NotZero(t, w.units["web@1.service"].Next)
	w.now = at.Add(v1.AnswerPatience)
	w.settleAll()
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@1.service"].Spec.Hash)
}

// TestOthersAreReplacedWhereOneFitsNowhere: what is stuck blocks nothing else.
func TestOthersAreReplacedWhereOneFitsNowhere(t *testing.T) {
	const unit = "web@1.service"
	w := runningImages(t, 2)
	before := w.units[unit].Spec
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.places[unit] = Place{Machines: []string{"m1"}, Unplaced: &v1.Unplaced{Next: true, Message: "its next file fits nowhere"}}
	w.settleAll()
	require.Equal(t, before, w.units[unit].Spec)
	require.Equal(t, w.revisions[1].UnitFile, w.units[unit].Next.Hash)
	require.Equal(t, w.revisions[1].UnitFile, w.units["web@2.service"].Spec.Hash)
	require.Equal(t, 2, w.serving())
	require.NotContains(t, w.transcript(), "Normal RolloutComplete")
	delete(w.places, unit)
	w.settleAll()
	require.Equal(t, w.revisions[1].UnitFile, w.units[unit].Spec.Hash)
	require.Equal(t, []string{"Normal RolloutComplete", "putRevision web RevisionComplete"}, w.log[len(w.log)-2:])
}

// TestRoomThatTheOneBesideTakes: the instance that is started beside another one may take the only room for that one's new file. Then
// it goes, and the other one is replaced in place: both do not take turns for ever.
func TestRoomThatTheOneBesideTakes(t *testing.T) {
	const unit, beside = "web@1.service", "web@2.service"
	surges := func(version, placement string) string {
		text := strings.Replace(manifestOf("web", 1, version, false), "  update: {maxSurge: 0}\n", "", 1)
		return strings.Replace(text, "spec:", "spec:\n  placement: {machineMetadata: {disk: "+placement+"}}", 1)
	}
	w := newWorld(t, "web")
	w.apply("%s", surges("1", "hdd"))
	w.settleAll()
	w.apply("%s", surges("2", "ssd"))
	begun := w.now
	w.asked = func(v1.Next) []Asked { return []Asked{{"m2", begun}} }
	started := 0
	for range 2000 {
		_, was := w.units[beside]
		delete(w.places, unit)
		if was {
			w.places[unit] = Place{Machines: []string{"m1"}, Unplaced: &v1.Unplaced{Next: true, Message: "its next file fits nowhere"}}
		}
		w.now = w.now.Add(10 * time.Millisecond)
		w.elsewhere = map[string]v1.UnitState{unit: {ActiveState: "inactive", Prepared: v1.Prepared{Preparation: w.units[unit].Next.Preparation, State: v1.PreparedReady}}}
		w.plan()
		if _, is := w.units[beside]; is && !was {
			started++
		}
		for _, step := range w.steps() {
			step()
		}
	}
	require.Equal(t, 1, started)
	require.Equal(t, []string{unit}, w.unitNames())
	require.Equal(t, w.revisions[1].UnitFile, w.units[unit].Spec.Hash)
}
