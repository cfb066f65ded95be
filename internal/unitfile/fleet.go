package unitfile

import (
	"fmt"
	"path"
)

// SectionFleet is the section that fleet reads and systemd ignores.
const SectionFleet = "X-Fleet"

// Fleet is the parsed [X-Fleet] section, with specifiers resolved for one unit. Fleets of one template share slices and
// maps: treat them as read-only.
type Fleet struct {
	Unit string // the name that it was resolved for

	MachineID       string              // exact machine ID
	MachineOf       []string            // unit names that all have to be on the same machine, in file order
	Conflicts       []string            // globs, in file order
	MachineMetadata map[string][]string // one of the (sorted) values for each of the keys; nil for no demand
	Global          bool                // on every machine that passes MachineMetadata and Conflicts
	Replaces        []string            // globs of units that make room for this one, in file order

	// Of this project, written by the app controller; the original fleet does not know them.
	Ports      []int  // fixed host ports, sorted: a resource of the machine
	CPU        int64  // millicores, 0 for no demand
	Memory     int64  // bytes, 0 for no demand
	SpreadOver string // the metadata key over whose values the instances of the template are spread

	PreferMetadata map[string][]string // one of the (sorted) values for each of the keys, where a machine has that
}

// Problem is something wrong in the [X-Fleet] section. Its text says what to do.
type Problem struct {
	Line    int    // 1-based
	Option  string // as written
	Msg     string
	Warning bool // tolerated: deprecated or without effect
}

// String gives "line N: [X-Fleet] Option: message".
func (p Problem) String() string {
	return fmt.Sprintf("line %d: [%s] %s: %s", p.Line, SectionFleet, p.Option, p.Msg)
}

// Error is String; a Problem that is not a Warning can be returned as an error.
func (p Problem) Error() string { return p.String() }

// Errors gives the problems that are not mere warnings.
func Errors(problems []Problem) []Problem {
	var errs []Problem
	for _, p := range problems {
		if !p.Warning {
			errs = append(errs, p)
		}
	}
	return errs
}

// ConflictsWith gives the first glob of Conflicts that names the unit. A unit never conflicts with itself.
func (fl Fleet) ConflictsWith(name string) (glob string, ok bool) {
	if name == fl.Unit {
		return "", false
	}
	return matchAny(fl.Conflicts, name)
}

// ReplacesUnit gives the first glob of Replaces that names the unit. A unit never replaces itself.
func (fl Fleet) ReplacesUnit(name string) (glob string, ok bool) {
	if name == fl.Unit {
		return "", false
	}
	return matchAny(fl.Replaces, name)
}

func matchAny(globs []string, name string) (string, bool) {
	for _, g := range globs {
		if ok, _ := path.Match(g, name); ok { // of a broken one none is told
			return g, true
		}
	}
	return "", false
}

// ParseFleet reads the [X-Fleet] section for one unit and gives all problems at once, in line order. With problems that
// are errors the Fleet holds what could be understood and must not be acted on.
func ParseFleet(f *File, n Name) (Fleet, []Problem) { return ParseFleetTemplate(f).Resolve(n) }
