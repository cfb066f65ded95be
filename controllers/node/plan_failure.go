package node

import (
	"cmp"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// failing reports whether it failed or systemd is about to restart it after a failure. A unit that keeps exiting
// successfully and being restarted counts too.
func failing(unit SystemdUnit) bool {
	again := unit.ActiveState == "activating" && unit.SubState == "auto-restart"
	return unit.failed() || again && (unit.Result != "success" || unit.Restarts >= instance.LoopRestarts)
}

// describe says how a unit failed.
func describe(unit SystemdUnit) string {
	state := v1.UnitState{Result: unit.Result, ExitCode: unit.Exit.Code, ExitStatus: unit.Exit.Status}
	return cmp.Or(instance.Outcome(&state), "it exited successfully")
}

// tell records an event when a unit begins to fail and when it has recovered for a while. In between it may fail any
// number of times.
func (p *planner) tell(name string, pl v1.Placement, rec Record, unit SystemdUnit, state v1.UnitState) {
	if pl.DesiredState != v1.Launched {
		return
	}
	reason, message := trouble(rec, unit, state)
	switch {
	case reason != "" && !rec.Failing:
		rec.Failing = true
		p.event(name, rec, v1.EventWarning, reason, message)
		if reason == NotStarted {
			p.lookAgain(outputSettle) // its log is asked for once this is recorded, and systemd may not say a word more
		}
	case reason != "" || !rec.Failing:
	case unit.active():
		stable := instance.StableAfter(v1.DefaultMinReady, unit.Restarts) - p.in.Now.Sub(unit.Since)
		if stable > 0 && stable < time.Hour { // otherwise the clock was set back
			p.lookAgain(stable)
			return
		}
		rec.Failing = false
		p.event(name, rec, v1.EventNormal, Recovered, "it runs again")
	case state.Result == "success" && state.ActiveState == "inactive":
		rec.Failing = false
		p.event(name, rec, v1.EventNormal, Recovered, "it has exited successfully")
	}
}

// trouble returns the reason and message of the event for a failing unit; no reason if it is not failing.
func trouble(rec Record, unit SystemdUnit, state v1.UnitState) (reason, message string) {
	message = cmp.Or(state.Message, describe(unit))
	if last := state.Output[strings.LastIndexByte(state.Output, '\n')+1:]; last != "" {
		message += ": " + last
	}
	switch {
	case rec.JobResult != "" && rec.JobResult != jobSkipped:
		return NotStarted, message
	case !failing(unit):
		return "", ""
	case unit.failed():
		return FailedReason, message
	}
	return RestartingAgain, message
}

func (p *planner) event(name string, rec Record, eventType, reason, message string) {
	p.act(Action{Kind: Note, Unit: name, Record: rec, Reason: reason})
	p.act(Action{Kind: Tell, Unit: name, Reason: reason, Event: v1.Event{
		Kind: v1.KindUnit, Name: name, Type: eventType, Reason: reason, Message: message,
	}})
}

// output is what the unit logged before it failed, until it has recovered for a while.
func (p *planner) output(name string, unit SystemdUnit, rec Record) string {
	if last, told := p.in.States[name]; told && p.in.Outputs[name].Pending && last.InvocationID == unit.InvocationID {
		return last.Output
	}
	if !failing(unit) && !rec.Failing {
		return ""
	}
	return p.in.Outputs[name].Text
}

// outputPatience is how long the report of a failure waits for the unit's output.
const outputPatience = 500 * time.Millisecond

// waitsForOutput delays the state, to write it once with the output. A unit may have failed since the pass began.
func (p *planner) waitsForOutput(name string, unit SystemdUnit) bool {
	since := p.in.Now.Sub(unit.Since)
	if unit.failed() && since > -outputPatience {
		since = max(since, 0)
	}
	if !p.in.Outputs[name].Pending || since < 0 || since >= outputPatience {
		return false
	}
	p.lookAgain(outputPatience - since)
	return true
}
