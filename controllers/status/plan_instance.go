package status

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// instance is how far one instance has come; of a global app, on one machine.
type instance struct {
	name      string // of the unit, with the machine where that tells instances apart
	scheduled bool
	stopped   bool // a person wants it so
	active    bool
	filed     bool // its units are those of the revision
	updated   bool // and so is what runs
	announces bool
	announced bool
	withdrawn bool // kept out of the routers, to be replaced
	stalled   bool
	movedFrom string // it is withdrawn, or was, to leave that machine

	state        *v1.UnitState
	unplaced     *v1.Unplaced
	unplacedUnit string
}

// serves: it does its work, of whatever revision.
func (i *instance) serves() bool { return i.active && (i.announced || !i.announces) && !i.withdrawn }

// done: there is nothing left to do for it.
func (i *instance) done() bool { return i.serves() && i.updated }

// moving: that is why it is kept out of the routers.
func (i *instance) moving() bool { return i.withdrawn && i.filed && i.movedFrom != "" }

// reason is the one word for why it is not done, why the sentence.
func (i *instance) reason() string {
	switch {
	case i.stopped:
		return ReasonStopped
	case !i.scheduled && i.unplaced != nil:
		return ReasonUnplaced
	case !i.scheduled:
		return ReasonPending
	case !i.active:
		return ReasonNotActive
	case i.updated && i.moving():
		return ReasonMoving
	case !i.updated || i.withdrawn:
		return ReasonOutOfDate
	}
	return ReasonNotAnnounced
}

func (i *instance) why() string {
	switch i.reason() {
	case ReasonStopped:
		return "stopped by a person: start it again with fleetctl start"
	case ReasonUnplaced:
		return i.unplaced.Message
	case ReasonPending:
		return "about to be placed"
	case ReasonMoving:
		return "in no router, to leave " + shortMachine(i.movedFrom)
	case ReasonOutOfDate:
		return "about to be replaced"
	case ReasonNotAnnounced:
		return "active, but not announced: its health check does not pass, or has not so far"
	}
	if i.state.Message != "" {
		return i.state.Message
	}
	text := cmp.Or(i.state.ActiveState, "its machine says nothing of it so far")
	if i.state.SubState != "" {
		text += " (" + i.state.SubState + ")"
	}
	if i.state.Result != "" && i.state.Result != "success" {
		text += ", result " + i.state.Result
	}
	return text
}

// look finds the instances of the accepted revision.
func (p *planner) look() []instance {
	if p.in.Latest.Spec.Global {
		var list []instance
		unit := v1.AppUnit(p.in.App, 0)
		for _, machine := range p.in.Placements[unit] {
			list = append(list, p.instance(0, machine))
		}
		if len(list) == 0 && p.in.Unplaced[unit].Message != "" {
			list = append(list, p.instance(0, ""))
		}
		return list
	}
	list := make([]instance, 0, p.in.Latest.Spec.Instances())
	for n := int32(1); n <= p.in.Latest.Spec.Instances(); n++ {
		machine := ""
		if machines := p.in.Placements[v1.AppUnit(p.in.App, n)]; len(machines) > 0 {
			machine = machines[0]
		}
		list = append(list, p.instance(n, machine))
	}
	return list
}

// instance compares what is wanted of an instance with what there is, on that machine ("": it has none).
func (p *planner) instance(n int32, machine string) instance {
	in, revision := p.in, p.in.Latest
	unit, sidekick := v1.AppUnit(in.App, n), v1.SidekickUnit(in.App, n)
	i := instance{
		name: unit, scheduled: machine != "", stopped: p.stopped(unit), state: in.States[unit][machine],
		announces: revision.Spec.Announce != nil && !p.stopped(sidekick),
	}
	if i.state == nil {
		i.state = &v1.UnitState{}
	}
	i.active = i.state.Active()
	i.filed = p.hash(unit) == revision.UnitFile && p.hash(sidekick) == revision.SidekickFile
	i.updated = i.filed && i.state.Hash == revision.UnitFile
	i.announced = p.announced(n, machine)
	if s, ok := in.Units[sidekick]; ok && i.announces && !i.stopped {
		i.withdrawn = s.Spec.DesiredState != v1.Launched
	}
	for _, name := range []string{sidekick, unit} {
		if u, ok := in.Unplaced[name]; ok {
			i.unplaced, i.unplacedUnit = &u, name
		}
	}
	if in.Latest.Spec.Global && machine != "" {
		i.name += " on " + shortMachine(machine)
	}
	if u := in.Units[unit]; u != nil {
		i.movedFrom = u.Metadata.Annotations[v1.AnnotationMovedFrom]
		p.deadline(&i, u)
	}
	return i
}

// hash is that of a unit's file; "" where the app has no such unit.
func (p *planner) hash(unit string) string {
	if u := p.in.Units[unit]; u != nil {
		return u.Spec.Hash
	}
	return ""
}

func (p *planner) stopped(unit string) bool {
	o, ok := p.in.Overrides[unit]
	return ok && o.DesiredState != "" && o.DesiredState != v1.Launched
}

// announced looks for the endpoint.
func (p *planner) announced(n int32, machine string) bool {
	name := v1.EndpointName(p.in.App, n)
	if n == 0 {
		name = v1.GlobalEndpointName(p.in.App, machine)
	}
	_, ok := p.in.Endpoints[name]
	return ok
}

// deadline tells whether a roll-out or a drain that touched the instance has waited long enough.
func (p *planner) deadline(i *instance, unit *v1.Unit) {
	if i.done() || i.stopped || unit.Metadata.Annotations[v1.AnnotationUpdatedAt] == "" {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, unit.Metadata.Annotations[v1.AnnotationUpdatedAt])
	if err != nil {
		return
	}
	left := p.in.Latest.Spec.Update.HealthyDeadline.Std() - p.in.Now.Sub(at)
	i.stalled = left <= 0
	if left > 0 && (p.after == 0 || left < p.after) {
		p.after = left
	}
}

// shortMachine cuts an ID as list-machines does.
func shortMachine(id string) string {
	if len(id) > 8 {
		return id[:8] + "..."
	}
	return id
}

// names lists a few machines.
func names(machines []string) string {
	const few = 3
	short := make([]string, 0, few)
	for _, m := range machines[:min(few, len(machines))] {
		short = append(short, shortMachine(m))
	}
	text := strings.Join(short, ", ")
	if len(machines) > few {
		text += fmt.Sprintf(" and %d more", len(machines)-few)
	}
	return text
}
