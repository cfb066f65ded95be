package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// goes drains an instance's machine: the schedule controller marks the placements of both units.
func (w *world) goes(n int32, from string) {
	w.leaving = map[string]string{v1.AppUnit(w.app, n): from, v1.SidekickUnit(w.app, n): from}
}

// moves is the move itself: both units start again on another machine.
func (w *world) moves(n int32) {
	w.leaving = nil
	delete(w.states, v1.AppUnit(w.app, n))
	delete(w.states, v1.SidekickUnit(w.app, n))
	w.announcer(n)
}

func (w *world) letGo(n int32) string {
	return w.units[v1.AppUnit(w.app, n)].Rollout.LetGo
}

func TestInstanceIsWithdrawnBeforeItMoves(t *testing.T) {
	w := running(t, 2, true)
	w.goes(1, "m1")
	w.plan()
	require.Equal(t, "putUnit web-discovery@1.service WithdrawForMove loaded\nputUnit web@1.service WithdrawForMove launched", w.transcript())
	require.True(t, w.systemd("web-discovery@1.service"))
	w.plan()
	require.Empty(t, w.transcript(), "its endpoint is there")
	require.True(t, w.announcer(1))
	require.True(t, w.router("m1"))
	w.plan()
	require.Empty(t, w.transcript(), "one router still serves it")
	require.True(t, w.router("m2"))
	w.plan()
	require.Equal(t, "putUnit web@1.service LetGo launched", w.transcript())
	require.Equal(t, "m1", w.letGo(1))
	w.plan()
	require.Empty(t, w.transcript())

	w.moves(1)
	w.plan()
	require.Equal(t, "putUnit web@1.service Returned launched\nputUnit web-discovery@1.service Returned launched", w.transcript())
	require.Empty(t, w.letGo(1), "to leave m1 once more it is asked once more")
	w.goes(2, "m2")
	w.settleAll() // when the first is ready again, the second one moves
	require.Equal(t, "m2", w.letGo(2))
	require.Equal(t, "putUnit web@1.service MoveComplete launched\nNormal MoveComplete\n"+
		"putUnit web-discovery@2.service WithdrawForMove loaded\nputUnit web@2.service WithdrawForMove launched\nputUnit web@2.service LetGo launched", w.transcript())
	w.moves(2)
	w.settleAll()
	require.Equal(t, 2, w.serving())
	require.Empty(t, w.units["web@2.service"].Metadata.Annotations)
	require.NotContains(t, w.transcript(), "Rollout", "nothing was rolled out")
}

func TestOneInstanceMovesAtATime(t *testing.T) {
	w := running(t, 3, true)
	w.goes(1, "m1")
	w.settleAll()
	require.Equal(t, "m1", w.letGo(1))
	w.broken["web@1.service"] = true // it does not become healthy on its new machine
	w.moves(1)
	w.goes(2, "m2")
	w.settleAll()
	require.Empty(t, w.letGo(2))
	require.Equal(t, 2, w.serving())
	w.transcript()
	w.now = w.now.Add(5 * time.Minute)
	w.plan()
	require.Equal(t, "Warning MoveStalled", w.transcript())
	w.broken["web@1.service"] = false
	w.settleAll()
	require.Equal(t, "m2", w.letGo(2))
}

func TestMoveThatIsTakenBack(t *testing.T) {
	w := running(t, 2, true)
	w.goes(1, "m1")
	w.settleAll()
	require.Equal(t, 1, w.serving())
	w.leaving = nil
	w.settleAll()
	require.Equal(t, 2, w.serving())
	require.Empty(t, w.units["web@1.service"].Metadata.Annotations)
}

// A roll-out and a drain of one app never take away two instances at once.
func TestRolloutWaitsForAMove(t *testing.T) {
	w := running(t, 2, true)
	w.goes(1, "m1")
	w.plan()
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.settleAll()
	require.Equal(t, 1, w.serving())
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@2.service"].Spec.Hash)
	w.moves(1)
	w.settleAll()
	require.Equal(t, 2, w.serving())
	for n := int32(1); n <= 2; n++ {
		require.Equal(t, w.revisions[1].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash)
	}
	require.Equal(t, []string{"Normal RolloutComplete", "putRevision web RevisionComplete"}, w.log[len(w.log)-2:])
	require.NotContains(t, w.transcript(), "MoveComplete", "where it went it got the new file at once")
}

// A roll-out is complete when all instances are of the revision, even if one of them then has to move.
func TestRolloutThatEndsWhileAnInstanceIsToGo(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.replaced("web@2.service", 2)
	w.transcript()
	w.goes(1, "m1")
	w.settleAll()
	require.Equal(t, "m1", w.letGo(1))
	require.Contains(t, w.transcript(), "putUnit web@2.service RolloutComplete launched\nNormal RolloutComplete\n")
	w.moves(1)
	w.settleAll()
	require.NotContains(t, w.transcript(), "RolloutComplete")
}

// An instance that an earlier roll-out has touched, and that is out of date again, waits for its turn. The one that has to
// move does not wait for it, otherwise both would wait for each other.
func TestMoveDoesNotWaitForAnInstanceThatWaits(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	u := w.units["web@1.service"]
	touched := *u.Unit
	touched.Rollout = v1.Rollout{Phase: v1.RolloutUpdating, Since: w.now}
	w.units["web@1.service"] = StoredUnit{Unit: &touched, UID: u.UID, Revision: u.Revision}
	w.goes(2, "m2")
	w.settleAll()
	require.Equal(t, "m2", w.letGo(2))
	require.Equal(t, w.revisions[0].UnitFile, w.units["web@1.service"].Spec.Hash, "one at a time")
	w.moves(2)
	w.settleAll()
	for n := int32(1); n <= 2; n++ {
		require.Equal(t, w.revisions[1].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash)
	}
	require.Equal(t, 2, w.serving())
}

func TestInstanceThatIsNotAnnouncedIsLetGoAtOnce(t *testing.T) {
	w := running(t, 1, false)
	w.goes(1, "m1")
	w.plan()
	require.Equal(t, "putUnit web@1.service LetGo launched", w.transcript())
	w.moves(1)
	w.settleAll()
	require.Empty(t, w.units["web@1.service"].Metadata.Annotations)
}
