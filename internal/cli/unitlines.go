package cli

import (
	"fmt"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/unitfile"
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
	stopped := stoppedByHand(unit, status.Override)
	if len(status.Machines) == 0 {
		l := unitLine{load: "-", active: "-", sub: "-", reason: stopped}
		if status.Unplaced != nil && stopped == "" {
			l.reason, l.unplaced = status.Unplaced.Message, true
		}
		return []unitLine{l}
	}
	var lines []unitLine
	for _, m := range status.Machines {
		l := unitLine{on: m, load: "-", active: "-", sub: "-", reason: stopped}
		switch {
		case m.State != nil:
			l.load, l.active, l.sub = m.State.LoadState, m.State.ActiveState, m.State.SubState
			switch trouble := instance.Trouble(m.State, time.Now()); {
			case trouble != "":
				l.reason = trouble
			case m.Placement != nil && status.Unplaced != nil && stopped == "": // it runs as it was, and cannot be as it should
				l.reason = status.Unplaced.Message
			}
		case m.Address == "":
			l.reason = "the machine is away"
		}
		lines = append(lines, l)
	}
	return lines
}

// stoppedByHand says so of a unit that its app would have running.
func stoppedByHand(unit v1.Unit, o *v1.Override) string {
	if o == nil || unit.Metadata.Owner == "" || o.DesiredState == "" || o.DesiredState == v1.Launched {
		return ""
	}
	return fmt.Sprintf("stopped by hand: fleetctl start %s", shortName(unit.Metadata.Name))
}

// unitName is the full name of a unit: .service may be left out. What ends with another type is left as it is, also where no
// unit can have that name today: one that an earlier version took can still be deleted.
func unitName(typed string) string {
	if _, err := unitfile.ParseName(typed); err == nil || unitfile.HasType(typed) {
		return typed
	}
	if name := typed + ".service"; !strings.HasSuffix(typed, ".") {
		if _, err := unitfile.ParseName(name); err == nil {
			return name
		}
	}
	return typed
}

// shortName undoes unitName.
func shortName(name string) string { return strings.TrimSuffix(name, ".service") }
