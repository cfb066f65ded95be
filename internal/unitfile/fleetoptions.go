package unitfile

import (
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/apis/quantity"
)

// fleetOption is an option of [X-Fleet].
type fleetOption struct {
	name       string
	deprecated string // the spelling of fleet before 0.9
	legacy     string // an older one
	// read takes one assignment; an empty one resets the option. resolve evaluates the values for one unit.
	read    func(t *FleetTemplate, l *list, o Option)
	resolve func(fl *Fleet, l list, n Name) []Problem
}

// fleetOptions are all options, one per row, sorted by name.
var fleetOptions = []fleetOption{
	{"AutoPorts", "", "", (*FleetTemplate).readWords, func(fl *Fleet, l list, n Name) (problems []Problem) {
		fl.AutoPorts, problems = l.portNames(n)
		return problems
	}},
	{"CPU", "", "", (*FleetTemplate).readSingle, func(fl *Fleet, l list, n Name) (problems []Problem) {
		fl.CPU, problems = l.quantity(n, quantity.ParseCPU)
		return problems
	}},
	{"Conflicts", "X-Conflicts", "", (*FleetTemplate).readWords, func(fl *Fleet, l list, n Name) []Problem {
		fl.Conflicts = l.expand(n, true)
		return l.checkGlobs(fl.Conflicts)
	}},
	{"Global", "", "", (*FleetTemplate).readBool, func(fl *Fleet, l list, _ Name) []Problem {
		fl.Global = l.first().set()
		return nil
	}},
	{"Image", "", "", (*FleetTemplate).readWords, func(fl *Fleet, l list, n Name) (problems []Problem) {
		fl.Image, problems = l.image(n)
		return problems
	}},
	{machineIDs[0], machineIDs[1], machineIDs[2], (*FleetTemplate).readMachineID, func(fl *Fleet, l list, n Name) []Problem {
		fl.MachineID = l.text(n)
		return nil
	}},
	{"MachineMetadata", "X-ConditionMachineMetadata", "", (*FleetTemplate).readMetadata, func(fl *Fleet, l list, n Name) []Problem {
		fl.MachineMetadata = l.metadata(n)
		return nil
	}},
	{"MachineOf", "X-ConditionMachineOf", "", (*FleetTemplate).readWords, func(fl *Fleet, l list, n Name) []Problem {
		fl.MachineOf = l.expand(n, false)
		return nil
	}},
	{"Memory", "", "", (*FleetTemplate).readSingle, func(fl *Fleet, l list, n Name) (problems []Problem) {
		fl.Memory, problems = l.quantity(n, quantity.ParseMemory)
		return problems
	}},
	{"OnPartition", "", "", (*FleetTemplate).readSingle, func(fl *Fleet, l list, n Name) []Problem {
		fl.OnPartition = l.text(n)
		if fl.OnPartition != PartitionKeep && fl.OnPartition != PartitionStop {
			return []Problem{l.first().problem("%s is neither %s nor %s", excerpt(fl.OnPartition), PartitionKeep, PartitionStop)}
		}
		return nil
	}},
	{"Ports", "", "", (*FleetTemplate).readWords, func(fl *Fleet, l list, n Name) (problems []Problem) {
		fl.Ports, problems = l.portNumbers(n)
		return problems
	}},
	{"PreferMetadata", "", "", (*FleetTemplate).readMetadata, func(fl *Fleet, l list, n Name) []Problem {
		fl.PreferMetadata = l.metadata(n)
		return nil
	}},
	{"Pull", "", "", (*FleetTemplate).readSingle, func(fl *Fleet, l list, n Name) []Problem {
		fl.Pull = l.text(n)
		if fl.Pull != PullAlways && fl.Pull != PullIfNotPresent {
			return []Problem{l.first().problem("%s is neither %s nor %s", excerpt(fl.Pull), PullAlways, PullIfNotPresent)}
		}
		return nil
	}},
	{"Replaces", "", "", (*FleetTemplate).readWords, func(fl *Fleet, l list, n Name) []Problem {
		fl.Replaces = l.expand(n, true)
		return l.checkGlobs(fl.Replaces)
	}},
	{"SpreadOver", "", "", (*FleetTemplate).readSingle, func(fl *Fleet, l list, n Name) []Problem {
		fl.SpreadOver = l.text(n)
		if strings.ContainsAny(fl.SpreadOver, "= \t") {
			return []Problem{l.first().problem("%s is not a metadata key: write one key, such as zone", excerpt(fl.SpreadOver))}
		}
		return nil
	}},
}

// optionOf returns the row of an option by any of its spellings; -1 if there is none.
func optionOf(spelling string) int {
	return slices.IndexFunc(fleetOptions, func(o fleetOption) bool {
		return spelling == o.name || spelling != "" && (spelling == o.deprecated || spelling == o.legacy)
	})
}

// suggestion says what to write instead of an unknown option.
func suggestion(name string) string {
	var names []string
	for _, o := range fleetOptions {
		if strings.EqualFold(o.name, name) || name != "" && (strings.EqualFold(o.deprecated, name) || strings.EqualFold(o.legacy, name)) {
			return "write " + o.name + "="
		}
		names = append(names, o.name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return "remove it, or write one of " + strings.Join(names, ", ")
}
