package schedule

import (
	"cmp"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// group is a range of members: units that have to be on one machine.
type group struct {
	from, to int
	lead     *index.Unit
	rank     int8
}

// lastRank is the rank of units that may go anywhere.
const lastRank = 127

// collect finds the units to plan: those that changed, those that waited for such a change, and those tied to them.
func (p *planner) collect() {
	dirty := p.x.Dirty()
	p.work = make([]*index.Unit, 0, len(dirty))
	p.members = make([]*index.Unit, 0, len(dirty))
	p.groups = make([]group, 0, len(dirty))
	for _, u := range dirty {
		if !u.Dropped() {
			p.add(u)
		}
	}
	for u := range p.x.Woken(p.frozen) {
		p.add(u)
	}
}

// add adds a unit and its group.
func (p *planner) add(u *index.Unit) {
	if p.seen(u) {
		return
	}
	from := len(p.members)
	p.visit(u)
	for i := from; i < len(p.members); i++ { // members grows as ties are followed
		x := p.members[i]
		if !tied(x) {
			continue // followers of a global unit are not tied to each other
		}
		for _, name := range x.Follows {
			if t := p.x.Unit(name); t != nil && tied(t) {
				p.visit(t)
			}
		}
		for _, f := range p.x.Followers(x.Name) {
			if tied(f) {
				p.visit(f)
			}
		}
	}
	g := group{from: from, to: len(p.members), lead: u, rank: rank(u)}
	for _, x := range p.members[from:] {
		if r := rank(x); r < g.rank || r == g.rank && x.Name < g.lead.Name {
			g.lead, g.rank = x, r
		}
	}
	p.groups = append(p.groups, g)
	if members := p.members[from:]; len(members) > 1 || len(u.Follows) > 0 {
		sortByDepth(p.x, members)
	}
}

// tied reports whether a unit is grouped with the units that it follows and with its followers.
func tied(u *index.Unit) bool { return !u.Gone() && !u.Fleet.Global }

func (p *planner) visit(u *index.Unit) {
	v := of(u)
	if v.epoch == p.x.Epoch {
		return
	}
	*v = verdict{epoch: p.x.Epoch}
	p.work = append(p.work, u)
	p.members = append(p.members, u)
}

// rank orders units: those with the least choice are placed first.
func rank(u *index.Unit) int8 {
	if u.Gone() {
		return lastRank
	}
	return u.Rank
}

func (p *planner) order() []group {
	slices.SortFunc(p.groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), strings.Compare(a.lead.Name, b.lead.Name))
	})
	return p.groups
}

// sortByDepth orders a group so that every unit comes after those it follows. Units in a circle are left alone, with a
// problem that names the circle.
func sortByDepth(x *index.Index, members []*index.Unit) {
	slices.SortFunc(members, index.ByName)
	for _, u := range members {
		depth(x, u, nil)
	}
	slices.SortStableFunc(members, func(a, b *index.Unit) int { return cmp.Compare(of(a).depth, of(b).depth) })
}

// depth follows the ties down; path is how it got there.
func depth(x *index.Index, u *index.Unit, path []*index.Unit) int {
	v := of(u)
	if v.depth > 0 {
		return v.depth
	}
	if i := slices.Index(path, u); i >= 0 {
		circle := path[i:]
		first := slices.Index(circle, slices.MinFunc(circle, index.ByName))
		var names []string
		for k := range circle {
			names = append(names, circle[(first+k)%len(circle)].Name)
		}
		why := rule.Circle(names)
		for _, c := range circle {
			of(c).outcome, of(c).reason, of(c).message = broken, why.Reason, why.Message
		}
		return 0
	}
	d := 1
	for _, name := range u.Follows {
		if t := x.Unit(name); t != nil && tied(t) {
			d = max(d, 1+depth(x, t, append(path, u)))
		}
	}
	v.depth = d
	return d
}
