package schedule

import (
	"cmp"
	"fmt"
	"slices"
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
			v.at, v.stays, v.holds = v.keep.machine, unmetTime, true // what is too much goes first
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
