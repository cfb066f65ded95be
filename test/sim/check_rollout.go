package sim

import (
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// What runs of an app is found here without the product's own functions: mutants change those.

// rollouts is what a checker remembers of roll-outs.
type rollouts struct {
	// releases are the last ends of apps' release commands, and releaseAsked is when one was last asked for.
	releases     map[string]releaseEnd
	releaseAsked map[string]time.Time
}

type releaseEnd struct {
	at   time.Time
	argv []string
	ok   bool
}

func newRollouts() rollouts {
	return rollouts{releases: map[string]releaseEnd{}, releaseAsked: map[string]time.Time{}}
}

func releasing(r *v1.Revision) bool { return r.Release != nil && r.Release.Ended.IsZero() }

func onTrial(r *v1.Revision) bool {
	return r.Spec.Update != nil && r.Spec.Update.Canary != nil && r.Before != 0 && r.Canary == nil && r.Rejected == nil && !releasing(r)
}

// undecided reports whether a canary tries the revision, or its release command has not ended.
func undecided(r *v1.Revision) bool { return r.Rejected == nil && (releasing(r) || onTrial(r)) }

// runsOf is the revision that an app's instances should be of; nil if there is none.
func (c *checker) runsOf(app string) *v1.Revision {
	latest := c.latest(app)
	if latest == nil || latest.Rejected == nil && !undecided(latest) {
		return latest
	}
	before := latest.Before
	if releasing(latest) {
		before = latest.Release.Meanwhile
	}
	for _, name := range c.names(c.keys.Revisions().Key(app + "/")) {
		revision, err := c.keys.Revisions().Decode(c.kv[c.keys.Revisions().Key(app+"/"+name)].Value)
		if err == nil && revision.Number == before && before != 0 {
			return &revision
		}
	}
	if releasing(latest) {
		return nil
	}
	return latest
}

// unitWritten checks what the app controller does with an instance, and records when it asks for a release command.
func (c *checker) unitWritten(name string, was store.KV, e store.Event, writer *process) {
	unit, err := c.keys.Units().Decode(e.Value)
	if e.Deleted || err != nil || writer == nil || writer.kind != kindFleetd || unit.Metadata.Owner == "" {
		return
	}
	before, _ := c.keys.Units().Decode(was.Value) // none has no hash
	app := unit.Metadata.Owner
	if name == v1.ReleaseUnit(app) {
		if unit.Spec.DesiredState == v1.Launched && unit.Spec.RequestedAt != before.Spec.RequestedAt {
			c.releaseAsked[app] = time.Now()
		}
		return
	}
	n, sidekick, ok := v1.ParseAppUnit(app, name)
	if !ok || sidekick {
		return
	}
	if runs := c.runsOf(app); runs != nil && unit.Rollout.UnderWay() && !v1.RolloutOf(&before, nil).UnderWay() {
		c.takenOut(app, n, runs, &unit, writer)
	}
	c.fileGiven(app, n, &before, &unit)
}

// fileGiven checks that an instance gets no file of a revision that was taken back, or is not decided.
func (c *checker) fileGiven(app string, n int32, before, unit *v1.Unit) {
	latest, runs, name := c.latest(app), c.runsOf(app), v1.AppUnit(app, n)
	if latest == nil || latest.Rejected == nil && !undecided(latest) {
		return
	}
	becomes := before.Spec.Hash != unit.Spec.Hash && unit.Spec.Hash == latest.UnitFile && (runs == nil || runs.UnitFile != unit.Spec.Hash)
	switch {
	case latest.Rejected != nil:
		if c.counts.Check(invRejected); becomes {
			c.w.fail(invRejected, "%s gets the file of revision %d, which was taken back: %s", name, latest.Number, latest.Rejected.Message)
		}
	case releasing(latest):
		if c.counts.Check(invRelease); becomes {
			c.w.fail(invRelease, "%s gets the file of revision %d, whose release command has not ended", name, latest.Number)
		}
	default:
		first := max(runs.Spec.Instances(), latest.Spec.Instances()) + 1
		tried := n >= first && n < first+latest.Spec.Update.Canary.Filled().Instances
		if c.counts.Check(invCanary); becomes && !tried {
			c.w.fail(invCanary, "%s gets the file of revision %d, whose canary is not decided", name, latest.Number)
		}
	}
}

// revisionWritten checks the end of a canary, and of a release command.
func (c *checker) revisionWritten(name string, was store.KV, e store.Event, writer *process) {
	app, _, ok := strings.Cut(name, "/")
	is, err := c.keys.Revisions().Decode(e.Value)
	if e.Deleted || !ok || err != nil || writer == nil || writer.kind != kindFleetd {
		return
	}
	before, _ := c.keys.Revisions().Decode(was.Value) // none has not ended
	if releasing(&before) && !releasing(&is) {
		c.counts.Check(invRelease)
		end := c.releases[app]
		if !end.ok || end.at.Before(c.releaseAsked[app]) || !slices.Equal(end.argv, is.Spec.Release.Command) {
			c.w.fail(invRelease, "revision %d of %s is rolled out, and its release command %v has not ended with success: %+v", is.Number, app, is.Spec.Release.Command, end)
		}
	}
	if !onTrial(&before) || onTrial(&is) {
		return
	}
	worse := answersWorse(&is) && !answersWorse(c.revisionOf(app, is.Before))
	switch {
	case is.Rejected != nil && strings.HasPrefix(is.Rejected.Message, "the canary is worse"):
		if c.counts.Check(invVerdict); !worse {
			c.w.fail(invVerdict, "revision %d of %s was taken back: %s", is.Number, app, is.Rejected.Message)
		}
	case is.Canary != nil && strings.Contains(is.Canary.Message, " requests to the canary") && !strings.HasPrefix(is.Canary.Message, "too few"):
		if c.counts.Check(invVerdict); worse {
			c.w.fail(invVerdict, "all instances of %s follow the canary of revision %d, which answers with errors: %s", app, is.Number, is.Canary.Message)
		}
	}
}

func (c *checker) revisionOf(app string, number int64) *v1.Revision {
	for _, name := range c.names(c.keys.Revisions().Key(app + "/")) {
		if r, err := c.keys.Revisions().Decode(c.kv[c.keys.Revisions().Key(app+"/"+name)].Value); err == nil && r.Number == number {
			return &r
		}
	}
	return nil
}

// answersWorse reports whether the instances of a revision answer with errors.
func answersWorse(r *v1.Revision) bool {
	return r != nil && r.Spec.Exec != nil && slices.Contains(r.Spec.Exec.Command, worseFlag)
}

// releaseStarts checks that a release command runs nowhere else.
func (c *checker) releaseStarts(h *host, unit string) {
	app, _ := strings.CutSuffix(unit, "-release.service")
	if unit != v1.ReleaseUnit(app) {
		return
	}
	excuse := ""
	if len(c.runs[unit]) > 1 {
		excuse = c.mayRunTwice(unit, c.runs[unit])
	}
	if c.judge(invRelease, excuse) && len(c.runs[unit]) > 1 {
		c.w.fail(invRelease, "%s was started on %s, and runs on %d machines", unit, h.name, len(c.runs[unit]))
	}
}

// releaseEnded records how a release command ended; cut: it was killed or stopped.
func (c *checker) releaseEnded(unit string, argv []string, cut bool) {
	app, _ := strings.CutSuffix(unit, "-release.service")
	if unit != v1.ReleaseUnit(app) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.releases[app] = releaseEnd{time.Now(), argv, !cut && !slices.Contains(argv, failsFlag)}
}
