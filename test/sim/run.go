package sim

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// How long things may take, in the world's time.
const (
	tickEvery    = 500 * time.Millisecond
	convergeIn   = 5 * time.Minute
	collectAfter = 16 * time.Minute // collect waits 5 min for a revision of a deleted app, then as long for its files
	restFor      = time.Minute
	secondPassIn = 90 * time.Second // until there is a leader again, and everything was reconciled
)

// Outcome is the result of a run.
type Outcome struct {
	// Violation is the first one, nil where every invariant held.
	Violation  *Violation
	Transcript string
	Counts     Counts
}

// Run simulates a cluster. dir is an empty directory for its machines' disks.
func Run(t *testing.T, p Plan, dir string) (o Outcome) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(p, dir)
		w.live(p)
		w.stop()
		w.running.Wait()
		for _, h := range w.hosts {
			hostsByDir.Delete(filepath.Join(dir, h.name))
		}
		w.countCaches(w.check.counts)
		o = Outcome{Violation: w.failed(), Transcript: w.transcript(), Counts: w.check.counts}
	})
	return o
}

// live is the whole life of a cluster, up to the first violation.
func (w *world) live(p Plan) {
	w.boot(p)
	for _, app := range []string{"web", "api", shop} {
		if app != shop || p.does("apply shop") {
			w.running.Go(func() { w.client(app) })
		}
	}
	for _, s := range p.Steps {
		if !w.until(s.At) {
			return
		}
		w.tell("step", "%s", s)
		if do := people[s.Do]; do != nil {
			do(w, s)
		} else {
			faults[s.Do](w, s)
		}
	}
	w.heal()
	w.askAgain()
	w.stopTimers()
	w.converge()
}

// until lets time pass, and reports whether no invariant was violated.
func (w *world) until(at time.Duration) bool {
	for {
		left := at - w.now()
		if left <= 0 {
			return w.failed() == nil
		}
		w.sleep(w.exactly(min(left, tickEvery), "tick"))
		w.snap()
		w.check.tick()
		if w.failed() != nil {
			return false
		}
	}
}

// converge waits until everything is as people want it, and then until nothing is written any more.
func (w *world) converge() {
	deadline := w.now() + convergeIn
	if w.old.Load() != nil { // the caches are compared first
		if !w.until(w.now() + checkEvery*11/10 + slack) {
			return
		}
		deadline += checkEvery * 11 / 10
	}
	if !w.converged(deadline) || !w.driftAtRest() || !w.converged(w.now()+convergeIn) {
		return
	}
	w.tell("world", "all is as it should be")
	w.calm.Store(true)
	w.old.Store(nil) // from here on nothing is excused
	if !w.until(w.now() + collectAfter) {
		return
	}
	if problem := w.check.problem(); problem != "" {
		w.fail(invConverges, "it was, but %s later: %s", collectAfter, problem)
	}
	if problem := w.check.statusProblem(); problem != "" {
		w.fail(invStatus, "%s", problem)
	}
	if problem := w.check.unplacedProblem(); problem != "" {
		w.fail(invUnplaced, "%s", problem)
	}
	w.check.counts.Check(invRest)
	revision := w.etcd.Revision()
	if w.until(w.now()+restFor) && w.etcd.Revision() != revision {
		w.fail(invRest, "%d revisions in %s", w.etcd.Revision()-revision, restFor)
		return
	}
	w.secondPass()
}

// converged waits until everything is as people want it.
func (w *world) converged(deadline time.Duration) bool {
	for {
		if !w.until(w.now() + 5*time.Second) {
			return false
		}
		problem := w.check.problem()
		if problem == "" {
			w.check.counts.Check(invConverges)
			return true
		}
		if w.now() > deadline {
			w.fail(invConverges, "%s after all faults have ended: %s", convergeIn, problem)
			return false
		}
	}
}

// secondPass restarts every process. They reconcile everything again, and must not write anything.
func (w *world) secondPass() {
	before := w.check.lasting()
	for _, h := range w.hosts[:w.machines] {
		h.killFleetd()
	}
	if !w.until(w.now() + secondPassIn) {
		return
	}
	after := w.check.lasting()
	for _, key := range sortedKeys(after) {
		if before[key] != after[key] {
			w.fail(invRest, "a second pass wrote %s", key)
		}
		delete(before, key)
	}
	for _, key := range sortedKeys(before) {
		w.fail(invRest, "a second pass deleted %s", key)
	}
}
