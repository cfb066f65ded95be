package collect

import (
	"fmt"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Notice is an event about deleted keys, named after the first one.
type Notice struct {
	First   Candidate
	Type    string
	Reason  string
	Message string
}

// Notices returns the deletions worth an event, one for each reason. Old files, revisions and status objects are deleted as a
// matter of course. What a person asked for, or what fleet would not have left behind itself, is reported.
func Notices(deleted []Action, grace time.Duration) []Notice {
	var list []Notice
	count := map[string]int{}
	for _, a := range deleted {
		if says(a, grace) == "" {
			continue
		}
		if count[a.Reason]++; count[a.Reason] == 1 {
			list = append(list, Notice{First: a.Candidate, Type: typeOf(a.Reason), Reason: a.Reason, Message: says(a, grace)})
		}
	}
	for i, n := range list {
		if more := count[n.Reason] - 1; more > 0 {
			list[i].Message += fmt.Sprintf("; and %d more for the same reason", more)
		}
	}
	return list
}

// says returns the message; "" for what needs no event.
func says(a Action, grace time.Duration) string {
	machine, unit, _ := strings.Cut(a.Name, "/")
	switch a.Reason {
	case MachineGone:
		return fmt.Sprintf("deleted: there has been no machine %s for %s", machine, grace)
	case NotPlaced:
		return fmt.Sprintf("deleted: %s has not been placed on %s for %s", unit, machine, grace)
	case UnitGone:
		return fmt.Sprintf("deleted: the unit %s that it was for has not existed for %s; one of that name is not affected", a.Name, grace)
	case Forged:
		return "deleted: it is not the text with that hash, and no unit has it"
	}
	return ""
}

// typeOf returns the event's type. It is normal that machines leave states behind and that a deleted app leaves overrides.
// Everything else is a foreign key or a mistake.
func typeOf(reason string) string {
	if reason == MachineGone || reason == UnitGone {
		return v1.EventNormal
	}
	return v1.EventWarning
}
