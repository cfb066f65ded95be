package schedule

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// prune removes placements that a unit should not have: all of them if it should be nowhere, else all but one.
func (p *planner) prune(u *index.Unit) {
	v := of(u)
	if v.outcome != leave && (v.outcome == global || len(u.Places) <= 1) {
		return
	}
	for _, x := range u.ByMachine() {
		switch {
		case !u.Known:
			p.unplace(x, ReasonDeleted, "the unit does not exist")
		case v.outcome == leave:
			p.unplace(x, ReasonInactive, "the desired state is inactive")
		case x != v.keep && v.outcome != broken:
			p.unplace(x, ReasonDuplicate, "a unit runs once, and this one is on "+v.keep.MachineName)
		}
	}
	if v.outcome == leave {
		p.clear(u)
	}
}

func (p *planner) unplace(x *index.Place, reason, message string) {
	p.released = p.released || x.Machine.Present
	of(x.Unit).done.acted = true
	p.act(Action{Kind: Unplace, Unit: x.UnitName, Machine: x.MachineName, Revision: x.Mod, Reason: reason, Message: message})
}

// clear deletes the explanation why a unit had no machine.
func (p *planner) clear(u *index.Unit) {
	if key := p.x.Unplaced(u.Name); key != nil {
		message := "the unit has a machine"
		if u.Gone() {
			message = "the unit needs no machine"
		}
		p.act(Action{Kind: ClearUnplaced, Unit: u.Name, Revision: key.Mod, Reason: ReasonPlaced, Message: message})
	}
}

// stay keeps a unit where it is and updates its placement.
func (p *planner) stay(u *index.Unit) {
	v := of(u)
	if v.outcome == wait {
		p.wait(u, v.until)
	}
	if v.outcome == broken {
		p.refuse(u, nil)
		for _, x := range u.ByMachine() { // it may have been global
			p.update(u, x)
		}
		return
	}
	p.lookAhead(u)
	if _, waits := p.held[v.keep]; waits || v.done.ahead.nowhere {
		p.refused = append(p.refused, refused{u, nil})
	} else {
		p.clear(u)
	}
	p.update(u, v.keep)
}

// update updates a placement. A unit whose file is unreadable, or no longer fits, keeps its former file.
func (p *planner) update(u *index.Unit, x *index.Place) {
	v := of(u)
	want := p.placement(u, x.Machine)
	want.Leaving = v.done.leaving
	if !x.Machine.Present { // what the machine has is unknown
		want.Note = x.Value.Note
	}
	_, waits := p.held[x]
	if waits {
		p.wait(u, index.ForRoom)
	}
	if _, lost := p.evicted[x]; v.outcome == broken || v.done.keepFile || waits || lost {
		want.Hash = x.Value.Hash
		if want.DesiredState == "" {
			want = x.Value
		}
	}
	if v.done.keepRequest {
		want.RequestedAt = x.Value.RequestedAt
	}
	if keepsFormer(u, x.Machine) {
		want.Hash, want.RequestedAt = x.Value.Hash, x.Value.RequestedAt
	}
	lead := p.lead(u)
	if lead != nil && lead.done.former {
		want = besideFormer(want, x, lead.done.asks)
	}
	ask := want.Hash != x.Value.Hash && p.asksFirst(u, x)
	if ask {
		want.Hash, want.RequestedAt, want.Leaving = x.Value.Hash, x.Value.RequestedAt, true
	}
	var enough bool
	if want.Assigned, enough = p.assignment(u, x, want.Hash); !enough { // others have got them with this plan
		want.Hash = x.Value.Hash
		p.wait(u, index.ForTime)
	}
	v.done.former, v.done.asks = want.Hash != u.Hash, ask
	if want == x.Value {
		return
	}
	a := Action{Kind: Update, Unit: u.Name, Machine: x.MachineName, Placement: want, Revision: x.Mod}
	a.Reason, a.Message = whyUpdate(want, x, ask, v)
	v.done.acted = true
	p.released = p.released || want.Hash != x.Value.Hash && x.Former() != nil
	if lead != nil && lead.done.updated != 0 {
		a.Txn = lead.done.updated
		p.out.Actions = append(p.out.Actions, a)
		return
	}
	p.act(a)
	v.done.updated = p.last
}

// whyUpdate returns the reason of an update; v says why the unit has to leave, if it has.
func whyUpdate(want v1.Placement, x *index.Place, asked bool, v *verdict) (reason, message string) {
	same := want
	same.Note = x.Value.Note
	other := want
	other.Assigned = x.Value.Assigned
	only := want
	only.Next = x.Value.Next
	switch {
	case same == x.Value && want.Note == "":
		return ReasonPreference, "the machine has what the unit prefers"
	case same == x.Value:
		return ReasonPreference, want.Note
	case other == x.Value:
		return ReasonAssigned, "it gets the ports " + string(want.Assigned)
	case only == x.Value && want.Next.Hash == "":
		return ReasonPrepare, "nothing is to be prepared any more"
	case only == x.Value:
		return ReasonPrepare, "the machine prepares its next start, which pulls its image"
	case want.Hash != x.Value.Hash:
		return ReasonHashChanged, "the unit's file changed"
	case want.DesiredState != x.Value.DesiredState:
		return ReasonStateChanged, "the desired state is " + string(want.DesiredState)
	case asked:
		return ReasonHashChanged, "the unit's file changed: it gets the new one when its app has let it go"
	case want.Leaving:
		return v.reason, v.message + ": it moves when its app has let it go"
	case x.Value.Leaving:
		return ReasonStays, "it no longer has to leave " + x.MachineName
	}
	return ReasonRequested, "a person asked for it to be started again"
}

// An instance and its announcer change together or not at all. If the announcer ran while the instance waits for its new
// file, requests would reach an instance that is about to be restarted.

// lead returns the plan's decision about the unit of the same app that u follows, if there is one: u announces it.
func (p *planner) lead(u *index.Unit) *verdict {
	if u.Owner == "" {
		return nil
	}
	for _, name := range u.Follows {
		if t := p.x.Unit(name); t != nil && t.Known && t.Owner == u.Owner && p.seen(t) {
			return of(t)
		}
	}
	return nil
}

// besideFormer returns the placement of an announcer whose instance keeps its former file: it keeps its own. It may announce
// the instance, but not on an absent machine, which may return when the new file is due, and not if the instance is asked to
// leave: its app is about to stop the announcer, and would take the machine's earlier report for the answer.
func besideFormer(want v1.Placement, x *index.Place, leaves bool) v1.Placement {
	want.Hash = x.Value.Hash
	if (!x.Machine.Present || leaves) && x.Value.DesiredState == v1.Loaded {
		want.DesiredState, want.RequestedAt = v1.Loaded, x.Value.RequestedAt
	}
	return want
}

// serves reports whether the unit may get requests there. Then its app has to take it out of the routers before it is
// restarted with another file. Usually the app has done so when it writes the file, but not if that did not fit until now, or
// the machine was absent: a machine that returned after its announcer was told to stop may announce the instance until it
// learns that.
func (p *planner) serves(u *index.Unit, x *index.Place) bool {
	if u.Owner == "" || u.DesiredState != v1.Launched || x.Value.DesiredState != v1.Launched || !x.Machine.Present || u.Fleet.Global {
		return false
	}
	return slices.ContainsFunc(p.x.Followers(u.Name), func(f *index.Unit) bool {
		return f.Owner == u.Owner && slices.ContainsFunc(f.Places, func(y *index.Place) bool {
			return y.Machine == x.Machine && (y.Value.DesiredState == v1.Launched || y.Mod < x.Machine.Since)
		})
	})
}

// servesStill returns the file with which a unit may get requests on a machine where it is not placed: that was away, has
// returned, and keeps it until it is active elsewhere. The file has to fit there beside what came meanwhile; one that needs ports
// assigned does not, because those may have been given to others.
func (p *planner) servesStill(u *index.Unit, m *index.Machine) (hash string, fleet unitfile.Fleet, serves bool) {
	hash, fleet, runs := m.Leftover(u)
	if !runs || u.Owner == "" || u.DesiredState != v1.Launched || u.LetGo == m.ID {
		return "", fleet, false
	}
	announced := slices.ContainsFunc(p.x.Followers(u.Name), func(f *index.Unit) bool { return f.Owner == u.Owner && m.Runs(f) })
	if !announced || u.Fleet.Global || p.rules.AssignsTo(&fleet) || p.rules.AssignsTo(&u.Fleet) {
		return "", fleet, false
	}
	former := u.UnitSpec
	former.Hash, former.Fleet, former.Follows = hash, fleet, rule.Follows(&fleet)
	p.txn.With(former, func(former *index.Unit) { serves = p.rules.Search(former).Fits(m) })
	return hash, fleet, serves
}

// asksFirst reports whether the app has to let the unit go before anything happens to it there.
func (p *planner) asksFirst(u *index.Unit, x *index.Place) bool {
	return u.LetGo != x.MachineName && (p.serves(u, x) || awaitsLetGo(u, x))
}

// awaitsLetGo reports whether its app was asked to let it go, and has not. It is not enough that its announcer is told to
// stop: it may still run, and routers serve what it announced.
func awaitsLetGo(u *index.Unit, x *index.Place) bool {
	return x.Value.Leaving && x.Machine.Present && u.Owner != "" && u.DesiredState == v1.Launched
}

// placement returns the value of a unit's placement on a machine.
func (p *planner) placement(u *index.Unit, m *index.Machine) v1.Placement {
	return v1.Placement{Hash: u.Hash, DesiredState: u.DesiredState, RequestedAt: u.RequestedAt, Next: nextOn(u, m), Note: p.rules.Wish(u, m)}
}

// onlyFormerMatches reports whether the unit may not be there with its file of now, and may with the one that it runs with.
func (p *planner) onlyFormerMatches(x *index.Place) bool {
	former := x.Former()
	if former == nil || !x.Machine.Present {
		return false
	}
	if _, bad := p.rules.Mismatch(x.Unit, x.Machine); !bad {
		return false
	}
	matches := false
	p.txn.With(former.UnitSpec, func(was *index.Unit) { // the rules know only of a former file what others clash with
		_, bad := p.rules.Mismatch(was, x.Machine)
		matches = !bad
	})
	return matches
}

// stayForNow leaves a unit where it is although it has to move.
func (p *planner) stayForNow(u *index.Unit, until index.Wait) {
	v := of(u)
	p.wait(u, until)
	if v.keep == nil {
		return
	}
	v.at = v.keep.Machine
	if v.mustLeave() {
		return // what is new, it gets where it goes
	}
	former := p.onlyFormerMatches(v.keep)
	v.done.keepFile = former || v.reason == ReasonMachineGone // a clash of the new file with others there is not checked
	v.done.keepRequest = former && until != index.ForRoom     // it gets what is new where it goes
	p.lookAhead(u)
	p.update(u, v.keep)
}
