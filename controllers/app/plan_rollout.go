package app

import (
	"fmt"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// roll brings every wanted instance, and those beside them, to its revision and its desired state. What does not run is changed at
// once; what runs is taken away only as far as others can spare it.
func (p *planner) roll() {
	var outdated, away []*replica
	var stays []*replica // those that have to move, and wait for others
	spare := p.spare()
	short := p.short(spare)
	var busy, moving, taken int // all that are under way, those that a roll-out does not wait for, and those that lack a name
	for _, i := range p.pool() {
		under := false
		switch {
		case !i.wanted():
			p.stop(i)
		case i.taken != "": // otherwise half of the instance would be written over and over
			p.reportTaken(i.taken)
			taken++
		case i.restarting():
			p.restart(i, short)
			under = i.holdsUp()
		case i.unit.is() != v1.Launched:
			p.start(i)
			under = true
		case p.in.Leaving[i.unit.name] != "":
			if under = p.letGo(i, spare); !under {
				stays = append(stays, i)
			}
		case p.revision.Spec.Global:
			under = p.rollGlobal(i)
		case i.withdrawn():
			p.goOn(i, short)
			under = i.holdsUp()
		case i.updated() && i.unit.restart == "":
			p.keep(i)
			if p.ready(i) {
				p.finish(i)
			} else if under = i.holdsUp(); under && !(i.beside && p.crampedOut() != "") {
				p.watchDeadline(i)
			}
		case p.nowhere(i):
			p.replaceUnseen(i)
		case i.how.State == instance.MachineAway:
			p.keep(i)
			away = append(away, i)
		default:
			p.keep(i)
			outdated = append(outdated, i)
		}
		if under && !i.beside {
			busy++
			if i.updated() && p.moves(i) {
				moving++
			}
		}
	}
	if busy+len(stays)+len(outdated) == 0 {
		away = p.replaceAway(away)
	}
	current := !slices.ContainsFunc(stays, func(i *replica) bool { return !i.updated() })
	p.reportComplete(busy == moving && len(outdated)+taken == 0 && current && !p.anyHeld(), away)
	p.takeAway(outdated, spare, busy)
}

// takeAway begins with as many outdated instances as may be away beside those that are. One that does no work costs nothing: it
// comes first, and waits for none beside it. Those whose new file fits nowhere stay as they are, and nothing waits for them.
func (p *planner) takeAway(outdated []*replica, spare, busy int) {
	outdated = slices.DeleteFunc(outdated, func(i *replica) bool {
		if !p.fitsNowhere(i) {
			return false
		}
		next := i.unit.stored.Next
		if p.watchPreparation(i, next); p.crowd && !next.Alone && !i.beside {
			next.Alone = true
			p.ask(i, next, i.unit.stored.Spec.RequestedAt, Prepare)
		}
		return true
	})
	for len(outdated) > 0 {
		i := p.next(outdated)
		outdated = slices.DeleteFunc(outdated, func(o *replica) bool { return o == i })
		room := spare - busy
		if !p.serves(i) {
			room = max(spare, 1) - busy
		}
		if room <= 0 {
			return
		}
		if p.prepared(i) {
			p.begin(i)
		}
		switch {
		case !i.beside:
			busy++
		case p.standsIn(i):
			spare--
		}
	}
}

// manyAway is the number of machines from which on, if they are more than half of the app's, it is more likely etcd or the
// network that failed: the machines will then return all at once with what runs there. The scheduler freezes by the same
// rule.
const manyAway = 3

// replaceAway gives the instances on absent machines the revision's files when all others have theirs. That costs nothing,
// and nothing waits for them. It returns the instances that keep their files.
func (p *planner) replaceAway(away []*replica) (left []*replica) {
	if len(away) == 0 || len(away) >= manyAway && len(away)*2 > len(p.all) {
		return away
	}
	if p.in.Settling > 0 {
		p.lookAgain(p.in.Settling)
		return away
	}
	for _, i := range away {
		if i.unit.restart != "" || p.announced(i) {
			left = append(left, i)
			continue
		}
		p.replaceUnseen(i)
	}
	return left
}

// next returns the instance to replace: one that does no work, because replacing it costs nothing, else the first.
func (p *planner) next(outdated []*replica) *replica {
	for _, i := range outdated {
		if !p.serves(i) {
			return i
		}
	}
	return outdated[0]
}

// serves reports whether an instance does its work, and taking it away would end that.
func (p *planner) serves(i *replica) bool { return p.available(i) && !p.goes(i) }

// begin takes an instance out of the routers, and replaces it when no request reaches it any more. Where a person has stopped its
// sidekick it may be on its way out of them.
func (p *planner) begin(i *replica) {
	switch {
	case i.unit.restart != "" && i.updated():
		p.restart(i, false)
	case i.sidekick.is() == v1.Launched:
		p.withdraw(i, WithdrawForUpdate)
		p.put(i, &i.unit, WithdrawForUpdate, i.unit.stored.Spec.Hash, v1.Launched, p.begins(v1.RolloutWithdrawing))
	case p.gone(i):
		p.replace(i)
	default:
		p.watchDeadline(i)
	}
}

// withdraw takes an instance out of the routers. Its roll-out goes back to that phase.
func (p *planner) withdraw(i *replica, reason string) {
	p.put(i, &i.sidekick, reason, i.sidekick.stored.Spec.Hash, v1.Loaded, v1.Rollout{})
	if u := i.unit; u.stored != nil && i.rollout.UnderWay() {
		u.request = u.stored.Spec.RequestedAt
		p.put(i, &u, reason, u.stored.Spec.Hash, u.is(), i.rollout.Out())
	}
}

// restarting reports whether a requested restart is under way.
func (i *replica) restarting() bool {
	return i.unit.restart != "" && (i.unit.is() == v1.Loaded || i.withdrawn())
}

// restart stops and starts an instance because a person asked for it: out of the routers first, and one at a time, like a
// roll-out.
func (p *planner) restart(i *replica, short bool) {
	switch {
	case i.unit.is() == v1.Loaded && i.unit.up():
		p.watchDeadline(i)
	case i.unit.is() == v1.Loaded:
		p.start(i)
	case i.sidekick.is() == v1.Launched:
		p.withdraw(i, WithdrawForRestart)
		p.put(i, &i.unit, WithdrawForRestart, i.unit.stored.Spec.Hash, v1.Launched, p.begins(v1.RolloutWithdrawing))
	case short && p.holds(i):
		p.needed(i)
	case p.gone(i) && i.unit.refused(): // what runs keeps running if the restart is refused again
		p.replace(i)
	case p.gone(i):
		stops := p.begins(v1.RolloutRestarting)
		if i.rollout.UnderWay() {
			stops.Since, stops.From = i.rollout.Since, i.rollout.From
		}
		p.put(i, &i.unit, Restarted, i.unit.stored.Spec.Hash, v1.Loaded, stops)
	default:
		p.watchDeadline(i)
	}
}

// missing reports whether withdrawing the instance would cost capacity that can still be kept.
func (p *planner) missing(i *replica) bool {
	return i.wanted() && !i.withdrawn() && !p.available(i) && i.holdsUp()
}

// holds reports whether it was withdrawn but still does its work.
func (p *planner) holds(i *replica) bool { return i.how.Work == instance.Withdrawn && p.announced(i) }

// needed returns a withdrawn instance to the routers because another one has failed since.
func (p *planner) needed(i *replica) {
	p.put(i, &i.sidekick, Needed, i.sidekick.stored.Spec.Hash, v1.Launched, v1.Rollout{})
	p.put(i, &i.unit, Needed, i.unit.stored.Spec.Hash, v1.Launched, v1.Rollout{})
}

// goOn replaces a withdrawn instance as soon as no request reaches it. If it is right as it is, because the manifest was
// changed back, it only returns to the routers. It also returns if it still does its work and is needed because another one
// has failed. An instance that does no work is replaced: otherwise it would be withdrawn and returned in turns for as long as
// a second one fails, and no release could repair the two.
func (p *planner) goOn(i *replica, short bool) {
	switch {
	case i.sidekick.restart != "" && i.sidekick.up(): // a person asked only for a restart
		p.watchDeadline(i)
	case i.updated():
		p.put(i, &i.unit, Returned, i.unit.hash, v1.Launched, i.rollout.Back())
		p.putSidekick(i, Returned)
	case short && p.holds(i):
		p.needed(i)
	case p.gone(i):
		p.replace(i)
	default:
		p.watchDeadline(i)
	}
}

// letGo takes an instance that has to move to another machine out of the routers, and lets it go when no request reaches it
// any more. This happens one at a time, the next one when the previous one is ready on its new machine. When it is there, or
// no longer has to move, it returns to the routers like one that was replaced. It reports whether that has begun.
func (p *planner) letGo(i *replica, spare int) bool {
	begun := i.rollout.UnderWay()
	if (!begun || p.isBack(i)) && (p.moving || slices.ContainsFunc(p.all, p.underWay) || slices.ContainsFunc(p.all, p.interrupted) || slices.ContainsFunc(p.all, p.goes) || spare == 0 && p.available(i) && !i.beside) {
		p.keep(i)
		return false
	}
	p.moving = true
	leaves := p.begins(v1.RolloutLeaving)
	if leaves.From = p.in.Leaving[i.unit.name]; begun && i.rollout.From == "" { // begun by a roll-out, which ends as one
		leaves.Phase, leaves.From = v1.RolloutWithdrawing, ""
	}
	switch {
	case i.sidekick.is() == v1.Launched:
		p.withdraw(i, WithdrawForMove)
		p.put(i, &i.unit, WithdrawForMove, i.unit.stored.Spec.Hash, v1.Launched, leaves)
	case p.gone(i):
		if begun {
			leaves = i.rollout
		}
		leaves.Phase, leaves.LetGo = v1.RolloutLetGo, p.in.Leaving[i.unit.name]
		p.put(i, &i.unit, LetGo, i.unit.stored.Spec.Hash, v1.Launched, leaves)
	default:
		p.watchDeadline(i)
	}
	return true
}

// interrupted reports whether a roll-out, a restart or a move has taken an instance away that is not back yet, also where a newer
// revision replaces it before it ever is.
func (p *planner) interrupted(i *replica) bool {
	return i.wanted() && i.rollout.UnderWay() && i.holdsUp() && !p.available(i)
}

// underWay reports whether a roll-out, a restart or a move has begun with the instance, which then continues before anything
// else. One that has become out of date since, such as one that fitted nowhere when it was touched, waits for its turn.
func (p *planner) underWay(i *replica) bool {
	waits := (!i.updated() || i.unit.restart != "") && !i.withdrawn() && !i.restarting() && i.unit.is() == v1.Launched && p.in.Leaving[i.unit.name] == ""
	return i.wanted() && i.rollout.UnderWay() && i.holdsUp() && !waits && !p.isBack(i)
}

// isBack reports whether an instance that has to move does its work, although a roll-out, a restart or another move is not done with
// it: taking it away costs as much as if none had begun.
func (p *planner) isBack(i *replica) bool {
	return p.in.Leaving[i.unit.name] != "" && i.unit.is() == v1.Launched && !i.withdrawn() && !i.restarting() && p.serves(i)
}

// moves reports whether it has to move to another machine, or has moved, and nothing else happens to it.
func (p *planner) moves(i *replica) bool {
	return i.rollout.From != "" || !i.rollout.UnderWay() && p.in.Leaving[i.unit.name] != ""
}

// replaceUnseen gives an instance that runs nowhere the revision's files.
func (p *planner) replaceUnseen(i *replica) {
	shall := i.rollout.Back()
	if !i.updated() && shall.UnderWay() {
		shall = p.begins(v1.RolloutUpdating)
	}
	p.put(i, &i.unit, Updated, i.unit.hash, v1.Launched, shall)
	p.putSidekick(i, Updated)
}

// replace gives an instance the revision's files, and restarts it by that if a person asked for a restart.
func (p *planner) replace(i *replica) {
	if i.unit.restart != "" {
		i.unit.request, i.unit.restart = i.unit.restart, ""
	}
	shall := i.rollout.Back()
	if !i.updated() && !p.revision.Spec.Global {
		shall = p.begins(v1.RolloutUpdating)
	}
	p.put(i, &i.unit, Updated, i.unit.hash, v1.Launched, shall)
	p.putSidekick(i, Updated)
}

// keep passes on what does not depend on the revision: requests, and a person's wish for the sidekick alone.
func (p *planner) keep(i *replica) {
	if i.unit.request != i.unit.stored.Spec.RequestedAt {
		p.put(i, &i.unit, Requested, i.unit.stored.Spec.Hash, v1.Launched, i.rollout)
	}
	if s := &i.sidekick; s.stored != nil && s.restart != "" {
		p.withdraw(i, Restarted)
	} else if s.stored != nil && (s.is() != s.desired || s.request != s.stored.Spec.RequestedAt) {
		p.put(i, s, Requested, s.stored.Spec.Hash, s.desired, v1.Rollout{})
	}
}

// start creates an instance, or starts one that was stopped. It gets the newest files, because nothing is lost by that.
func (p *planner) start(i *replica) {
	reason, shall := ScaledUp, i.rollout.Back()
	switch {
	case i.unit.stored != nil:
		reason = Started
	case i.beside:
		reason, shall = Surge, p.begins(v1.RolloutUpdating)
	}
	p.put(i, &i.unit, reason, i.unit.hash, v1.Launched, shall)
	p.putSidekick(i, reason)
}

// stop stops an instance as a person asked, after withdrawing it.
func (p *planner) stop(i *replica) {
	if i.unit.is() == v1.Launched && i.sidekick.is() == v1.Launched {
		p.withdraw(i, WithdrawForStop)
		return
	}
	if i.unit.is() == v1.Launched && !p.gone(i) {
		return
	}
	p.put(i, &i.unit, Stopped, i.unit.hash, i.unit.desired, v1.Rollout{})
	p.putSidekick(i, Stopped)
}

func (p *planner) putSidekick(i *replica, reason string) {
	if i.sidekick.hash == "" {
		p.remove(i, &i.sidekick, NotAnnounced)
		return
	}
	p.put(i, &i.sidekick, reason, i.sidekick.hash, i.sidekick.desired, v1.Rollout{})
}

// finish records that the roll-out, or the drain of a machine, is done with an instance.
func (p *planner) finish(i *replica) {
	if !i.rollout.UnderWay() {
		return
	}
	reason := RolloutComplete
	if i.beside {
		reason = SurgeReady
	}
	if from := i.rollout.From; from != "" {
		reason = MoveComplete
		p.report(v1.EventNormal, MoveComplete, fmt.Sprintf("%s, which had to leave %s, is ready again", i.unit.name, from))
	}
	p.put(i, &i.unit, reason, i.unit.hash, v1.Launched, v1.Rollout{})
}

// watchDeadline reports an instance that a roll-out or a drain has touched and that is not ready in time. Nothing else is
// replaced until the instance is ready or the manifest changes.
func (p *planner) watchDeadline(i *replica) {
	if !i.rollout.UnderWay() {
		return
	}
	left := p.revision.Spec.Update.HealthyDeadline.Std() - p.in.Now.Sub(i.rollout.Since)
	if left > 0 {
		p.lookAgain(left)
		return
	}
	if from := i.rollout.From; from != "" {
		p.report(v1.EventWarning, MoveStalled, fmt.Sprintf("%s is still not ready %s after it had to leave %s: nothing else is moved or replaced until it is ready",
			i.unit.name, p.revision.Spec.Update.HealthyDeadline, from))
		return
	}
	p.report(v1.EventWarning, RolloutStalled, fmt.Sprintf("revision %d: %s is still not ready %s after its replacement began: nothing else is replaced until it is ready or the manifest changes",
		p.revision.Number, i.unit.name, p.revision.Spec.Update.HealthyDeadline))
}

// reportComplete reports once that a roll-out is complete: when the last instance's mark is about to be cleared. Instances on
// absent machines follow when those return.
func (p *planner) reportComplete(done bool, away []*replica) {
	if !done {
		return
	}
	for _, a := range p.actions {
		if a.Reason == RolloutComplete {
			p.report(v1.EventNormal, RolloutComplete, fmt.Sprintf("all instances are of revision %d%s", p.revision.Number, butFor(away)))
			return
		}
	}
}

// butFor names the instances that are not updated.
func butFor(away []*replica) string {
	switch n := len(away); n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(", but %s, whose machine is not present", away[0].unit.name)
	default:
		return fmt.Sprintf(", but %s and %d more, whose machines are not present", away[0].unit.name, n-1)
	}
}

// removeSurplus removes the instances that are no longer wanted, highest numbers first, after withdrawing them.
func (p *planner) removeSurplus() {
	if p.changesMode() {
		p.changeMode()
		return
	}
	p.dropSurplus()
}

func (p *planner) dropSurplus() {
	for _, i := range p.surplus {
		p.removeInstance(i, ScaledDown)
	}
}

func (p *planner) removeAll(reason string, which func(number int32) bool) {
	for _, i := range p.existing(which) {
		p.removeInstance(i, reason)
	}
}

func (p *planner) removeInstance(i *replica, reason string) {
	switch {
	case i.sidekick.is() == v1.Launched:
		p.withdraw(i, WithdrawForRemoval)
	case p.gone(i):
		p.remove(i, &i.unit, reason)
		p.remove(i, &i.sidekick, reason)
	}
}

func (p *planner) remove(i *replica, u *pair, reason string) {
	if u.stored != nil {
		p.actions = append(p.actions, Action{Kind: DeleteUnit, Reason: reason, Instance: i.number, Name: u.name, If: u.stored.Revision})
	}
}

// begins returns the roll-out, or the step of one, that begins now.
func (p *planner) begins(phase v1.RolloutPhase) v1.Rollout {
	return v1.Rollout{Phase: phase, Since: p.in.Now.UTC()}
}

// put writes a unit with the progress of its roll-out, unless it is stored like that already.
func (p *planner) put(i *replica, u *pair, reason string, hash string, desired v1.DesiredState, shall v1.Rollout) {
	if _, taken := p.in.Taken[u.name]; taken {
		return
	}
	spec := v1.UnitSpec{Hash: hash, DesiredState: desired, RequestedAt: u.request}
	next := u.next
	if next.Preparation == (v1.Preparation{Hash: hash, RequestedAt: u.request}) && desired == v1.Launched {
		next = v1.Next{} // this is the start
	}
	action := Action{Kind: PutUnit, Reason: reason, Instance: i.number, Name: u.name}
	if reason == WithdrawForUpdate || reason == Updated {
		action.Why = p.inPlace()
	}
	var annotations map[string]string
	if u.stored != nil {
		is := v1.Rollout{}
		if u.name == i.unit.name {
			is = i.rollout
		}
		if u.stored.Spec == spec && is.Equal(shall) && u.stored.Next.Equal(next) && u.excepted() == u.except && u.formerly() == u.former && !p.adopts(*u.stored) {
			return
		}
		action.If, annotations = u.stored.Revision, u.stored.Metadata.Annotations
	}
	annotations = v1.WithAnnotation(shall.Annotate(annotations), v1.AnnotationExcept, u.except)
	annotations = v1.WithAnnotation(annotations, v1.AnnotationFormer, u.former)
	action.Unit = &v1.Unit{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: v1.KindUnit},
		Metadata: v1.ObjectMeta{Owner: p.in.App, OwnerUID: p.ownerUID(u.stored), Annotations: annotations}, // without its name, which is the key
		Spec:     spec,
		Rollout:  shall,
		Next:     next,
	}
	if before, ok := p.putAt[u.name]; ok { // a later decision replaces an earlier one
		p.actions[before] = action
		return
	}
	p.putAt[u.name] = len(p.actions)
	p.actions = append(p.actions, action)
}
