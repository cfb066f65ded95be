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
	Unit string // the name it was resolved for

	MachineID       string              // exact machine ID
	MachineOf       []string            // unit names that all have to be on the same machine, in file order
	Conflicts       []string            // globs, in file order
	MachineMetadata map[string][]string // one of the (sorted) values for each of the keys; nil: no restriction
	Global          bool                // on every machine that passes MachineMetadata and Conflicts
	Replaces        []string            // globs of units that make room for this one, in file order

	// Extensions of this project, unknown to the original fleet.
	Ports      []int    // fixed host ports, sorted: a resource of the machine
	AutoPorts  []string // names of the host ports that the scheduler assigns, in file order
	CPU        int64    // millicores, 0: not set
	Memory     int64    // bytes, 0: not set
	SpreadOver string   // the metadata key over whose values the template's instances are spread

	PreferMetadata map[string][]string // preferred: one of the (sorted) values for each of the keys

	// What to pull before the unit is started, which has no influence on where it is placed: see Pulls.
	Image []string
	Pull  string

	// OnPartition is what becomes of the unit while its machine is cut off from etcd: PartitionKeep or, if empty, the same.
	OnPartition string
}

// The values of OnPartition=.
const (
	PartitionKeep = "keep"
	PartitionStop = "stop"
)

// The values of Pull=.
const (
	PullAlways       = "Always"
	PullIfNotPresent = "IfNotPresent"
)

// The runtimes that Image= names, by their clients.
const (
	RuntimeDocker = "docker" // the default
	RuntimePodman = "podman"
)

// Image is an image to pull before a unit is started.
type Image struct {
	// Runtime is RuntimeDocker or RuntimePodman, Name the image's name as that knows it.
	Runtime, Name string
	// Always: it is pulled even if the machine has an image of that name.
	Always bool
}

// Pulls returns the image that is to be on the machine before the unit is started; the zero Image if there is none.
func (fl Fleet) Pulls() Image {
	if len(fl.Image) != 2 {
		return Image{}
	}
	return Image{Runtime: fl.Image[0], Name: fl.Image[1], Always: fl.Pull != PullIfNotPresent}
}

// Problem is a problem in the [X-Fleet] section. Its text says how to fix it.
type Problem struct {
	Line    int    // 1-based
	Option  string // as written
	Msg     string
	Warning bool // tolerated: deprecated or without effect
}

// String returns "line N: [X-Fleet] Option: message".
func (p Problem) String() string {
	return fmt.Sprintf("line %d: [%s] %s: %s", p.Line, SectionFleet, p.Option, p.Msg)
}

// Error is String; a Problem that is not a Warning can be returned as an error.
func (p Problem) Error() string { return p.String() }

// Errors returns the problems that are not warnings.
func Errors(problems []Problem) []Problem {
	var errs []Problem
	for _, p := range problems {
		if !p.Warning {
			errs = append(errs, p)
		}
	}
	return errs
}

// ConflictsWith returns the first glob of Conflicts that names the unit. A unit never conflicts with itself.
func (fl Fleet) ConflictsWith(name string) (glob string, ok bool) {
	if name == fl.Unit {
		return "", false
	}
	return matchAny(fl.Conflicts, name)
}

// ReplacesUnit returns the first glob of Replaces that names the unit. A unit never replaces itself.
func (fl Fleet) ReplacesUnit(name string) (glob string, ok bool) {
	if name == fl.Unit {
		return "", false
	}
	return matchAny(fl.Replaces, name)
}

func matchAny(globs []string, name string) (string, bool) {
	for _, g := range globs {
		if ok, _ := path.Match(g, name); ok { // broken globs are reported elsewhere
			return g, true
		}
	}
	return "", false
}

// ParseFleet reads the [X-Fleet] section for one unit and returns all problems, in line order. If some are errors, the Fleet
// holds what could be parsed and must not be acted on.
func ParseFleet(f *File, n Name) (Fleet, []Problem) { return ParseFleetTemplate(f).Resolve(n) }
