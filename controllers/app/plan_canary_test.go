package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/generate"
)

// tried is an app of two instances that runs, and of which a second version was applied with a canary that is up.
func tried(t *testing.T, canary string) *world {
	manifest := func(version string) string {
		return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 2\n  exec: {command: [/bin/app, %q]}\n"+
			"  ports: [{name: http, hostPort: auto}]\n  announce: {}\n  update: {canary: {%s}}\n", version, canary)
	}
	w := newWorld(t, "web")
	w.apply("%s", manifest("1"))
	w.settleAll()
	require.Equal(t, []int64{1, 1}, w.has(), "a first revision has no canary")
	w.now = w.now.Add(time.Hour)
	w.log = nil
	w.apply("%s", manifest("2"))
	w.settleAll()
	return w
}

// counts has a router count so many responses of an instance.
func (w *world) counts(n int32, requests, errors int64) {
	r := w.routers["m1"]
	r.Counts = append(r.Counts, v1.EndpointCounts{Endpoint: v1.DefaultAnnouncePrefix + "/" + v1.EndpointName("web", n), Token: w.route.Value.Count, Errors: errors, Latency: []int64{0, requests}})
	w.routers["m1"] = r
}

// TestCanary: one instance of the new revision and a fresh one of the old are beside the others, which stay until both were compared.
func TestCanary(t *testing.T) {
	w := tried(t, "requests: 500")
	require.Equal(t, []int64{1, 1, 2, 1}, w.has())
	require.Equal(t, 4, w.serving())
	require.NotEmpty(t, w.route.Value.Count)
	w.counts(3, 499, 1)
	w.counts(4, 800, 0)
	w.settleAll()
	require.Equal(t, []int64{1, 1, 2, 1}, w.has(), "too few requests to say")
	w.routers["m1"] = v1.Router{Revision: w.changed}
	w.counts(3, 500, 1)
	w.counts(4, 800, 0)
	w.settleAll()
	require.Equal(t, []int64{2, 2}, w.has())
	require.Equal(t, "500 requests to the canary, 1 of them answered with 5xx, and 800 to fresh instances of revision 1, 0 with 5xx", w.revisions[1].Canary.Message)
	require.Empty(t, w.route.Value.Count, "nothing is counted any more")
}

// TestCanaryThatIsWorseIsTakenBack: also one that waits for a person. No instance of the old revision was touched.
func TestCanaryThatIsWorseIsTakenBack(t *testing.T) {
	for _, canary := range []string{"instances: 1", "pause: true"} {
		w := tried(t, canary)
		w.counts(3, 400, 20)
		w.counts(4, 400, 0)
		w.log = nil
		w.settleAll()
		require.Equal(t, []int64{1, 1}, w.has())
		require.Equal(t, "the canary is worse than revision 1: 5% (20 of 400) of its requests failed with 5xx, and 0% (0 of 400) of the old version's", w.revisions[1].Rejected.Message)
		require.NotContains(t, w.transcript(), "web@1.service")
		require.NotContains(t, w.transcript(), "web@2.service")
	}
}

func TestCanaryThatFailsIsTakenBack(t *testing.T) {
	w := tried(t, "pause: true")
	s := w.states["web@3.service"]
	s.ActiveState, s.SubState, s.Restarts, s.Output = "activating", "auto-restart", 9, "no database"
	w.states["web@3.service"] = s
	w.plan()
	require.Contains(t, w.revisions[1].Rejected.Message, "the canary web@3.service in a restart loop")
	require.Equal(t, "no database", w.revisions[1].Rejected.Output)
	w.settleAll()
	require.Equal(t, []int64{1, 1}, w.has())
}

// TestCanaryWaits: for a person with pause, else for its timeout at most.
func TestCanaryWaits(t *testing.T) {
	w := tried(t, "pause: true")
	w.counts(3, 5000, 0)
	w.counts(4, 5000, 0)
	w.now = w.now.Add(24 * time.Hour)
	w.settleAll()
	require.Equal(t, []int64{1, 1, 2, 1}, w.has())
	w.wish.Resumed = 2
	w.settleAll()
	require.Equal(t, []int64{2, 2}, w.has())
	require.Contains(t, w.revisions[1].Canary.Message, "fleetctl rollout resume asked for that; 5000 requests")

	w = tried(t, "timeout: 10m")
	w.counts(3, 7, 0)
	w.now = w.now.Add(11 * time.Minute)
	w.settleAll()
	require.Equal(t, []int64{2, 2}, w.has())
	require.Contains(t, w.revisions[1].Canary.Message, "too few requests came within 10m0s to compare by: 7 requests to the canary")

	w = tried(t, "pause: true")
	w.wish.Aborted = 2
	w.settleAll()
	require.Equal(t, []int64{1, 1}, w.has(), "a trial is aborted like a roll-out")
}

// migratedCanary is a manifest with a release command and a canary.
func migratedCanary(command, version string) string {
	return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 2\n  exec: {command: [/bin/app, %q]}\n"+
		"  ports: [{name: http, hostPort: auto}]\n  announce: {}\n  update: {canary: {timeout: 10m}}\n  release: {command: [/bin/migrate, %q], timeout: 1h}\n", version, command)
}

// TestCanaryAfterTheReleaseCommand: the canary begins when the command has ended, and its time then, too. One that fails has none.
func TestCanaryAfterTheReleaseCommand(t *testing.T) {
	for _, status := range []int{0, 1} {
		w := newWorld(t, "web")
		w.apply("%s", migratedCanary("up", "1"))
		w.settleAll()
		w.endRelease(0)
		w.settleAll()
		w.requireRuns(1)
		w.now = w.now.Add(time.Hour)

		w.apply("%s", migratedCanary("up", "2"))
		w.settleAll()
		require.True(t, w.runsRelease(2))
		require.Equal(t, []int64{1, 1}, w.has(), "no canary beside the command")
		require.Empty(t, w.route.Value.Count)
		w.now = w.now.Add(30 * time.Minute)
		w.log = nil
		w.endRelease(status)
		w.settleAll()
		if status != 0 {
			require.Contains(t, w.revisions[1].Rejected.Message, "its release command failed")
			require.Equal(t, []int64{1, 1}, w.has())
			continue
		}
		require.Equal(t, []int64{1, 1, 2, 1}, w.has())
		require.Regexp(t, `(?s)^putRevision web Released.*putUnit web@3\.service Surge`, w.transcript())
		w.now = w.now.Add(9 * time.Minute)
		w.settleAll()
		require.Nil(t, w.revisions[1].Canary, "its 10m began with the end of the command")
		w.now = w.now.Add(2 * time.Minute)
		w.settleAll()
		require.Equal(t, []int64{2, 2}, w.has())
		require.Contains(t, w.revisions[1].Canary.Message, "too few requests came within 10m0s")
	}
}

// TestWhatACanaryReturnsTo: a manifest that comes while the command of an earlier one runs has its canary beside what runs, never beside
// a revision whose command has not ended.
func TestWhatACanaryReturnsTo(t *testing.T) {
	w := newWorld(t, "web")
	w.apply("%s", migratedCanary("up", "1"))
	w.settleAll()
	require.True(t, w.runsRelease(1))
	w.apply("%s", migratedCanary("up again", "2"))
	w.settleAll()
	w.endRelease(0)
	w.settleAll()
	require.True(t, w.runsRelease(2))
	w.endRelease(0)
	w.settleAll()
	require.Zero(t, w.revisions[1].Before)
	require.Equal(t, []int64{2, 2}, w.has(), "there is nothing to hold it against")

	w.now = w.now.Add(time.Hour)
	w.apply("%s", migratedCanary("more", "3"))
	w.settleAll()
	w.apply("%s", migratedCanary("most", "4"))
	w.settleAll()
	for !w.runsRelease(4) {
		w.endRelease(0)
		w.settleAll()
	}
	w.endRelease(0)
	w.settleAll()
	require.Equal(t, int64(2), w.revisions[3].Before)
	require.Equal(t, []int64{2, 2, 4, 2}, w.has())
}

// TestNoCanaryOfTheSameInstances: of a change of the command alone, there is nothing to try.
func TestNoCanaryOfTheSameInstances(t *testing.T) {
	w := newWorld(t, "web")
	w.apply("%s", migratedCanary("up", "1"))
	w.settleAll()
	w.endRelease(0)
	w.settleAll()
	w.apply("%s", migratedCanary("down", "1"))
	w.settleAll()
	require.True(t, w.runsRelease(2))
	require.Equal(t, "no canary: no instance is replaced one by one", w.revisions[1].Canary.Message)
	w.endRelease(0)
	w.settleAll()
	require.Len(t, w.has(), 2)
	require.False(t, w.revisions[1].OnTrial())
}

// TestShareOfRequests: the routes say what the canary gets while it is tried, and also while one that was taken back is still there.
func TestShareOfRequests(t *testing.T) {
	share := &v1.RouteCanary{Percent: 5, Units: []string{"web@3"}, Fresh: []string{"web@4"}}
	w := tried(t, "weight: 5%, pause: true")
	require.Equal(t, share, w.route.Value.Canary)
	require.Regexp(t, `(?s)putRoute web RouteChanged.*putUnit web@3\.service Surge`, w.transcript(), "its instance never gets more")
	w.wish.Resumed = 2
	w.settleAll()
	require.Equal(t, []int64{2, 2}, w.has())
	require.Nil(t, w.route.Value.Canary, "all are equal again")

	w = tried(t, "weight: 5%")
	w.counts(3, 400, 20)
	w.counts(4, 400, 0)
	for range 100 {
		if _, there := w.units["web@3.service"]; !there {
			break
		}
		w.plan()
		require.Equal(t, share, w.route.Value.Canary, "it is taken back, and its instance is not gone")
		for _, step := range w.steps() {
			step()
		}
	}
	w.settleAll()
	require.NotNil(t, w.revisions[1].Rejected)
	require.Nil(t, w.route.Value.Canary)

	require.Nil(t, tried(t, "pause: true").route.Value.Canary, "no weight, no share")
}

// TestCanaryThatBeginsLate: its files are written when it begins, which may be long after its revision was accepted.
func TestCanaryThatBeginsLate(t *testing.T) {
	manifest := func(version string) string {
		return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 2\n  exec: {command: [/bin/app, %q]}\n"+
			"  ports: [{name: http, hostPort: auto}]\n  announce: {}\n  update: {canary: {pause: true}}\n", version)
	}
	w := newWorld(t, "web")
	w.apply("%s", manifest("1"))
	w.settleAll()
	w.wish.Paused = true
	w.apply("%s", manifest("2"))
	w.settleAll()
	require.NotContains(t, w.texts, w.revisions[1].UnitFile)

	otherwise := w.input()
	otherwise.Wish.Paused = false
	otherwise.Generate = anotherVersion
	again := Plan(otherwise).Actions[0]
	require.Equal(t, FileLost, again.Reason)
	require.EqualValues(t, 3, again.NewRevision.Number)
	require.True(t, again.NewRevision.OnTrial(), "it is still tried")
	require.EqualValues(t, 1, again.NewRevision.Before)

	w.wish.Paused = false
	w.settleAll()
	require.Equal(t, []int64{1, 1, 2, 1}, w.has())
	require.Contains(t, w.texts[w.revisions[1].UnitFile], "ExecStart=/bin/app 2\n")
}

// anotherVersion writes unit files in other words.
func anotherVersion(name string, spec *v1.AppSpec) (generate.Files, error) {
	files, err := generate.Units(name, spec)
	files.Unit += "# as another version writes it\n"
	return files, err
}

// TestFilesAreLostAsARevisionComes: what goes on while the new one is tried, or its release command runs, gets its files and its number first.
func TestFilesAreLostAsARevisionComes(t *testing.T) {
	manifest := func(version, option string) string {
		return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 2\n  exec: {command: [/bin/app, %q]}\n"+
			"  ports: [{name: http, hostPort: auto}]\n  announce: {}\n  %s\n", version, option)
	}
	for _, option := range []string{"update: {canary: {pause: true}}", "release: {command: [/bin/migrate]}"} {
		w := newWorld(t, "web")
		w.apply("%s", manifest("1", ""))
		w.settleAll()
		clear(w.texts)
		w.generate = anotherVersion
		w.apply("%s", manifest("2", option))
		w.plan()
		require.Len(t, w.revisions, 2, option)
		require.Equal(t, w.revisions[0].Spec, w.revisions[1].Spec, "what runs")
		require.Equal(t, w.revisions[0].ManifestRevision, w.revisions[1].ManifestRevision, "the manifest is looked at again")
		w.settleAll()
		require.Len(t, w.revisions, 3, option)
		require.Equal(t, w.manifest.Revision, w.revisions[2].ManifestRevision)
		require.Contains(t, w.texts[w.revisions[1].UnitFile], "ExecStart=/bin/app 1\n")
	}
}

// TestCountedFromTheBeginning: what had the number of the canary before does not count for it.
func TestCountedFromTheBeginning(t *testing.T) {
	manifest := func(version, update string) string {
		return fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: 1\n  exec: {command: [/bin/app, %q]}\n"+
			"  ports: [{name: http, hostPort: auto}]\n  announce: {}\n  update: {%s}\n", version, update)
	}
	w := newWorld(t, "web")
	w.apply("%s", manifest("1", ""))
	w.settleAll()
	w.apply("%s", manifest("2", ""))
	w.plan()
	require.Contains(t, w.unitNames(), "web@2.service", "it is beside the other")
	w.apply("%s", manifest("3", "canary: {pause: true}"))
	looked := 0
	for range 200 {
		w.now = w.now.Add(time.Millisecond)
		w.plan()
		for _, step := range w.steps() {
			step()
		}
		if second, is := w.units["web@2.service"]; is && second.Spec.Hash == w.revisions[1].UnitFile {
			require.Empty(t, w.route.Value.Count)
			looked++
		}
	}
	require.NotZero(t, looked)
	require.NotEmpty(t, w.route.Value.Count)
}
