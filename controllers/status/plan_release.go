package status

import (
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// releasing is how far the release command is that the newest revision waits for.
func (p *planner) releasing() string {
	unit := v1.ReleaseUnit(p.in.App)
	why := "is about to be started"
	if u := p.in.Units[unit]; u != nil && u.Spec.DesiredState == v1.Launched && u.Metadata.Annotations[v1.AnnotationRelease] == fmt.Sprint(p.in.Releasing.Release.Revision) {
		machine := ""
		if machines := p.in.Placements[unit]; len(machines) > 0 {
			machine = machines[0]
		}
		in := instance.Input{Now: p.in.Now, Unit: u, Placed: machine != "", State: p.in.States[unit][machine]}
		if unplaced, ok := p.in.Unplaced[unit]; ok {
			in.Unplaced = &unplaced
		}
		_, present := p.in.Machines[machine]
		in.Away = in.Placed && !present
		if why = instance.OfRelease(in, machine).Why; why == "" {
			why = "has ended"
		}
	} else if u != nil && u.Spec.DesiredState == v1.Launched {
		why = "waits for the end of that of an earlier revision"
	}
	if p.in.Paused && why == "is about to be started" {
		why = "waits: the roll-out is paused: fleetctl rollout resume app/" + p.in.App
	}
	return fmt.Sprintf("revision %d: its release command %s", p.in.Releasing.Number, why)
}

// firstRelease is the status of an app of which nothing runs before the release command of its first revision has ended.
func (p *planner) firstRelease() {
	message := p.releasing()
	for _, condition := range []string{v1.Scheduled, v1.Available} {
		p.set(condition, v1.ConditionUnknown, ReasonReleasing, message)
	}
	p.set(v1.Progressing, v1.ConditionTrue, ReasonReleasing, message)
	p.set(v1.Ready, v1.ConditionFalse, ReasonReleasing, message)
}
