package app

import (
	"fmt"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// runs is the revision that should run: the newest one, or the one before if that was rejected, is tried by a
// canary, or waits for its release command.
func (in *Input) runs() *v1.Revision { return v1.Runs(in.Latest, in.Before) }

// lastComplete is the number of the last revision that all instances are of, or were of before the newest one; 0 for none.
func (p *planner) lastComplete() int64 {
	latest := p.in.Latest
	if latest == nil {
		return 0
	}
	switch {
	case latest.Rejected != nil, latest.OnTrial():
		return latest.Before
	case latest.Releasing() && p.in.Before != nil && !p.in.Before.Complete.IsZero():
		return p.in.Before.Number // it runs meanwhile
	case latest.Releasing():
		return latest.Before
	case !latest.Complete.IsZero(): // what is under way is a restart or a move
		return latest.Number
	}
	for name, u := range p.in.Units {
		if _, sidekick, ok := v1.ParseAppUnit(p.in.App, name); ok && !sidekick && (u.Spec.Hash != latest.UnitFile || v1.RolloutOf(u.Unit, nil).UnderWay()) {
			return latest.Before
		}
	}
	return latest.Number
}

// judge rejects a revision whose instances fail, if the manifest asks for that and there is one to return to. A revision is on trial
// until update.healthyDeadline after all its instances were ready. It reports whether it has rejected it.
func (p *planner) judge() bool {
	r := p.revision
	if p.aborted() {
		p.reject(p.in.Latest, nil, "fleetctl rollout abort asked for that")
		return true
	}
	if p.in.Latest == nil || r != p.in.Latest || !r.Spec.Reverts() || p.in.Before == nil || p.changesMode() {
		return false
	}
	if r.UnitFile == p.in.Before.UnitFile && r.SidekickFile == p.in.Before.SidekickFile {
		return false // the same instances: returning would mend nothing
	}
	if !r.Complete.IsZero() {
		left := r.Spec.Update.HealthyDeadline.Std() - p.in.Now.Sub(r.Complete)
		if left <= 0 {
			return false
		}
		p.lookAgain(left)
	}
	p.besides()
	for _, i := range p.pool() {
		if why := p.fails(i); why != "" {
			p.reject(p.revision, i, why)
			return true
		}
	}
	p.beside = nil
	p.instances() // besides are found again
	return false
}

// completes records once that all instances are of the newest revision, and ready.
func (p *planner) completes() {
	if p.revision != p.in.Latest || !p.revision.Complete.IsZero() || len(p.surplus) > 0 || p.anyHeld() {
		return
	}
	for _, i := range p.all {
		if i.wanted() && (!i.how.State.IsReady() || i.rollout.UnderWay()) {
			return
		}
	}
	complete := *p.revision
	complete.Complete = p.in.Now.UTC()
	p.first = append(p.first, Action{Kind: PutRevision, Reason: RevisionComplete, Name: p.in.App, NewRevision: &complete, If: p.in.LatestAt})
}

// fails is why an instance of the revision on trial has failed; "" if it has not, or may still become ready.
func (p *planner) fails(i *replica) string {
	if !i.wanted() || i.held || i.taken != "" || i.unit.stored == nil {
		return ""
	}
	deadline := p.revision.Spec.Update.HealthyDeadline.Std()
	if next := i.unit.stored.Next; next.Hash == i.unit.hash && next.Hash != i.unit.stored.Spec.Hash && p.expired(next.Since, deadline) {
		return p.notPrepared(i, deadline)
	}
	if !i.updated() || i.how.State.IsReady() {
		return ""
	}
	switch i.how.State {
	case instance.RestartLoop, instance.Failed, instance.Exited:
		return i.title() + " " + i.how.Why()
	case instance.Stopped, instance.MachineAway:
		return ""
	}
	if i.rollout.UnderWay() && i.rollout.From == "" && p.revision.Complete.IsZero() && p.expired(i.rollout.Since, deadline) && !(i.beside && p.crampedOut() != "") {
		return fmt.Sprintf("%s is not ready after %s: %s", i.title(), deadline, i.how.Why())
	}
	return ""
}

// notPrepared is why nothing was taken away for an instance until its deadline.
func (p *planner) notPrepared(i *replica, deadline time.Duration) string {
	switch {
	case p.fitsNowhere(i):
		return fmt.Sprintf("%s is not replaced after %s: %s", i.unit.name, deadline, p.in.Places[i.unit.name].Unplaced.Message)
	case !p.pulls():
		return fmt.Sprintf("no machine is ready for %s with its new file after %s%s", i.unit.name, deadline, preparing(i))
	}
	return fmt.Sprintf("the image of %s is not on its machine after %s%s", i.unit.name, deadline, preparing(i))
}

// preparing is what its machine says of the image of its next start.
func preparing(i *replica) string {
	if state := i.unit.state(""); state != nil && state.Prepared.Message != "" {
		return ": " + state.Prepared.Message
	}
	return ""
}

// expired reports whether a time is over that began then. If not, it requests another plan for when it is.
func (p *planner) expired(since time.Time, d time.Duration) bool {
	left := d - p.in.Now.Sub(since)
	p.lookAgain(left)
	return left <= 0
}

// reject takes the revision back because of that instance; nil: it is not because of one.
func (p *planner) reject(r *v1.Revision, i *replica, why string) {
	rejection := v1.Rejection{At: p.in.Now.UTC(), Message: why}
	if i != nil {
		i.testify(&rejection)
	}
	p.takeBack(r, rejection, "is taken back", fmt.Sprintf("revision %d runs again", p.in.Before.Number))
}

// takeBack records why a revision does not run. what happens to it, and what runs instead, is told in an event.
func (p *planner) takeBack(r *v1.Revision, rejection v1.Rejection, what, instead string) {
	rejected := *r
	if rejection.Since.IsZero() {
		rejection.Since = r.AcceptedAt
	}
	rejected.Rejected = &rejection
	p.first = append(p.first, Action{Kind: PutRevision, Reason: RevisionRejected, Name: p.in.App, NewRevision: &rejected, If: p.in.LatestAt})
	p.report(v1.EventWarning, RevisionRejected, fmt.Sprintf("revision %d %s: %s; %s, and this one is not tried again until the manifest changes",
		rejected.Number, what, rejection.Message, instead))
}

// testify adds what the instance's machine says of it.
func (i *replica) testify(r *v1.Rejection) {
	r.Unit = i.unit.name
	r.Since = i.rollout.Since
	state := i.unit.state(i.machine)
	if state == nil {
		return
	}
	r.Output = state.Output
	for _, s := range i.unit.states {
		if s.UnitState == state {
			r.Machine = s.Machine
		}
	}
}
