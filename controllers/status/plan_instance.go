package status

import (
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// member is one instance of the accepted revision; for a global app, on one machine.
type member struct {
	instance.Progress
	name      string // of the unit, with the machine if only that tells instances apart
	announced bool
	stalled   bool

	unplaced     *v1.Unplaced
	unplacedUnit string
}

func (m *member) scheduled() bool { return m.Input().Placed }
func (m *member) stopped() bool   { return m.State == instance.Stopped }
func (m *member) filed() bool     { return m.Input().Filed() }

// ready reports whether it does its work, of whatever revision, and every router knows.
func (m *member) ready() bool { return m.Work.IsReady() && !m.stopped() }

// withdrawn reports whether it is kept out of the routers, to be replaced or moved.
func (m *member) withdrawn() bool { return m.Work == instance.Withdrawn && !m.stopped() }

// without says why it is not ready: first of all because it has no machine.
func (m *member) without() string {
	if m.unplaced != nil && !m.scheduled() {
		return m.unplaced.Message
	}
	return m.Why()
}

// look finds the instances of the accepted revision.
func (p *planner) look() []member {
	spec := &p.in.Latest.Spec
	if spec.Global {
		return p.lookGlobal()
	}
	list := make([]member, 0, spec.Instances())
	for n := int32(1); n <= spec.Instances(); n++ {
		machine := ""
		if machines := p.in.Placements[v1.AppUnit(p.in.App, n)]; len(machines) > 0 {
			machine = machines[0]
		}
		list = append(list, p.member(n, machine, machine != ""))
	}
	return list
}

// lookGlobal finds the instances of a global app: one on every machine that its rules match. If none matches, the scheduler
// says so.
func (p *planner) lookGlobal() []member {
	unit := v1.AppUnit(p.in.App, 0)
	machines := map[string]bool{} // whether it is placed there
	for id, m := range p.in.Machines {
		if m.Schedulable && instance.Matches(p.in.Latest.Spec.Placement, m.Metadata) {
			machines[id] = false
		}
	}
	for _, id := range p.in.Placements[unit] {
		if _, present := p.in.Machines[id]; present { // an absent one keeps its placement until it returns
			machines[id] = true
		}
	}
	list := make([]member, 0, len(machines))
	for _, id := range slices.Sorted(maps.Keys(machines)) {
		list = append(list, p.member(0, id, machines[id]))
	}
	if len(list) == 0 {
		list = append(list, p.member(0, "", false))
	}
	return list
}

// member compares what is wanted of an instance with what its machine, or for a global app that machine, reports.
func (p *planner) member(n int32, machine string, placed bool) member {
	in, revision := p.in, p.in.Latest
	unit, sidekick := v1.AppUnit(in.App, n), v1.SidekickUnit(in.App, n)
	m := member{name: unit}
	for _, name := range []string{sidekick, unit} {
		if u, ok := in.Unplaced[name]; ok {
			m.unplaced, m.unplacedUnit = &u, name
		}
	}
	_, present := in.Machines[machine]
	input := instance.Input{
		Now: in.Now, Hash: revision.UnitFile, SidekickHash: revision.SidekickFile,
		MinReady: instance.MinReady(&revision.Spec), Oneshot: instance.OneshotSpec(&revision.Spec),
		Stopped: p.stopped(unit), SidekickStopped: p.stopped(sidekick), Unit: in.Units[unit], Sidekick: in.Units[sidekick],
		Placed: placed, Away: placed && !present, Crowded: p.crowded(), Unplaced: m.unplaced, State: in.States[unit][machine],
	}
	for _, id := range slices.Sorted(maps.Keys(in.States[unit])) {
		is := in.States[unit][id].Prepared
		if u := input.Unit; u != nil && id != machine && n > 0 && is.Preparation == u.Next.Preparation {
			input.Next = is
		}
	}
	endpoint := v1.EndpointName(in.App, n)
	if n == 0 {
		endpoint = v1.GlobalEndpointName(in.App, machine)
	}
	if at, ok := in.Endpoints[endpoint]; ok {
		m.announced = true
		input.Endpoint, input.Behind = true, p.behind(at)
	}
	m.Progress = instance.Of(input)
	p.lookAgain(m.After)
	p.waiting = p.waiting || m.Work == instance.Unrouted
	if n == 0 && machine != "" {
		m.name += " on " + instance.ShortMachine(machine)
	}
	p.deadline(&m)
	return m
}

// behind returns the routers that do not serve an endpoint of that revision yet, or do not know the app's hosts.
func (p *planner) behind(endpoint int64) []string {
	routers := v1.RoutersOf(p.in.Routers, p.in.Latest.Spec.AnnouncePrefix())
	behind := v1.RoutersBehind(routers, v1.EndpointSet{Prefix: p.in.Latest.Spec.AnnouncePrefix(), Revision: endpoint})
	for machine, r := range routers {
		if !r.HasRoute(p.in.RouteRevision) && !slices.Contains(behind, machine) {
			behind = append(behind, machine)
		}
	}
	slices.Sort(behind)
	return behind
}

// beside returns the first instance that a roll-out has started beside the wanted ones and that is not ready: nothing is taken away
// before it is. nil where there is none, or where it has no machine and is not waited for.
func (p *planner) beside() *member {
	spec, number := &p.in.Latest.Spec, int32(0)
	for name, unit := range p.in.Units {
		n, sidekick, ok := v1.ParseAppUnit(p.in.App, name)
		starts := ok && !sidekick && n > spec.Instances() && unit.Rollout.UnderWay() && unit.Spec.Hash == p.in.Latest.UnitFile
		if starts && (number == 0 || n < number) {
			number = n
		}
	}
	if number == 0 || spec.Global {
		return nil
	}
	machine := ""
	if machines := p.in.Placements[v1.AppUnit(p.in.App, number)]; len(machines) > 0 {
		machine = machines[0]
	}
	m := p.member(number, machine, machine != "")
	if m.State.IsReady() || m.unplaced != nil && machine == "" && !spec.Leeway(p.in.App).Chosen {
		return nil
	}
	return &m
}

// crowded reports whether units of the app exist that the accepted revision does not want any more.
func (p *planner) crowded() bool {
	if !p.surplusKnown {
		p.surplusKnown = true
		spec := &p.in.Latest.Spec
		for name := range p.in.Units {
			n, sidekick, ok := v1.ParseAppUnit(p.in.App, name)
			if ok && !sidekick && (spec.Global != (n == 0) || n > spec.Instances()) {
				p.surplus = true
			}
		}
	}
	return p.surplus
}

func (p *planner) stopped(unit string) bool {
	o, ok := p.in.Overrides[unit]
	return ok && o.DesiredState != "" && o.DesiredState != v1.Launched
}

// deadline reports whether a roll-out, a restart or a drain that touched the instance, or is about to, has waited long enough.
func (p *planner) deadline(m *member) {
	rollout := m.Rollout()
	since := rollout.Since
	switch {
	case m.stopped():
		return
	case rollout.UnderWay() && !m.State.IsReady():
	case m.Input().Preparing() != "":
		since = m.Input().Unit.Next.Since
	default:
		return
	}
	left := p.in.Latest.Spec.Update.HealthyDeadline.Std() - p.in.Now.Sub(since)
	m.stalled = left <= 0
	p.lookAgain(left)
}

func (p *planner) lookAgain(d time.Duration) {
	if d > 0 && (p.after == 0 || d < p.after) {
		p.after = d
	}
}
