package cli

import (
	"cmp"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// unitLine is a unit on one machine, or on none, as shown in tables.
type unitLine struct {
	on                v1.UnitOnMachine
	load, active, sub string
	// reason says why the unit is not placed, not running or not known.
	reason   string
	unplaced bool
}

// unitLines returns the lines of a unit, one per machine.
func unitLines(unit v1.Unit) []unitLine {
	status := v1.UnitStatus{}
	if unit.Status != nil {
		status = *unit.Status
	}
	if len(status.Machines) == 0 {
		l := unitLine{load: "-", active: "-", sub: "-", reason: status.Reason, unplaced: status.Unplaced != nil && !status.StoppedByHand}
		if l.reason == "" && status.Unplaced != nil { // an older fleetd
			l.reason = status.Unplaced.Message
		}
		return []unitLine{l}
	}
	var lines []unitLine
	for _, m := range status.Machines {
		l := unitLine{on: m, load: "-", active: "-", sub: "-", reason: m.Reason}
		if m.State != nil {
			l.load, l.active, l.sub = m.State.LoadState, m.State.ActiveState, m.State.SubState
			l.reason = cmp.Or(m.Reason, m.State.Message) // an older fleetd has no reason other than the machine's message
		}
		lines = append(lines, l)
	}
	return lines
}

// apart splits a unit into one per line.
func apart(unit v1.Unit) []v1.Unit {
	if unit.Status == nil || len(unit.Status.Machines) < 2 {
		return []v1.Unit{unit}
	}
	units := make([]v1.Unit, len(unit.Status.Machines))
	for i := range units {
		status := *unit.Status
		status.Machines = unit.Status.Machines[i : i+1 : i+1]
		units[i] = unit
		units[i].Status = &status
	}
	return units
}

// phase returns the phase reported by fleetd. For an older fleetd, which has none, it is derived from systemd's states.
func phase(m v1.UnitOnMachine) v1.Phase {
	s := m.State
	switch {
	case m.Phase != "" || s == nil:
		return m.Phase
	case s.Active():
		return v1.PhaseActive
	case s.ActiveState == "failed":
		return v1.PhaseFailed
	case s.JobResult == v1.JobSkipped:
		return v1.PhaseSkipped
	case s.Message != "":
		return v1.PhaseRefused
	case s.ActiveState == "inactive" && s.Result == "success":
		return v1.PhaseDone
	}
	return v1.PhaseStarting
}

// fileOf returns the facts from a unit's file; empty for an older fleetd, which does not report them.
func fileOf(unit v1.Unit) v1.UnitFileFacts {
	if unit.Status == nil || unit.Status.File == nil {
		return v1.UnitFileFacts{}
	}
	return *unit.Status.File
}

// shortName returns a unit's name without .service.
func shortName(name string) string { return strings.TrimSuffix(name, ".service") }
