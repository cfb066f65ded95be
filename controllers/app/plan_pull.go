package app

import (
	"fmt"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Before anything is taken away from an instance that runs, its machine pulls the image of what is to run next. That is no phase
// of its roll-out: nothing happens to the instance, which goes on in whatever phase it is.

// prepared reports whether the machine where an instance starts next has what its replacement, or its restart, needs: the one where
// it runs or, if it moves with its new file, the one that it moves to. If it has not been asked for it is now. Where no machine fits
// the new file none is asked, and the instance goes on.
func (p *planner) prepared(i *replica) bool {
	next := v1.Next{Since: p.in.Now.UTC()}
	next.Hash, next.RequestedAt = i.unit.hash, i.unit.request
	if i.unit.restart != "" {
		next.RequestedAt = i.unit.restart
	}
	machines, is := p.in.Places[i.unit.name].Machines, i.unit.stored.Spec
	restarts := next.Preparation != v1.Preparation{Hash: is.Hash, RequestedAt: is.RequestedAt} // else only its sidekick changes
	p.preparing[i] = true
	if !restarts || len(machines) == 0 || !p.pulls() && !p.placedAnew(i) {
		return true
	}
	if asked := i.unit.stored.Next; asked.Preparation != next.Preparation {
		p.ask(i, next, i.unit.request, Prepare)
		return false
	}
	next = i.unit.stored.Next
	asked := p.in.Asked[i.unit.name]
	ready := len(asked) > 0 && (i.number > 0 || len(asked) == len(machines)) // a global unit starts on all of them
	for _, a := range asked {
		ready = p.preparedOn(i, a, next.Preparation) && ready
	}
	if !ready {
		p.watchPreparation(i, next)
	}
	return ready
}

// pulls reports whether the revision's instances run an image that is pulled.
func (p *planner) pulls() bool {
	c := p.revision.Spec.Container
	return c != nil && c.Pull != v1.PullNever
}

// placedAnew reports whether the revision says something else of where an instance may be than the file that the instance has.
func (p *planner) placedAnew(i *replica) bool {
	is, known := p.in.Texts[i.unit.stored.Spec.Hash]
	return known && rulesIn(is) != rulesIn(p.texts[i.unit.hash])
}

// rulesIn is what a unit file says to the scheduler.
func rulesIn(text string) string {
	file, err := unitfile.Parse(text)
	if err != nil {
		return ""
	}
	var rules strings.Builder
	for _, o := range file.Options() {
		if o.Section == unitfile.SectionFleet {
			fmt.Fprintln(&rules, o.Name, o.Value)
		}
	}
	return rules.String()
}

// fitsNowhere reports whether no machine would take an instance with the revision's file.
func (p *planner) fitsNowhere(i *replica) bool {
	why := p.in.Places[i.unit.name].Unplaced
	return why != nil && why.Next && i.wanted() && !i.updated() && i.unit.stored != nil && i.unit.stored.Next.Hash == i.unit.hash
}

// preparedOn reports whether one machine is ready, or there is no use in waiting for it.
func (p *planner) preparedOn(i *replica, asked Asked, start v1.Preparation) bool {
	if state := i.unit.state(asked.Machine); state != nil && state.Prepared.Preparation == start {
		return state.Prepared.State == v1.PreparedReady
	}
	left := v1.AnswerPatience - p.in.Now.Sub(asked.Since)
	p.lookAgain(left)
	return left <= 0
}

// ask writes which start the instance's machine is to prepare; none if next is zero.
func (p *planner) ask(i *replica, next v1.Next, request, reason string) {
	u := i.unit
	u.next, u.request = next, request
	p.put(i, &u, reason, u.stored.Spec.Hash, u.is(), i.rollout)
}

// watchPreparation reports an instance whose image is not on its machine in time. What runs goes on, and the machine keeps trying.
func (p *planner) watchPreparation(i *replica, next v1.Next) {
	left := p.revision.Spec.Update.HealthyDeadline.Std() - p.in.Now.Sub(next.Since)
	if left > 0 {
		p.lookAgain(left)
		return
	}
	what := p.notPrepared(i, p.revision.Spec.Update.HealthyDeadline.Std())
	if !p.fitsNowhere(i) {
		what += "; nothing is replaced until it is, or the manifest changes"
	}
	p.report(v1.EventWarning, RolloutStalled, fmt.Sprintf("revision %d: %s", p.revision.Number, what))
}

// stopPreparing takes back what is asked of machines in vain: the manifest changed back, or another instance comes first. What
// has left the routers or stopped still needs it.
func (p *planner) stopPreparing() {
	for _, i := range p.pool() {
		_, changes := p.putAt[i.unit.name]
		if changes || p.preparing[i] || p.fitsNowhere(i) || p.needsRoom(i) || i.unit.stored == nil || i.wanted() && (i.withdrawn() || i.restarting()) {
			continue
		}
		if i.unit.stored.Next != (v1.Next{}) {
			p.ask(i, v1.Next{}, i.unit.stored.Spec.RequestedAt, PrepareNoMore)
		}
	}
}
