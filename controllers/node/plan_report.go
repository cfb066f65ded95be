package node

import (
	"cmp"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// remove removes a unit without a placement: stop it, then forget it.
func (p *planner) remove(name string) {
	if !p.in.FromStore {
		return
	}
	unit, rec := p.in.Units[name], p.in.Records[name]
	_, file := p.in.Files[name]
	_, recorded := p.in.Records[name]
	if p.in.GivenUp[name] {
		rec.Found = false
	}
	switch {
	case unit.Err != "" && !unit.NoUnit:
		p.unknown(name, v1.Placement{}, rec, unit) // it may run
		return
	case rec.Found && file:
		p.leave(name, rec)
		return
	case !file && !recorded:
		// Reported by an earlier fleetd; a unit of that name is not fleet's now.
	case !file && rec.Loaded == "":
		p.act(Action{Kind: Forget, Unit: name, Reason: NotPlaced}) // systemd never had it
	case unit.stopping():
		p.report(name, v1.Placement{}, rec, "")
		return
	case unit.up():
		p.stopOrphan(name, rec, unit)
		return
	default:
		if unit.failed() {
			p.act(Action{Kind: ResetFailed, Unit: name, Record: rec, Reason: NotPlaced})
		}
		p.act(Action{Kind: Unlink, Unit: name, Record: rec, Reason: NotPlaced})
		if file {
			p.act(Action{Kind: RemoveFile, Unit: name, Record: rec, Reason: NotPlaced})
		}
		if rec.Enabled || unit.LoadState == "loaded" && p.mentioned(name) {
			p.reload = Forgotten
		}
		p.act(Action{Kind: Forget, Unit: name, Reason: NotPlaced})
	}
	if p.in.Held[name] {
		p.act(Action{Kind: Release, Unit: name, Reason: NotPlaced})
	}
	if _, ports := p.in.Ports[name]; ports { // what stops it reads them
		p.act(Action{Kind: RemovePorts, Unit: name, Reason: NotPlaced})
	}
	p.forgetState(name)
}

// forgetState deletes the report of a unit that is not here. One that is about to be moved here is reported until it comes, or
// does not.
func (p *planner) forgetState(name string) {
	last, told := p.in.States[name]
	_, prepares := p.in.Preparations[name]
	switch {
	case prepares:
		p.report(name, v1.Placement{}, Record{}, "")
	case !told || p.in.Preparations == nil && last.Prepared != (v1.Prepared{}):
	default:
		p.act(Action{Kind: DeleteState, Unit: name, Reason: NotPlaced})
	}
}

// refuse reports a unit with an invalid name and removes what an earlier version left: file, link and record. systemd
// never ran it.
func (p *planner) refuse(name string, pl v1.Placement, placed bool, why string) {
	_, file := p.in.Files[name]
	_, recorded := p.in.Records[name]
	if file || recorded {
		p.act(Action{Kind: Unlink, Unit: name, Reason: NameRefused})
		p.act(Action{Kind: RemoveFile, Unit: name, Reason: NameRefused})
		p.act(Action{Kind: Forget, Unit: name, Reason: NameRefused})
	}
	_, told := p.in.States[name]
	switch {
	case placed && !p.acted[name]:
		p.report(name, pl, Record{}, why)
	case told && !placed && p.in.FromStore:
		p.act(Action{Kind: DeleteState, Unit: name, Reason: NameRefused})
	}
}

// unknownAgain is when to ask systemd again about a unit it reported no state for.
const unknownAgain = time.Second

// unknown leaves a unit alone that systemd reports no state for: the last report stands, with the reason added.
func (p *planner) unknown(name string, pl v1.Placement, rec Record, unit SystemdUnit) {
	state, told := p.in.States[name]
	if unit.NoUnit {
		p.report(name, pl, rec, unit.Err)
		return
	}
	p.lookAgain(unknownAgain)
	if !told {
		state = p.stateOf(name, SystemdUnit{}, pl, rec, "")
	}
	if state.Message = unit.Err; !told || !sameState(state, p.in.States[name]) {
		p.act(Action{Kind: WriteState, Unit: name, State: state, Reason: StateChanged})
	}
}

// stopOrphan stops a unit that runs without a placement; after an absence, only once its replacement is active, or if it is in the way
// of a unit that has its place now.
func (p *planner) stopOrphan(name string, rec Record, unit SystemdUnit) {
	if until, held := p.in.Holds[name]; held && p.in.Now.Before(until) && !p.inTheWay(name) {
		p.lookAgain(until.Sub(p.in.Now))
		p.report(name, v1.Placement{}, rec, "no longer placed here: runs until its replacement is active")
		return
	}
	rec.Launched, rec.Pending, rec.Stopped = "", false, true
	p.act(Action{Kind: Stop, Unit: name, Record: rec, Reason: NotPlaced})
}

// inTheWay reports whether a unit that is placed here conflicts with this one: it may need the same port, and would fail until the
// hold is over.
func (p *planner) inTheWay(name string) bool {
	for other := range p.in.Relations {
		if pl, placed := p.placed(other); !placed || pl.DesiredState != v1.Launched {
			continue
		}
		if _, conflicts := (unitfile.Fleet{Unit: other, Conflicts: p.in.Relations[other].Conflicts}).ConflictsWith(name); conflicts {
			return true
		}
	}
	return false
}

// mentioned reports whether a unit that stays has a relation to this one, which makes systemd keep it in memory.
func (p *planner) mentioned(name string) bool {
	for other := range p.in.Relations {
		for _, m := range p.in.Relations[other].Mentions {
			if m == name {
				return true
			}
		}
	}
	return false
}

// report writes a unit's state if it changed. A unit that was just acted on is observed again first.
func (p *planner) report(name string, pl v1.Placement, rec Record, message string) {
	if p.acted[name] {
		before := p.in.Records[name].Message
		if before == "" {
			return
		}
		message = cmp.Or(message, before) // a refused action is retried and may be refused again
	}
	unit := p.in.Units[name]
	last, told := p.in.States[name]
	state := p.stateOf(name, unit, pl, rec, message)
	if p.waitsForOutput(name, unit) || p.unknownYet[name] {
		return
	}
	if !p.acted[name] {
		p.tell(name, pl, rec, unit, state)
	}
	if told && sameState(last, state) {
		return
	}
	if wait := p.starts(unit); wait > 0 && state.Message == "" && (!told || last.ActiveState == "inactive") {
		p.lookAgain(wait)
		return
	}
	p.act(Action{Kind: WriteState, Unit: name, State: state, Reason: StateChanged})
}

// settle is how long a start may take before it is reported: most are faster and need only one write.
const settle = 100 * time.Millisecond

// starts returns for how much longer a start is too recent to be reported. Automatic restarts do not count.
func (p *planner) starts(unit SystemdUnit) time.Duration {
	since := p.in.Now.Sub(unit.Since)
	if unit.ActiveState != "activating" || unit.SubState == "auto-restart" || since < 0 { // or the clock was set back
		return 0
	}
	return settle - since
}

func sameState(a, b v1.UnitState) bool {
	same := a.Since.Equal(b.Since) && a.Prepared.Since.Equal(b.Prepared.Since)
	a.Since, a.Prepared.Since = b.Since, b.Prepared.Since // compare times by value
	return same && a == b
}

// stateOf is the state to report for a unit.
func (p *planner) stateOf(name string, unit SystemdUnit, pl v1.Placement, rec Record, message string) v1.UnitState {
	state := v1.UnitState{
		LoadState: cmp.Or(unit.LoadState, "not-found"), ActiveState: cmp.Or(unit.ActiveState, "inactive"), SubState: cmp.Or(unit.SubState, "dead"),
		Result: unit.Result, InvocationID: unit.InvocationID, Since: unit.Since,
		Hash: rec.Loaded, DesiredState: pl.DesiredState, RequestedAt: rec.RequestedAt,
		Restarts: unit.Restarts, ExitCode: unit.Exit.Code, ExitStatus: unit.Exit.Status,
		Message: cmp.Or(message, rec.Message), Output: p.output(name, unit, rec),
		Prepared: p.prepared[name],
	}
	// Between a reload and the end of the restart the process is still the old one.
	if unit.up() && unit.runsPrevious(rec) {
		state.Hash = rec.Previous
	}
	// systemd forgets how a process ended when it starts the next one.
	if last := p.in.States[name]; rec.Failing && unit.Restarts > 0 && state.ExitCode == "" && last.Hash == state.Hash {
		state.ExitCode, state.ExitStatus = last.ExitCode, last.ExitStatus
	}
	p.explain(name, pl, rec, unit, &state)
	return state
}
