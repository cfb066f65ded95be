package node

import v1 "github.com/fleet-starter/fleet/apis/v1"

// Units are found when fleetd comes to a machine that the original was on: see found.

// foundHere is what is reported of a found unit without a placement.
const foundHere = "it was here before fleetd: left alone until a unit of this name has a place"

// adopted is the record of a found unit once it is placed here. One that is to be loaded is not stopped: the original let it run,
// such as what a timer starts.
func adopted(rec Record, pl v1.Placement) Record {
	rec.Found = false
	if pl.DesiredState == v1.Loaded {
		rec.Stopped, rec.RequestedAt = true, pl.RequestedAt
	}
	return rec
}

// leave reports a found unit without a placement, and records once that it is left alone.
func (p *planner) leave(name string, rec Record) {
	if p.in.States[name].Message != foundHere {
		p.found(name, LeftAlone, foundHere)
	}
	p.report(name, v1.Placement{}, rec, foundHere)
}

// tellTakenOver records what happens to a running unit that was found.
func (p *planner) tellTakenOver(name string, changed bool) {
	message := "it ran here before fleetd, and goes on: its file is the same"
	if changed {
		message = "it ran here before fleetd, with another file: if it is to run, it is restarted once"
	}
	p.found(name, TakenOver, message)
}

func (p *planner) found(name, reason, message string) {
	p.act(Action{Kind: Tell, Unit: name, Reason: reason, Event: v1.Event{
		Kind: v1.KindUnit, Name: name, Type: v1.EventNormal, Reason: reason, Message: message,
	}})
}
