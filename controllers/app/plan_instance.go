package app

import (
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// settleTime is how long an instance that is not announced has to be active before it counts as ready: nothing
// else tells whether its process stays.
const settleTime = 2 * time.Second

// instance is one instance of the app with its sidekick: what is, and what should be.
type instance struct {
	number         int32
	unit, sidekick pair
}

// pair is a unit as it is stored (nil where it is not) and as it should be in the end.
type pair struct {
	name    string
	stored  *Unit
	states  []*v1.UnitState
	hash    string // "": it should not be
	desired v1.DesiredState
	request string
}

// instances compares what is wanted with what there is.
func (p *planner) instances() {
	hash, sidekick := p.revision.UnitFile, p.revision.SidekickFile
	first, last := int32(1), p.revision.Spec.Instances()
	if p.revision.Spec.Global {
		first, last = 0, 0
	}
	p.all = make([]*instance, 0, last-first+1)
	for n := first; n <= last; n++ {
		p.all = append(p.all, p.instance(n, hash, sidekick))
	}
	p.surplus = p.existing(func(n int32) bool { return n < first || n > last })
}

// existing returns instances that are stored, highest numbers first.
func (p *planner) existing(which func(int32) bool) []*instance {
	numbers := map[int32]bool{}
	for name := range p.in.Units {
		if n, _, ok := v1.ParseAppUnit(p.in.App, name); ok && which(n) {
			numbers[n] = true
		}
	}
	var list []*instance
	for _, n := range slices.Backward(slices.Sorted(maps.Keys(numbers))) {
		list = append(list, p.instance(n, "", ""))
	}
	return list
}

func (p *planner) instance(n int32, hash, sidekick string) *instance {
	i := &instance{number: n}
	i.unit = p.pair(v1.AppUnit(p.in.App, n), hash)
	i.sidekick = p.pair(v1.SidekickUnit(p.in.App, n), sidekick)
	if i.unit.desired != v1.Launched { // what does not run is not announced
		i.sidekick.desired = i.unit.desired
	}
	if _, own := p.in.Overrides[i.sidekick.name]; !own && i.unit.request != "" {
		i.sidekick.request = i.unit.request
	}
	return i
}

func (p *planner) pair(name, hash string) pair {
	u := pair{name: name, hash: hash, desired: v1.Launched, states: p.in.States[name]}
	if stored, ok := p.in.Units[name]; ok {
		u.stored = &stored
		u.request = stored.Spec.RequestedAt
	}
	if o, ok := p.in.Overrides[name]; ok {
		if o.DesiredState != "" {
			u.desired = o.DesiredState
		}
		if o.RequestedAt != "" {
			u.request = o.RequestedAt
		}
	}
	return u
}

// is tells how the stored unit is desired now; inactive where there is none.
func (u *pair) is() v1.DesiredState {
	if u.stored == nil {
		return v1.Inactive
	}
	return u.stored.Spec.DesiredState
}

// current: the stored unit has the file that it should have, or rightly is not there.
func (u *pair) current() bool {
	if u.stored == nil {
		return u.hash == ""
	}
	return u.stored.Spec.Hash == u.hash
}

// up: it runs somewhere, or is on its way up or down.
func (u *pair) up() bool {
	return slices.ContainsFunc(u.states, func(s *v1.UnitState) bool {
		return s.ActiveState != "inactive" && s.ActiveState != "failed" && s.ActiveState != ""
	})
}

// active: it runs; with the file of that hash, unless that is "".
func (u *pair) active(hash string) (*v1.UnitState, bool) {
	for _, s := range u.states {
		if s.Active() && (hash == "" || s.Hash == hash) {
			return s, true
		}
	}
	return nil, false
}

// wanted: it should run, and nobody stopped it.
func (i *instance) wanted() bool { return i.unit.hash != "" && i.unit.desired == v1.Launched }

// updated: both units are of the revision.
func (i *instance) updated() bool { return i.unit.current() && i.sidekick.current() }

// withdrawn: it is kept out of the routers although it should be in them: it is being replaced.
func (i *instance) withdrawn() bool {
	return i.wanted() && i.sidekick.stored != nil && i.sidekick.is() != v1.Launched && i.announces()
}

// announces: once it is up to date it has an endpoint, unless a person stopped its sidekick.
func (i *instance) announces() bool {
	return i.sidekick.hash == "" || i.sidekick.desired == v1.Launched
}

// announced: it has an endpoint, or none that anybody could see is expected.
func (p *planner) announced(i *instance) bool {
	if i.sidekick.stored == nil || i.sidekick.desired != v1.Launched {
		return i.sidekick.hash == "" || i.sidekick.desired != v1.Launched
	}
	if p.revision.Spec.Global {
		_, active := i.sidekick.active("")
		return active
	}
	return p.endpoint(i)
}

func (p *planner) endpoint(i *instance) bool {
	_, ok := p.in.Endpoints[v1.EndpointName(p.in.App, i.number)]
	return ok
}

// available: it does its work, of whatever revision.
func (p *planner) available(i *instance) bool {
	_, active := i.unit.active("")
	return active && (i.sidekick.stored == nil || p.announced(i))
}

// ready: an instance that is updated does its work so. Where only time is missing, look again then.
func (p *planner) ready(i *instance) bool {
	state, active := i.unit.active(i.unit.hash)
	if !active || !p.announced(i) {
		return false
	}
	if i.sidekick.hash != "" && i.sidekick.desired == v1.Launched && p.seen() {
		return true // its endpoint says that it is healthy
	}
	since := state.Since
	if p.in.Now.Before(since) { // that machine's clock is ahead: count from what this side noted
		since = i.unit.updatedAt()
	}
	if p.in.Now.Before(since) { // this side's was set back: nothing tells, and to wait until it is there may take hours
		return true
	}
	left := settleTime - p.in.Now.Sub(since)
	p.lookAgain(left)
	return left <= 0
}

// seen: each instance has an endpoint of its own.
func (p *planner) seen() bool {
	a := p.revision.Spec.Announce
	return a != nil && !p.revision.Spec.Global
}

// movedFrom is the machine that the unit is to leave, or has left, since it was touched; "" where that was a roll-out.
func (u *pair) movedFrom() string {
	if u.stored == nil {
		return ""
	}
	return u.stored.Metadata.Annotations[v1.AnnotationMovedFrom]
}

// updatedAt is when a roll-out last touched the unit; the zero time where none did.
func (u *pair) updatedAt() time.Time {
	if u.stored == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, u.stored.Metadata.Annotations[v1.AnnotationUpdatedAt])
	if err != nil {
		return time.Time{}
	}
	return at
}

// gone: no request reaches the instance any more. Its sidekick runs nowhere, its endpoint is deleted, and every
// router that lives serves what has been since. No router is no wait.
func (p *planner) gone(i *instance) bool {
	if i.sidekick.stored == nil {
		return true
	}
	if i.sidekick.up() || p.announcedAnywhere(i) {
		return false
	}
	routers, after := v1.RoutersToWaitFor(p.in.Routers, p.in.Now)
	if len(v1.RoutersBehind(routers, p.in.EndpointSets...)) > 0 {
		p.waiting = true
		p.lookAgain(after)
		return false
	}
	return true
}

func (p *planner) announcedAnywhere(i *instance) bool {
	if i.number == 0 {
		return len(p.in.Endpoints)+len(p.in.Former) > 0
	}
	_, formerly := p.in.Former[v1.EndpointName(p.in.App, i.number)]
	return formerly || p.endpoint(i)
}
