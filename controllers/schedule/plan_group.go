package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// resolve decides for one group: a single unit, or units that MachineOf= ties to one machine.
func (p *planner) resolve(members []*unit) {
	var movers []*unit
	var stands *machine // where the group is, as far as it stands
	for _, u := range members {
		v := &u.plan
		if v.handled {
			continue
		}
		p.prune(u)
		if v.leaving || u.Fleet.Global && v.problem == "" {
			continue
		}
		p.follow(u)
		if len(u.places) > 1 && v.at == nil && v.keep != nil && v.blocked == "" {
			v.at, v.stays = v.keep.machine, unmetTime // what is too much goes first
		}
		switch {
		case v.blocked != "":
			p.refuse(u, nil)
		case v.at == nil && v.problem == "":
			movers = append(movers, u)
		default:
			if stands == nil {
				stands = v.at
			}
			p.stay(u)
		}
	}
	switch {
	case len(movers) == 0:
	case len(movers) == 1 && len(movers[0].replaces) > 0 && movers[0].plan.keep == nil && p.takePlace(movers[0]):
	case stands == nil:
		p.placeTogether(movers)
	default:
		for _, u := range movers {
			p.join(u, stands)
		}
	}
}

// sortByDepth orders a group so that every unit comes after those that it follows. Units that follow each other in a
// circle are left alone, with a problem that names the circle.
func sortByDepth(c *Cluster, members []*unit) {
	slices.SortFunc(members, byName)
	for _, u := range members {
		depth(c, u, nil)
	}
	slices.SortStableFunc(members, func(a, b *unit) int { return cmp.Compare(a.plan.depth, b.plan.depth) })
}

// depth follows MachineOf= down; path is how it came there.
func depth(c *Cluster, u *unit, path []*unit) int {
	if u.plan.depth > 0 {
		return u.plan.depth
	}
	if i := slices.Index(path, u); i >= 0 {
		circle := path[i:]
		first := slices.Index(circle, slices.MinFunc(circle, byName))
		text := "MachineOf= goes in a circle: "
		for k := range circle {
			text += circle[(first+k)%len(circle)].name + " -> "
		}
		for _, x := range circle {
			x.plan.problem = text + circle[first].name
		}
		return 0
	}
	d := 1
	for _, name := range u.Fleet.MachineOf {
		if t := c.units[name]; t != nil && t.ties() {
			d = max(d, 1+depth(c, t, append(path, u)))
		}
	}
	u.plan.depth = d
	return d
}

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

// follow looks whether the units are there that u has to be beside.
func (p *planner) follow(u *unit) {
	v := &u.plan
	if v.problem != "" {
		return
	}
	for _, name := range u.Fleet.MachineOf {
		t := p.c.units[name]
		switch {
		case t == nil || !t.known:
			v.blocked = "it waits for " + name + " (MachineOf=), which does not exist"
		case t.gone():
			v.blocked = "it waits for " + name + " (MachineOf=), which is inactive"
		case t.Fleet.Global && t.Problem == "":
			if len(t.places) == 0 {
				v.blocked = "it waits for " + name + " (MachineOf=), which is on no machine"
			} else if v.at != nil && v.at.indexed && !p.machinesOf(t).has(v.at.slot) {
				p.cannotStay(v, true, ReasonMachineOf, name+" is not on "+v.at.ID+" (MachineOf=)")
			}
			continue
		case t.plan.problem != "" && t.plan.at == nil:
			v.blocked = "it waits for " + name + " (MachineOf=), which has a problem of its own: " + t.plan.problem
		case t.plan.blocked != "":
			v.blocked = "it waits for " + name + " (MachineOf=), which waits itself"
		case v.keep != nil && t.plan.at != v.keep.machine && !v.hard:
			tv := &t.plan
			together := tv.keep != nil && tv.keep.machine == v.keep.machine && !tv.hard
			if v.at != nil || !together {
				p.cannotStay(v, !together, ReasonMachineOf, "it goes where "+name+" goes (MachineOf=)")
			}
		}
		if v.blocked != "" {
			v.reason, v.message, v.hard, v.at = ReasonMachineOf, v.blocked, true, nil
			return
		}
	}
}

// machinesOf is where a global unit is, or will be by this plan.
func (p *planner) machinesOf(t *unit) bitmap {
	b := p.sites[t]
	if b == nil {
		b = make(bitmap, p.c.words)
		for _, x := range t.places {
			if x.machine.indexed {
				b.set(x.machine.slot)
			}
		}
		p.sites[t] = b
	}
	return b
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
		p.clear(u)
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
	want := u.placement()
	if v := &u.plan; v.problem != "" || v.holds {
		want.Hash = x.Value.Hash
		if want.DesiredState == "" {
			want = x.Value
		}
	}
	a := Action{Kind: Update, Unit: u.name, Machine: x.machine.ID, Placement: want, Revision: x.Mod}
	switch {
	case want == x.Value:
		return
	case want.Hash != x.Value.Hash:
		a.Reason, a.Message = ReasonHashChanged, "the unit has another file"
	case want.DesiredState != x.Value.DesiredState:
		a.Reason, a.Message = ReasonStateChanged, "the unit is to be "+string(want.DesiredState)
	default:
		a.Reason, a.Message = ReasonRequested, "a person asked for it to be started again"
	}
	u.plan.acted = true
	p.act(a)
}

func (u *unit) placement() v1.Placement {
	return v1.Placement{Hash: u.Hash, DesiredState: u.DesiredState, RequestedAt: u.RequestedAt}
}

// placeTogether finds one machine for all of a group.
func (p *planner) placeTogether(movers []*unit) {
	if why := p.drainTurn(movers); why != "" {
		for _, u := range movers {
			p.linger(u, unmetDrain)
			if u.plan.keep == nil {
				u.plan.blocked = "it goes where another unit goes (MachineOf=) that waits to move off a machine being drained: " + why
				p.refused = append(p.refused, refused{u, nil})
			}
		}
		return
	}
	a := p.askFor(movers)
	if len(movers) > 1 {
		if home := p.home(movers); home != nil {
			p.settleAt(movers, home)
			return
		}
		a = p.askFor(movers)
	}
	m := a.find()
	if m == nil {
		for _, u := range movers {
			p.refuse(u, movers)
		}
		return
	}
	p.settleAt(movers, m)
}

// home is a machine that a unit of the group could stay on if the others came: moving less is better.
func (p *planner) home(movers []*unit) *machine {
	for _, u := range movers {
		v := &u.plan
		if v.keep == nil || v.reason != ReasonMachineOf || !v.keep.machine.schedulable() {
			continue
		}
		var others []*unit
		for _, o := range movers {
			if o.plan.keep == nil || o.plan.keep.machine != v.keep.machine {
				others = append(others, o)
			} else if o.plan.reason != ReasonMachineOf {
				return nil
			}
		}
		if p.askFor(others).fits(v.keep.machine) && p.quarrel(movers) == "" {
			return v.keep.machine
		}
	}
	return nil
}

// join has a unit go where the rest of its group is: to the units that it follows, else to any that stands.
func (p *planner) join(u *unit, stands *machine) {
	var target *unit
	for _, name := range u.Fleet.MachineOf {
		switch t := p.c.units[name]; {
		case t.Fleet.Global:
		case t.plan.at == nil:
			u.plan.blocked = "it waits for " + name + " (MachineOf=), which has no machine"
		case target == nil:
			target, stands = t, t.plan.at
		case t.plan.at != stands:
			u.plan.blocked = fmt.Sprintf("it has to be beside both %s and %s (MachineOf=), which are on different machines", target.name, name)
		}
		if u.plan.blocked != "" {
			p.refuse(u, nil)
			return
		}
	}
	single := []*unit{u}
	if p.drainTurn(single) != "" {
		p.linger(u, unmetDrain)
		return
	}
	a := p.askFor(single)
	a.pinned = target != nil
	a.pin(stands)
	if a.find() != nil {
		p.settleAt(single, stands)
		return
	}
	if target == nil { // it follows nothing: better elsewhere than nowhere
		p.placeTogether(single)
		return
	}
	u.plan.beside = stands
	p.refuse(u, single)
}

// maxTogether is how many units one transaction takes: a move is two operations, and etcd takes 128.
const maxTogether = 60

// settleAt puts units on a machine.
func (p *planner) settleAt(movers []*unit, m *machine) {
	for i, u := range movers {
		if i%maxTogether == 0 {
			p.txn++
		}
		v := &u.plan
		v.at, v.acted = m, true
		switch {
		case v.keep == nil:
			p.enter(u, m)
			p.with(Action{Kind: Place, Unit: u.name, Machine: m.ID, Placement: u.placement(), Reason: ReasonPlaced,
				Message: "of the machines that fit, this one runs least"})
		case v.keep.machine == m: // the others come to it
			v.reason = ""
			p.update(u, v.keep)
			p.txn++
		default:
			p.enter(u, m)
			p.released = p.released || v.keep.machine.present
			p.with(Action{Kind: Move, Unit: u.name, From: v.keep.machine.ID, Machine: m.ID, Placement: u.placement(),
				Revision: v.keep.Mod, Reason: v.reason, Message: v.message})
			if v.reason == ReasonDrain && u.family != nil {
				u.family.epoch = p.c.epoch
			}
		}
	}
	for _, u := range movers {
		p.clear(u)
	}
}

// linger leaves a unit where it is for now, although it would have to move.
func (p *planner) linger(u *unit, why unmet) {
	v := &u.plan
	p.wait(u, why)
	if v.keep != nil {
		v.at = v.keep.machine
		v.holds = v.reason == ReasonCPU || v.reason == ReasonMemory
		p.update(u, v.keep)
	}
}

// quarrel says which two units of a group cannot be on one machine.
func (p *planner) quarrel(members []*unit) string {
	p.c.tick++
	for _, u := range members {
		for _, g := range u.conflicts {
			if g.epoch != p.c.tick {
				g.epoch, g.carrier, g.several = p.c.tick, u, false
			} else if g.carrier != u {
				g.several = true
			}
		}
	}
	ports := map[int]*unit{}
	for _, u := range members {
		for _, g := range u.matched {
			if g.epoch == p.c.tick && (g.several || g.carrier != u) {
				return fmt.Sprintf("%s conflicts with %s (Conflicts=%s), and MachineOf= wants them on one machine", u.name, g.carrier.name, g.Pattern)
			}
		}
		for _, port := range u.Fleet.Ports {
			if o := ports[port]; o != nil {
				return fmt.Sprintf("%s and %s both need port %d, and MachineOf= wants them on one machine", o.name, u.name, port)
			}
			ports[port] = u
		}
	}
	for _, u := range members {
		for _, v := range members {
			if len(u.replaces) > 0 && u != v && replaces(u, v) {
				return fmt.Sprintf("%s takes the place of %s (Replaces=), and MachineOf= wants them on one machine", u.name, v.name)
			}
		}
	}
	return ""
}
