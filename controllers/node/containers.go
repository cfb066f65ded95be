package node

import (
	"context"
	"maps"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/container"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// ContainerRuntime is one container runtime of the machine.
type ContainerRuntime interface {
	// Installed reports whether it is worth asking.
	Installed() bool
	List(ctx context.Context, machine string) ([]container.Container, error)
	Remove(ctx context.Context, id string) error
}

// dockerUnit runs docker's daemon. It is asked only while it is active: its socket would start it.
const dockerUnit = v1.RuntimeDocker + ".service"

// containers removes containers that no unit accounts for: of a machine that lost its power, of a docker that was stopped while
// their unit was. It works in its own goroutine: a runtime that hangs delays no pass.
type containers struct {
	*Node
	asked chan struct{}
	since map[string]time.Time
	// said is what was last logged of each runtime.
	said map[string]string
}

func newContainers(n *Node) *containers {
	return &containers{Node: n, asked: make(chan struct{}, 1), since: map[string]time.Time{}, said: map[string]string{}}
}

// ask has the containers looked at soon: units have changed.
func (c *containers) ask() {
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// run looks every Resync and, after a change, once the grace is over.
func (c *containers) run(ctx context.Context) {
	if len(c.Runtimes) == 0 {
		return
	}
	timer := time.NewTimer(containerGrace)
	defer timer.Stop()
	soon := true
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.asked:
			if !soon {
				soon = true
				timer.Reset(containerGrace)
			}
		case <-timer.C:
			soon = c.look(ctx)
			if soon {
				timer.Reset(containerGrace)
			} else {
				timer.Reset(c.Resync)
			}
		}
	}
}

// look removes what it finds, and reports whether to look again after the grace.
func (c *containers) look(ctx context.Context) bool {
	if !c.Synced() {
		return true
	}
	found, err := c.list(ctx)
	if err != nil {
		return false
	}
	in, err := c.input(ctx, found)
	if err != nil {
		c.Log.V(1).Info("Cannot ask systemd for the units of containers", "error", err.Error())
		return false
	}
	var removals []Removal
	removals, c.since = PlanContainers(in)
	for _, r := range removals {
		c.Log.Info("Removing container", "unit", r.Unit, "container", r.Name, "id", r.ID, "runtime", r.Runtime, "reason", r.Reason)
		if err := c.Runtimes[r.Runtime].Remove(ctx, r.ID); err != nil {
			c.Log.Error(err, "Container cannot be removed", "unit", r.Unit, "container", r.Name, "runtime", r.Runtime)
			continue
		}
		delete(c.since, r.ID)
		c.Events.Record(v1.KindUnit, r.Unit, v1.EventNormal, r.Reason, r.Message)
	}
	return len(c.since) > 0 && len(removals) == 0
}

// list asks each runtime that runs. One that does not answer keeps no other from being asked.
func (c *containers) list(ctx context.Context) (found []container.Container, err error) {
	for _, name := range slices.Sorted(maps.Keys(c.Runtimes)) {
		runtime := c.Runtimes[name]
		if !runtime.Installed() {
			continue
		}
		if name == v1.RuntimeDocker {
			states, err := c.Systemd.States(ctx, []string{dockerUnit})
			if err != nil || len(states) != 1 || states[0].ActiveState != "active" {
				continue
			}
		}
		list, err := runtime.List(ctx, c.Machine)
		said := ""
		if err != nil {
			said = err.Error()
		}
		if said != c.said[name] && said != "" && ctx.Err() == nil {
			c.Log.Info("Cannot look for containers that no unit accounts for", "runtime", name, "error", said)
		}
		c.said[name] = said
		found = append(found, list...)
	}
	return found, ctx.Err()
}

// input reads the placements and the units after the containers: of what was started since then no container is in the list.
func (c *containers) input(ctx context.Context, found []container.Container) (ContainersInput, error) {
	in := ContainersInput{Placements: map[string]v1.Placement{}, Units: map[string]SystemdUnit{}, Since: c.since}
	for _, o := range c.placements.List() {
		in.Placements[o.Name] = o.Value
	}
	var names []string
	for _, f := range found {
		if name, err := unitfile.ParseName(f.Unit); err == nil && !name.Template {
			in.Containers = append(in.Containers, Container{Runtime: f.Runtime, ID: f.ID, Name: f.Name, Unit: f.Unit})
			names = append(names, f.Unit)
		}
	}
	slices.Sort(names)
	states, err := c.Systemd.States(ctx, slices.Compact(names))
	for _, s := range states {
		in.Units[s.Name] = SystemdUnit{ActiveState: s.ActiveState, Job: s.Job}
		if s.Err != nil {
			in.Units[s.Name] = SystemdUnit{Err: s.Err.Error()}
		}
	}
	in.Now = time.Now()
	return in, err
}
