package cli

import (
	"cmp"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// unitLine is a unit on one machine, or on none, as tables show it.
type unitLine struct {
	on                v1.UnitOnMachine
	load, active, sub string
	// reason says what a person should know: why it is on no machine, who stopped it, why it is not known.
	reason   string
	unplaced bool
}

// unitLines are the lines of a unit: one for each machine.
func unitLines(unit v1.Unit) []unitLine {
	status := v1.UnitStatus{}
	if unit.Status != nil {
		status = *unit.Status
	}
	if len(status.Machines) == 0 {
		l := unitLine{load: "-", active: "-", sub: "-", reason: status.Reason, unplaced: status.Unplaced != nil && !status.StoppedByHand}
		if l.reason == "" && status.Unplaced != nil { // of an older fleetd
			l.reason = status.Unplaced.Message
		}
		return []unitLine{l}
	}
	var lines []unitLine
	for _, m := range status.Machines {
		l := unitLine{on: m, load: "-", active: "-", sub: "-", reason: m.Reason}
		if m.State != nil {
			l.load, l.active, l.sub = m.State.LoadState, m.State.ActiveState, m.State.SubState
			l.reason = cmp.Or(m.Reason, m.State.Message) // an older fleetd has no more to say than the machine
		}
		lines = append(lines, l)
	}
	return lines
}

// apart makes of a unit one for each of its lines.
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

// phase is what fleetd says. Of an older one, which says nothing, it is as much as systemd's own words tell.
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

// fileOf is what a unit's file says; nothing where an older fleetd does not tell.
func fileOf(unit v1.Unit) v1.UnitFileFacts {
	if unit.Status == nil || unit.Status.File == nil {
		return v1.UnitFileFacts{}
	}
	return *unit.Status.File
}

// shortName is a unit's name without .service.
func shortName(name string) string { return strings.TrimSuffix(name, ".service") }
