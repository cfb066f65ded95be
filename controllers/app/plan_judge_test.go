package app

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// reverting is a manifest that is taken back if it fails.
func reverting(replicas int, version string) string {
	return manifestOf("web", replicas, version, true) + "  update: {onFailure: revert}\n"
}

// trial is an app that runs, and of which a second version was applied and has begun.
func trial(t *testing.T) *world {
	w := newWorld(t, "web")
	w.apply("%s", reverting(2, "1"))
	w.settleAll()
	w.now = w.now.Add(time.Hour)
	w.apply("%s", reverting(2, "2"))
	w.plan()
	w.log = nil
	return w
}

func (w *world) requireRuns(revision int) {
	for n := int32(1); n <= 2; n++ {
		require.Equal(w.t, w.revisions[revision-1].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash)
	}
	require.Equal(w.t, 2, w.serving())
}

func TestRevisionThatIsNotReadyInTimeIsTakenBack(t *testing.T) {
	w := trial(t)
	w.brokenBy[w.revisions[1].UnitFile] = true
	plan := w.settleAll()
	require.Equal(t, 1, w.serving())
	require.Nil(t, w.revisions[1].Rejected)
	w.now = w.now.Add(plan.After)
	w.settleAll()
	w.requireRuns(1)
	rejected := w.revisions[1].Rejected
	require.NotNil(t, rejected)
	require.Equal(t, "web@1.service", rejected.Unit)
	require.Equal(t, "m1", rejected.Machine)
	require.Equal(t, "web@1.service is not ready after 5m0s: active, but not announced: its health check fails or has not passed yet", rejected.Message)
	require.Contains(t, w.transcript(), "putRevision web RevisionRejected\nWarning RevisionRejected")

	w.apply("%s", reverting(2, "2")) // the same once more
	w.settleAll()
	require.Len(t, w.revisions, 2, "it is not tried again")
	require.Empty(t, w.transcript())
	w.apply("%s", reverting(2, "3"))
	w.settleAll()
	w.requireRuns(3)
	require.EqualValues(t, 1, w.revisions[2].Before, "one that was rejected is none to return to")
}

func TestRevisionThatCrashesIsTakenBack(t *testing.T) {
	crashes := func(w *world, unit string) {
		s := w.states[unit]
		s.ActiveState, s.Restarts, s.ExitCode, s.ExitStatus, s.Output, s.Since = "activating", 9, "exited", 1, "no database", w.now
		s.SubState = "auto-restart"
		w.states[unit] = s
	}
	w := trial(t)
	w.replaced("web@1.service", 2)
	w.systemd("web@1.service")
	crashes(w, "web@1.service")
	w.plan()
	require.NotNil(t, w.revisions[1].Rejected)
	require.Contains(t, w.revisions[1].Rejected.Message, "web@1.service in a restart loop")
	require.Equal(t, "no database", w.revisions[1].Rejected.Output)
	w.settleAll()
	w.requireRuns(1)

	for name, after := range map[string]struct {
		after time.Duration
		taken bool
	}{"watched": {4 * time.Minute, true}, "watched no more": {6 * time.Minute, false}} {
		t.Run(name, func(t *testing.T) {
			w := trial(t)
			w.settleAll()
			require.NotZero(t, w.revisions[1].Complete)
			w.requireRuns(2)
			w.now = w.now.Add(after.after)
			crashes(w, "web@2.service")
			w.plan()
			require.Equal(t, after.taken, w.revisions[1].Rejected != nil)
		})
	}
}

func TestImageThatCannotBePulledIsTakenBack(t *testing.T) {
	w := newWorld(t, "web")
	w.image, w.pull = true, v1.PreparedReady
	w.apply("%s", reverting(2, "1"))
	w.settleAll()
	w.pull = v1.PreparedFailed
	w.apply("%s", reverting(2, "2"))
	plan := w.settleAll()
	w.now = w.now.Add(plan.After)
	w.settleAll()
	require.NotNil(t, w.revisions[1].Rejected)
	require.Contains(t, w.revisions[1].Rejected.Message, "the image of web@1.service is not on its machine after 5m0s")
	w.requireRuns(1)
}

// TestNotTakenBack: by default a roll-out stops, a first revision has none before it, and a number mends nothing.
func TestNotTakenBack(t *testing.T) {
	w := running(t, 2, true)
	w.apply("%s", manifestOf("web", 2, "2", true))
	w.plan()
	w.brokenBy[w.revisions[1].UnitFile] = true
	w.settleAll()
	w.now = w.now.Add(time.Hour)
	w.settleAll()
	require.Nil(t, w.revisions[1].Rejected)

	w = newWorld(t, "web")
	w.apply("%s", reverting(2, "1"))
	w.plan()
	w.brokenBy[w.revisions[0].UnitFile] = true
	w.settleAll()
	w.now = w.now.Add(time.Hour)
	w.settleAll()
	require.Nil(t, w.revisions[0].Rejected)
	w.apply("%s", strings.Replace(reverting(2, "1"), "replicas: 2", "replicas: 3", 1))
	w.settleAll()
	w.now = w.now.Add(time.Hour)
	w.settleAll()
	require.Nil(t, w.revisions[1].Rejected)
}

// A restart or a move that is under way says nothing of the revision: all instances were of it.
func TestRevisionThatWasCompleteIsReturnedTo(t *testing.T) {
	w := trial(t)
	w.settleAll()
	require.False(t, w.revisions[1].Complete.IsZero())
	w.leaving = map[string]string{"web@1.service": "m1", "web-discovery@1.service": "m1"}
	w.plan()
	require.True(t, w.units["web@1.service"].Rollout.UnderWay())
	w.apply("%s", reverting(2, "3"))
	w.plan()
	require.EqualValues(t, 2, w.revisions[2].Before)
}

// TestCompleteIsNoted: once for each revision, of whatever app, when all its instances are ready.
func TestCompleteIsNoted(t *testing.T) {
	for name, app := range map[string]*world{"announced": running(t, 2, true), "not announced": running(t, 2, false), "none": running(t, 0, true)} {
		t.Run(name, func(t *testing.T) {
			w := app
			w.t = t
			require.NotZero(t, w.revisions[0].Complete, "also of the first one")
			w.log = nil
			w.settleAll()
			require.Empty(t, w.log, "at rest nothing is written")
			replicas := int(w.revisions[0].Spec.Instances())
			w.apply("%s", manifestOf("web", replicas, "2", name == "announced"))
			if replicas > 0 {
				w.plan()
				require.Zero(t, w.revisions[1].Complete)
			}
			w.settleAll()
			require.NotZero(t, w.revisions[1].Complete)
			require.Equal(t, 1, strings.Count(strings.Join(w.log, "\n"), "putRevision web RevisionComplete"))
			for _, u := range w.units {
				require.False(t, v1.RolloutOf(u.Unit, nil).UnderWay())
			}
		})
	}
}

// TestACommentIsARevision: with its own text, and the same files, so that nothing is restarted. What was found out about the one before
// holds for it; the same bytes written again are none.
func TestACommentIsARevision(t *testing.T) {
	w := running(t, 2, true)
	before := w.revisions[0]
	text := string(w.manifest.Raw)
	w.apply("%s", "# why\n"+text)
	w.settleAll()
	require.Equal(t, "putRevision web Reworded\nNormal Reworded", w.transcript())
	require.Len(t, w.revisions, 2)
	is := w.revisions[1]
	require.Equal(t, "# why\n"+text, is.Manifest)
	require.Equal(t, text, w.revisions[0].Manifest)
	before.Number, before.Manifest, before.ManifestRevision, before.AcceptedAt = is.Number, is.Manifest, w.manifest.Revision, is.AcceptedAt
	require.Equal(t, before, is)

	w.apply("%s", "# why\n"+text)
	w.settleAll()
	require.Empty(t, w.transcript())
	w.apply("%s", text)
	w.settleAll()
	require.Len(t, w.revisions, 3, "it is taken away again")

	w.apply("%s", manifestOf("web", 2, "2", true))
	w.plan()
	w.apply("%s", "# in the middle\n"+manifestOf("web", 2, "2", true))
	w.settleAll()
	require.Equal(t, []int64{5, 5}, []int64{int64(len(w.revisions)), w.revisions[4].Number})
	require.Equal(t, w.revisions[3].UnitFile, w.units["web@1.service"].Spec.Hash, "the roll-out goes on")
	require.NotZero(t, w.revisions[4].Complete)
	require.EqualValues(t, 3, w.revisions[4].Before, "what it would return to is the same")
}
