package schedule

import (
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// prune takes away placements that a unit should not have: all of one that is to be nowhere, all but one otherwise.
func (p *planner) prune(u *unit) {
	v := &u.plan
	if !v.leaving && (u.Fleet.Global && v.problem == "" || len(u.places) == 0 || len(u.places) == 1) {
		return
	}
	for _, x := range sortedPlaces(u) {
		switch {
		case !u.known:
			p.unplace(x, ReasonDeleted, "the unit does not exist")
		case v.leaving:
			p.unplace(x, ReasonInactive, "the unit is to be inactive")
		case x != v.keep && v.problem == "":
			p.unplace(x, ReasonDuplicate, "a unit runs once, and this one is on "+v.keep.Machine)
		}
	}
	if v.leaving {
		p.clear(u)
	}
}

func (p *planner) unplace(x *place, reason, message string) {
	p.released = p.released || x.machine.present
	x.unit.plan.acted = true
	p.act(Action{Kind: Unplace, Unit: x.Unit, Machine: x.Machine, Revision: x.Mod, Reason: reason, Message: message})
}

// clear takes back why a unit had no machine.
func (p *planner) clear(u *unit) {
	if key := p.c.unfit[u.name]; key != nil {
		message := "the unit has a machine"
		if u.plan.leaving {
			message = "the unit needs no machine"
		}
		p.act(Action{Kind: ClearUnplaced, Unit: u.name, Revision: key.mod, Reason: ReasonPlaced, Message: message})
	}
}

// stay keeps a unit where it is and brings its placement up to date.
func (p *planner) stay(u *unit) {
	v := &u.plan
	if v.stays != 0 {
		p.wait(u, v.stays)
	}
	if v.keep == nil { // a problem, and no machine
		p.refuse(u, nil)
		return
	}
	if v.problem == "" {
		if _, waits := p.held[v.keep]; waits {
			p.refused = append(p.refused, refused{u, nil})
		} else {
			p.clear(u)
		}
		p.update(u, v.keep)
		return
	}
	p.refuse(u, nil)
	for _, x := range sortedPlaces(u) { // it may have been global
		p.update(u, x)
	}
}

func sortedPlaces(u *unit) []*place {
	return slices.SortedFunc(slices.Values(u.places), func(a, b *place) int { return strings.Compare(a.Machine, b.Machine) })
}

// update brings a placement up to date. What cannot be read, or does not fit any more, goes on with its former file.
func (p *planner) update(u *unit, x *place) {
	v := &u.plan
	want := u.placement()
	want.Leaving = v.asked
	_, waits := p.held[x]
	if waits {
		p.wait(u, unmetSpace)
	}
	if _, lost := p.losers[x]; v.problem != "" || v.holds || waits || lost {
		want.Hash = x.Value.Hash
		if want.DesiredState == "" {
			want = x.Value
		}
	}
	lead := p.lead(u)
	if lead != nil && lead.plan.former {
		want = besideFormer(want, x, lead.plan.asks)
	}
	ask := want.Hash != x.Value.Hash && u.LetGo != x.Machine && (p.serves(u, x) || awaitsLetGo(u, x))
	if ask {
		want.Hash, want.RequestedAt, want.Leaving = x.Value.Hash, x.Value.RequestedAt, true
	}
	v.former, v.asks = want.Hash != u.Hash, ask
	a := Action{Kind: Update, Unit: u.name, Machine: x.machine.ID, Placement: want, Revision: x.Mod}
	switch {
	case want == x.Value:
		return
	case want.Hash != x.Value.Hash:
		a.Reason, a.Message = ReasonHashChanged, "the unit has another file"
	case want.DesiredState != x.Value.DesiredState:
		a.Reason, a.Message = ReasonStateChanged, "the unit is to be "+string(want.DesiredState)
	case ask:
		a.Reason, a.Message = ReasonHashChanged, "the unit has another file: it gets it when its app has let it go"
	case want.Leaving:
		a.Reason, a.Message = ReasonDrain, v.message+": it moves when its app has let it go"
	case x.Value.Leaving:
		a.Reason, a.Message = ReasonDrain, "it need not leave "+x.Machine+" any more"
	default:
		a.Reason, a.Message = ReasonRequested, "a person asked for it to be started again"
	}
	v.acted = true
	p.released = p.released || want.Hash != x.Value.Hash && x.shade() != nil
	if lead != nil && lead.plan.updated != 0 {
		a.Txn = lead.plan.updated
		p.out.Actions = append(p.out.Actions, a)
		return
	}
	p.act(a)
	v.updated = p.txn
}

// An instance and the unit that announces it change together or not at all. Were the announcer launched while the instance
// waits for its new file, requests would reach an instance that is restarted when the file comes.

// lead is the unit of the same app that u is beside (MachineOf=), where there is one: u announces it.
func (p *planner) lead(u *unit) *unit {
	if u.Owner == "" {
		return nil
	}
	for _, name := range u.Fleet.MachineOf {
		if t := p.c.units[name]; t != nil && t.known && t.Owner == u.Owner && t.plan.epoch == p.c.epoch {
			return t
		}
	}
	return nil
}

// besideFormer is what an announcer is told whose instance goes on with its former file: to go on with its own. It may announce
// that, but not on a machine that is away: that one may return when the new file is due. Nor where the instance is asked to leave:
// its app will have the announcer stop at once, and would take what its machine said before for the answer to that.
func besideFormer(want v1.Placement, x *place, leaves bool) v1.Placement {
	want.Hash = x.Value.Hash
	if (!x.machine.present || leaves) && x.Value.DesiredState == v1.Loaded {
		want.DesiredState, want.RequestedAt = v1.Loaded, x.Value.RequestedAt
	}
	return want
}

// serves: requests may reach the unit there. Before it is restarted with another file its app has to take it out of the routers:
// as a rule the app has done so when it writes the file, but not where that did not fit until now, or the machine was away: one
// that is present again since its announcer was told to stop may announce the instance until it hears of that.
func (p *planner) serves(u *unit, x *place) bool {
	if u.Owner == "" || u.DesiredState != v1.Launched || x.Value.DesiredState != v1.Launched || !x.machine.present || u.Fleet.Global {
		return false
	}
	return slices.ContainsFunc(p.c.followers[u.name], func(f *unit) bool {
		return f.Owner == u.Owner && slices.ContainsFunc(f.places, func(y *place) bool {
			return y.machine == x.machine && (y.Value.DesiredState == v1.Launched || y.Mod < x.machine.Since)
		})
	})
}

// awaitsLetGo: its app was asked to let it go, and has not. That its announcer is told to stop is not enough: it may run still, and
// routers serve what it announced.
func awaitsLetGo(u *unit, x *place) bool {
	return x.Value.Leaving && x.machine.present && u.Owner != "" && u.DesiredState == v1.Launched
}

func (u *unit) placement() v1.Placement {
	return v1.Placement{Hash: u.Hash, DesiredState: u.DesiredState, RequestedAt: u.RequestedAt}
}

// linger leaves a unit where it is for now, although it would have to move.
func (p *planner) linger(u *unit, why unmet) {
	v := &u.plan
	p.wait(u, why)
	if v.keep != nil {
		v.at = v.keep.machine
		v.holds = v.reason == ReasonMachineGone // it is not looked at whether a new file would clash with others there
		p.update(u, v.keep)
	}
}
