package app

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// has returns the revisions that the app's instances are of.
func (w *world) has() (numbers []int64) {
	for n := int32(1); n <= 20; n++ {
		for _, r := range w.revisions {
			if u, ok := w.units[v1.AppUnit("web", n)]; ok && u.Spec.Hash == r.UnitFile {
				numbers = append(numbers, r.Number)
				break
			}
		}
	}
	return numbers
}

// TestPausedAndResumed: what was replaced stays, what was about to be returns, and nothing else is touched, also under another leader.
func TestPausedAndResumed(t *testing.T) {
	for name, w := range map[string]*world{"in place": running(t, 3, true), "surging": surging(t, 3, 1, 0)} {
		t.Run(name, func(t *testing.T) {
			w.apply("%s", manifestOf("web", 3, "2", true))
			w.replaced("web@1.service", 2)
			w.wish.Paused = true
			w.settleAll()
			require.Equal(t, []int64{2, 1, 1}, w.has())
			require.Equal(t, 3, w.serving())
			require.NotContains(t, w.transcript(), "Normal RolloutComplete", "it is not complete")
			w.log = nil

			w.overrides = map[string]v1.Override{"web@2.service": {DesiredState: v1.Launched, RequestedAt: "t", Restart: true}}
			w.settleAll()
			require.Equal(t, "t", w.units["web@2.service"].Spec.RequestedAt, "a restart is no replacement")
			require.Equal(t, []int64{2, 1, 1}, w.has())
			w.apply("%s", manifestOf("web", 3, "3", true))
			w.settleAll()
			require.Equal(t, []int64{2, 1, 1}, w.has(), "a later manifest waits, too")

			w.wish.Paused = false
			w.settleAll()
			require.Equal(t, []int64{3, 3, 3}, w.has())
			require.Contains(t, w.transcript(), "Normal RolloutComplete")
		})
	}
}

// TestPausedRevisionIsTakenBack: a pause does not keep a failing revision.
func TestPausedRevisionIsTakenBack(t *testing.T) {
	w := trial(t)
	w.brokenBy[w.revisions[1].UnitFile] = true
	w.replaced("web@1.service", 2)
	w.wish.Paused = true
	plan := w.settleAll()
	w.now = w.now.Add(plan.After)
	w.settleAll()
	w.requireRuns(1)
}

func TestAborted(t *testing.T) {
	w := running(t, 3, true)
	w.wish.Aborted = 1
	w.settleAll()
	require.Nil(t, w.revisions[0].Rejected, "there is none before it")
	w.apply("%s", manifestOf("web", 3, "2", true))
	w.replaced("web@2.service", 2)
	w.wish.Aborted, w.wish.Paused = 2, true
	w.settleAll()
	require.Equal(t, []int64{1, 1, 1}, w.has())
	require.Equal(t, &v1.Rejection{At: w.revisions[1].Rejected.At, Since: w.revisions[1].AcceptedAt, Message: "fleetctl rollout abort asked for that"}, w.revisions[1].Rejected)
	require.Equal(t, 3, w.serving())
	w.now = w.now.Add(time.Hour)
	w.log = nil
	w.settleAll()
	require.Empty(t, w.transcript(), "it is not tried again")
	w.wish.Paused = false
	w.apply("%s", manifestOf("web", 3, "3", true))
	w.settleAll()
	require.Equal(t, []int64{3, 3, 3}, w.has())
}
