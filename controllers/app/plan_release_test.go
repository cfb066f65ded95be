package app

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

const releaseUnit = "web-release.service"

// migrating is a manifest with a release command.
func migrating(replicas int, version string) string {
	return manifestOf("web", replicas, version, true) + "  release: {command: [/bin/migrate], timeout: 1m}\n"
}

// migrated is an app whose first release command has ended, and that runs.
func migrated(t *testing.T) *world {
	w := newWorld(t, "web")
	w.apply("%s", migrating(2, "1"))
	w.settleAll()
	w.endRelease(0)
	w.settleAll()
	w.log = nil
	w.now = w.now.Add(time.Hour)
	return w
}

// endRelease ends the release command that runs with that exit status.
func (w *world) endRelease(status int) {
	s := w.states[releaseUnit]
	require.Equal(w.t, "activating", s.ActiveState, "it runs")
	s.ActiveState, s.SubState, s.Result, s.ExitCode, s.ExitStatus = "inactive", "dead", "success", "exited", status
	if status != 0 {
		s.ActiveState, s.SubState, s.Result, s.Output = "failed", "failed", "exit-code", "no such table"
	}
	w.states[releaseUnit] = s
}

// runsRelease reports whether the release command of that revision is to run.
func (w *world) runsRelease(revision int) bool {
	u := w.units[releaseUnit]
	return u.Unit != nil && u.Spec.DesiredState == v1.Launched && u.Metadata.Annotations[v1.AnnotationRelease] == fmt.Sprint(revision)
}

func TestNothingIsReplacedBeforeTheReleaseCommandHasEnded(t *testing.T) {
	w := migrated(t)
	require.False(t, w.runsRelease(1))
	require.Equal(t, v1.Loaded, w.units[releaseUnit].Spec.DesiredState, "its log can be read")
	w.apply("%s", migrating(2, "2"))
	w.plan()
	require.Equal(t, "putRevision web Accepted\nNormal Accepted", w.transcript(), "what runs goes on")
	w.settleAll()
	require.Regexp(t, "^putUnitFile [0-9a-f]+ Referenced\nputUnit web-release.service Releasing launched\nNormal Releasing$", w.transcript())
	require.True(t, w.runsRelease(2))
	w.requireRuns(1)
	w.plan()
	require.Empty(t, w.transcript(), "a new leader starts none")

	w.endRelease(0)
	w.plan()
	require.Equal(t, "putRevision web Released\nNormal Released", w.transcript())
	w.settleAll()
	w.requireRuns(2)
	require.Contains(t, w.transcript(), "Normal RolloutComplete")
}

func TestNothingRunsBeforeTheFirstReleaseCommandHasEnded(t *testing.T) {
	w := newWorld(t, "web")
	w.apply("%s", migrating(2, "1"))
	w.settleAll()
	require.Equal(t, []string{releaseUnit}, w.unitNames())
	require.Nil(t, w.route.Value)
	w.endRelease(1)
	w.settleAll()
	require.NotNil(t, w.revisions[0].Rejected)
	require.Equal(t, []string{releaseUnit}, w.unitNames(), "with the log of what failed")
	w.apply("%s", migrating(2, "2"))
	w.settleAll()
	w.endRelease(0)
	w.settleAll()
	w.requireRuns(2)
}

func TestReleaseCommandThatFailsRejectsTheRevision(t *testing.T) {
	for name, c := range map[string]struct {
		fail func(*world)
		want string
	}{
		"exit status": {func(w *world) { w.endRelease(3) }, "its release command failed on m1: failed, result exit-code, exit status 3"},
		"too long":    {func(w *world) { w.now = w.now.Add(6 * time.Minute) }, "its release command runs on m1, and has not ended within 6m0s"},
		"no machine": {func(w *world) {
			delete(w.states, releaseUnit)
			w.places[releaseUnit] = Place{Unplaced: &v1.Unplaced{Message: "0 of 2 machines fit"}}
			w.now = w.now.Add(5 * time.Minute)
		}, "its release command has no machine: 0 of 2 machines fit, for 5m0s"},
		"no image": {func(w *world) {
			u := w.units[releaseUnit]
			w.states[releaseUnit] = v1.UnitState{ActiveState: "inactive", DesiredState: v1.Launched, RequestedAt: u.Spec.RequestedAt, Message: "pull: no such image",
				Prepared: v1.Prepared{Preparation: v1.Preparation{Hash: u.Spec.Hash, RequestedAt: u.Spec.RequestedAt}, State: v1.PreparedFailed, Message: "pull: no such image"}}
			w.now = w.now.Add(5 * time.Minute)
		}, "its release command cannot be started on m1: pull: no such image, for 5m0s"},
		"a dependency": {func(w *world) {
			s := w.states[releaseUnit]
			s.ActiveState, s.SubState, s.JobResult, s.Message = "inactive", "dead", "dependency", "not started: dependency"
			w.states[releaseUnit] = s
		}, "its release command could not be started on m1: not started: dependency"},
	} {
		t.Run(name, func(t *testing.T) {
			w := migrated(t)
			w.apply("%s", migrating(2, "2"))
			w.settleAll()
			w.log = nil
			c.fail(w)
			w.plan()
			require.NotNil(t, w.revisions[1].Rejected)
			require.Equal(t, c.want, w.revisions[1].Rejected.Message)
			require.Equal(t, releaseUnit, w.revisions[1].Rejected.Unit)
			if name == "exit status" {
				require.Equal(t, "no such table", w.revisions[1].Rejected.Output)
			}
			require.Contains(t, w.transcript(), "putRevision web RevisionRejected")
			w.settleAll()
			w.requireRuns(1)
			require.False(t, w.runsRelease(2), "what takes too long is stopped")

			w.log = nil
			w.apply("%s", migrating(2, "2")+"# a comment\n")
			w.settleAll()
			require.Equal(t, "putRevision web Reworded\nNormal Reworded", w.transcript(), "it is not tried again")
			w.requireRuns(1)
			delete(w.places, releaseUnit)
			w.apply("%s", migrating(2, "3"))
			w.settleAll()
			w.endRelease(0)
			w.settleAll()
			w.requireRuns(4)
		})
	}
}

// TestWhatNeedsARelease: only what changes the instances or the command.
func TestWhatNeedsARelease(t *testing.T) {
	for name, c := range map[string]struct {
		manifest string
		needs    bool
	}{
		"the number":      {migrating(3, "1"), false},
		"hosts":           {migrating(2, "1") + "  route: {hosts: [a.example.com]}\n", false},
		"roll-outs":       {migrating(2, "1") + "  update: {minReady: 7s}\n", false},
		"the timeout":     {strings.Replace(migrating(2, "1"), "1m", "2m", 1), false},
		"no command":      {manifestOf("web", 2, "2", true), false},
		"the command":     {strings.Replace(migrating(2, "1"), "/bin/migrate", "/bin/migrate2", 1), true},
		"the program":     {migrating(2, "2"), true},
		"the environment": {migrating(2, "1") + "  env: {A: b}\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := migrated(t)
			w.apply("%s", c.manifest)
			w.settleAll()
			require.Len(t, w.revisions, 2)
			require.Equal(t, c.needs, w.runsRelease(2))
			if c.needs {
				w.endRelease(0)
				w.settleAll()
			}
			for n := int32(1); n <= 2; n++ {
				require.Equal(t, w.revisions[1].UnitFile, w.units[v1.AppUnit("web", n)].Spec.Hash)
			}
			_, kept := w.units[releaseUnit]
			require.Equal(t, name != "no command", kept)
		})
	}
}

// TestNewerManifestWhileTheReleaseCommandRuns: it may be in the middle of a migration, so it runs to its end.
func TestNewerManifestWhileTheReleaseCommandRuns(t *testing.T) {
	w := migrated(t)
	w.apply("%s", migrating(2, "2"))
	w.settleAll()
	w.apply("%s", migrating(2, "3"))
	w.log = nil
	w.settleAll()
	require.Equal(t, "putRevision web Accepted\nNormal Accepted", w.transcript())
	require.EqualValues(t, 1, w.revisions[2].Release.Meanwhile)
	w.endRelease(1) // of the revision that nothing waits for any more
	w.settleAll()
	require.True(t, w.runsRelease(3))
	w.requireRuns(1)

	w.apply("%s", migrating(3, "3")) // only the number: the command that runs counts
	w.log = nil
	w.settleAll()
	require.EqualValues(t, 3, w.revisions[3].Release.Revision)
	require.NotContains(t, w.transcript(), "Releasing")
	w.endRelease(0)
	w.settleAll()
	require.Equal(t, 3, w.serving())
	require.Equal(t, w.revisions[3].UnitFile, w.units["web@3.service"].Spec.Hash)
	require.NotContains(t, w.transcript(), "Releasing")

	w.apply("%s", migrating(3, "4"))
	w.settleAll()
	w.apply("%s", migrating(3, "3")) // as before: nothing waits for what runs
	w.settleAll()
	require.True(t, w.runsRelease(5))
	w.endRelease(0)
	w.settleAll()
	require.False(t, w.runsRelease(5))
	require.Equal(t, 3, w.serving())
}

func TestMachineOfAReleaseCommandIsLost(t *testing.T) {
	w := migrated(t)
	w.apply("%s", migrating(2, "2"))
	w.settleAll()
	delete(w.states, releaseUnit)
	w.places[releaseUnit] = Place{Away: true}
	w.plan()
	w.places[releaseUnit] = Place{Machines: []string{"m1"}} // it was moved
	w.settleAll()
	w.requireRuns(1)
	w.endRelease(0)
	w.settleAll()
	w.requireRuns(2)
}

func TestAppIsDeletedWhileItsReleaseCommandRuns(t *testing.T) {
	w := migrated(t)
	w.apply("%s", migrating(2, "2"))
	w.settleAll()
	w.manifest, w.route = nil, Route{}
	w.settleAll()
	require.Empty(t, w.units)
}

// TestRolloutIsPausedOrAbortedBeforeItsReleaseCommand: nothing begins while a person pauses it, and an abort stops what runs.
func TestRolloutIsPausedOrAbortedBeforeItsReleaseCommand(t *testing.T) {
	w := migrated(t)
	w.wish.Paused = true
	w.apply("%s", migrating(2, "2"))
	w.settleAll()
	require.False(t, w.runsRelease(2))
	w.wish.Paused = false
	w.settleAll()
	require.True(t, w.runsRelease(2))
	w.wish.Aborted = 2
	w.settleAll()
	require.False(t, w.runsRelease(2))
	require.Equal(t, "fleetctl rollout abort asked for that", w.revisions[1].Rejected.Message)
	w.requireRuns(1)
}
