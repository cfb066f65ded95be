package sim

import (
	"fmt"
	"strconv"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
)

// former are the ports that a placement had until then.
type former struct {
	ports v1.Assignment
	until time.Time
}

// startedWith checks the variables that a process was started with: those of its placement, or, if it has other ports since a moment
// ago, of the one before.
func (c *checker) startedWith(h *host, unit string, variables map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.variables[h] == nil {
		c.variables[h] = map[string]map[string]string{}
	}
	c.variables[h][unit] = variables
	placement, placed := c.placed[h.id][unit]
	if _, sidekick, ok := v1.ParseAppUnit(shop, unit); !ok || sidekick || variables == nil || !placed {
		return
	}
	if has(variables, placement.Assigned) {
		c.counts.Check(invPorts)
		return
	}
	if !c.judge(invPorts, c.unreached(h, unit)) {
		return
	}
	before := c.assigned[keyspace.Join(h.id, unit)]
	if before.ports == "" || time.Since(before.until) > slack || !has(variables, before.ports) {
		c.w.fail(invPorts, "%s was started on %s with %v, and its placement has %q", unit, h.name, variables, placement.Assigned)
	}
}

// has reports whether the variables are those of the ports.
func has(variables map[string]string, ports v1.Assignment) bool {
	n := 0
	for name, port := range ports.All {
		if n++; variables[v1.PortVariable(name)] != strconv.Itoa(port) || n == 1 && variables[v1.VariablePort] != strconv.Itoa(port) {
			return false
		}
	}
	return n > 0
}

// portsProblem checks that what runs at rest has the ports of its placement, and is announced with them.
func (c *checker) portsProblem(h *host, unit string) string {
	ports, sidekick := c.variables[h][unit], isAnnouncer(unit)
	if ports == nil || sidekick || !c.runs[unit][h] {
		return ""
	}
	if !has(ports, c.placed[h.id][unit].Assigned) {
		return fmt.Sprintf("%s on %s runs with %v, and its placement has %q", unit, h.name, ports, c.placed[h.id][unit].Assigned)
	}
	kv, announced := c.kv[endpointOf(unit)]
	if announced && kv.Lease != 0 && portOf(string(kv.Value)) != ports[v1.VariablePort] {
		return fmt.Sprintf("%s is announced at %s, and runs with %v", unit, kv.Value, ports)
	}
	return ""
}
