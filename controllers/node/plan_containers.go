package node

import (
	"fmt"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// containerGrace is how long a container may be without a unit that runs: a unit that is being started removes what is left of its
// former run itself.
const containerGrace = 5 * time.Second

// The reasons of removing a container.
const (
	ContainerNotPlaced = "ContainerNotPlaced" // the unit that ran the container is not placed on this machine any more
	ContainerLeftOver  = "ContainerLeftOver"  // the unit that ran the container does not run
)

// Container is a container with fleet's labels and this machine's ID.
type Container struct {
	Runtime, ID, Name, Unit string
}

// ContainersInput is everything the decision on containers depends on.
type ContainersInput struct {
	Now        time.Time
	Containers []Container
	// Placements are from the store: the copy on the disk is no reason to remove anything.
	Placements map[string]v1.Placement
	// Units are systemd's states of the containers' units, read after the containers.
	Units map[string]SystemdUnit
	// Since is when a container was first seen without a unit that runs, by ID.
	Since map[string]time.Time
}

// Removal is a container to remove.
type Removal struct {
	Container
	Reason, Message string
}

// PlanContainers decides which containers no unit accounts for: those of a unit that neither runs, nor starts, nor stops, and has
// not for a while. The second result is the next input's Since.
func PlanContainers(in ContainersInput) ([]Removal, map[string]time.Time) {
	var removals []Removal
	since := map[string]time.Time{}
	for _, c := range in.Containers {
		if in.Units[c.Unit].busy() {
			continue
		}
		first, seen := in.Since[c.ID]
		if !seen || first.After(in.Now) { // or the clock was set back
			first = in.Now
		}
		since[c.ID] = first
		if in.Now.Sub(first) < containerGrace {
			continue
		}
		r := Removal{Container: c, Reason: ContainerLeftOver, Message: fmt.Sprintf("removed its container %s from %s: the unit does not run", c.Name, c.Runtime)}
		if pl, placed := in.Placements[c.Unit]; !placed || pl.DesiredState == v1.Inactive {
			r.Reason, r.Message = ContainerNotPlaced, fmt.Sprintf("removed its container %s from %s: the unit is not placed on this machine", c.Name, c.Runtime)
		}
		removals = append(removals, r)
	}
	slices.SortFunc(removals, func(a, b Removal) int { return slices.Compare([]string{a.Unit, a.ID}, []string{b.Unit, b.ID}) })
	return removals, since
}

// busy reports whether systemd runs the unit, or is about to start or stop it; also if that is not known.
func (u SystemdUnit) busy() bool {
	return u.Job != "" || u.ActiveState != "inactive" && u.ActiveState != "failed"
}
