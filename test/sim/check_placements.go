package sim

import (
	"cmp"
	"path"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// placements checks everything that is placed on one machine.
func (c *checker) placements(machine string) {
	var cpu, memory int64
	var all []unitfile.Fleet // with the ports that they are assigned
	for _, unit := range sortedKeys(c.placed[machine]) {
		fleet, ok := c.fleet(unit, c.placed[machine][unit].Hash)
		if !ok {
			continue
		}
		if !fleet.Global && c.judge(invPlacedTwice, c.editedExcuse(unit)) {
			for _, other := range sortedKeys(c.placed) {
				if _, there := c.placed[other][unit]; there && other != machine {
					c.w.fail(invPlacedTwice, "%s is placed on %s and on %s", unit, machine, other)
				}
			}
		}
		for _, port := range c.placed[machine][unit].Assigned.All {
			fleet.Ports = append(slices.Clip(fleet.Ports), port)
		}
		for _, other := range all {
			if !c.judge(invConflicts, cmp.Or(c.editedExcuse(unit), c.editedExcuse(other.Unit))) {
				continue
			}
			if why := clash(fleet, other); why != "" {
				c.w.fail(invConflicts, "on %s %s and %s share %s", machine, unit, other.Unit, why)
			}
		}
		all = append(all, fleet)
		cpu, memory = cpu+fleet.CPU, memory+fleet.Memory
	}
	kv, present := c.kv[c.keys.Machines().Key(machine)]
	if !present {
		return
	}
	if m, err := c.keys.Machines().Decode(kv.Value); err == nil {
		if m.Spec.Capacity.CPU > 0 && cpu > m.Spec.Capacity.CPU || m.Spec.Capacity.Memory > 0 && memory > m.Spec.Capacity.Memory {
			c.w.fail(invConflicts, "on %s units request cpu %dm of %dm, memory %d of %d", machine, cpu, m.Spec.Capacity.CPU, memory, m.Spec.Capacity.Memory)
		}
	}
}

// clash returns what keeps two units apart.
func clash(a, b unitfile.Fleet) string {
	for _, pair := range [][2]unitfile.Fleet{{a, b}, {b, a}} {
		for _, glob := range pair[0].Conflicts {
			if ok, err := path.Match(glob, pair[1].Unit); err == nil && ok {
				return "a machine although Conflicts=" + glob
			}
		}
	}
	if _, ok := a.ReplacesUnit(b.Unit); ok {
		return "a machine although one replaces the other"
	}
	if _, ok := b.ReplacesUnit(a.Unit); ok {
		return "a machine although one replaces the other"
	}
	for _, port := range a.Ports {
		if slices.Contains(b.Ports, port) {
			return "a port"
		}
	}
	return ""
}

// edited reports whether a person edited the unit's placements a moment ago.
func (c *checker) edited(unit string) bool {
	at, ok := c.byHand[unit]
	return ok && time.Since(at) < 10*time.Second
}

// editedExcuse is the excuse for an edited unit.
func (c *checker) editedExcuse(unit string) string {
	if c.edited(unit) {
		return "its placement was edited by hand"
	}
	return ""
}

// settled is how long the leader may take to notice a change.
const settled = 3 * time.Second

// deafened reports whether the host did not receive others' writes a moment ago.
func (c *checker) deafened(h *host) bool {
	return h.reach() != connected || time.Since(c.trouble[h]) < settled
}

func (c *checker) drained(machine string) bool {
	config, err := c.keys.MachineConfigs().Decode(c.kv[c.keys.MachineConfigs().Key(machine)].Value)
	return err == nil && config.Drain
}

// wanted reports whether the machine has the metadata that the unit asks for.
func (c *checker) wanted(fleet unitfile.Fleet, machine v1.Machine) bool {
	config, _ := c.keys.MachineConfigs().Decode(c.kv[c.keys.MachineConfigs().Key(machine.Metadata.Name)].Value)
	for key, values := range fleet.MachineMetadata {
		value := machine.Spec.Metadata[key]
		if own, ok := config.Metadata[key]; ok {
			value = own
		}
		if value == "" || !slices.Contains(values, value) {
			return false
		}
	}
	return true
}

// mismatches reports whether a present machine does not have the metadata that the file with which a unit is placed there asks for.
func (c *checker) mismatches(unit, id string) bool {
	fleet, known := c.fleet(unit, c.placed[id][unit].Hash)
	machine, err := c.keys.Machines().Decode(c.kv[c.keys.Machines().Key(id)].Value)
	return known && err == nil && !fleet.Global && !c.wanted(fleet, machine)
}

// fits reports whether a machine would take a unit now: the rules of [X-Fleet] again, in the simplest form.
func (c *checker) fits(fleet unitfile.Fleet, machine v1.Machine) bool {
	id := machine.Metadata.Name
	config, _ := c.keys.MachineConfigs().Decode(c.kv[c.keys.MachineConfigs().Key(id)].Value)
	if config.Cordoned || config.Drain || fleet.MachineID != "" && fleet.MachineID != id {
		return false
	}
	if !c.wanted(fleet, machine) {
		return false
	}
	if c.freePorts(id, fleet.Unit) < len(fleet.AutoPorts) {
		return false
	}
	cpu, memory := fleet.CPU, fleet.Memory
	for unit, placement := range c.placed[id] {
		other, ok := c.fleet(unit, placement.Hash)
		if !ok || unit == fleet.Unit {
			continue
		}
		if clash(fleet, other) != "" {
			return false
		}
		if wish, _ := c.unit(unit); c.unplaced(unit) { // it waits for its new file to fit, and room is kept for that
			if grown, ok := c.fleet(unit, wish.Spec.Hash); ok {
				other.CPU, other.Memory = max(other.CPU, grown.CPU), max(other.Memory, grown.Memory)
			}
		}
		cpu, memory = cpu+other.CPU, memory+other.Memory
	}
	capacity := machine.Spec.Capacity
	return (capacity.CPU == 0 || cpu <= capacity.CPU) && (capacity.Memory == 0 || memory <= capacity.Memory)
}

// freePorts counts the ports of a machine's range that no other unit has there.
func (c *checker) freePorts(id string, besides ...string) (free int) {
	used := map[int]bool{}
	for unit, placement := range c.placed[id] {
		if slices.Contains(besides, unit) {
			continue
		}
		for _, port := range placement.Assigned.All {
			used[port] = true
		}
	}
	for _, other := range c.othersOn(id, nil) {
		for _, port := range other.Ports {
			used[port] = used[port] || !slices.Contains(besides, other.Unit)
		}
	}
	for port := autoPorts.First; port <= autoPorts.Last; port++ {
		if !used[port] {
			free++
		}
	}
	return free
}
