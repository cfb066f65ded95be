package check

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/fleet-starter/fleet/internal/keyspace"
)

// endpoint is a time in which an instance was announced.
type endpoint struct {
	key, value string
	Window
}

// announced are the endpoints of etcd's history.
func (c *checker) announced() (endpoints []endpoint) {
	open := map[string]endpoint{}
	for _, w := range c.Writes {
		if _, ok := endpointKeys.Name(w.Key); !ok {
			continue
		}
		if e, ok := open[w.Key]; ok && (w.Deleted || w.Value != e.value) {
			e.To = w.At
			endpoints = append(endpoints, e)
			delete(open, w.Key)
		}
		if _, ok := open[w.Key]; !ok && !w.Deleted {
			open[w.Key] = endpoint{w.Key, w.Value, Window{w.At, c.Until}}
		}
	}
	for _, e := range open {
		endpoints = append(endpoints, e)
	}
	return endpoints
}

// endpoints are those that were there while their instance did not run.
func (c *checker) endpoints() (problems []Problem) {
	for _, e := range c.announced() {
		u, ok := c.instance(e)
		if !ok {
			continue // a script's
		}
		excused := c.unwell(u.Machine)
		for _, r := range c.runs {
			if r.Unit == u {
				excused = append(excused, r.Window)
			}
		}
		if dead := without(e.Window, excused); dead.length() > c.Limits.Health {
			problems = append(problems, Problem{dead.From, fmt.Sprintf("%s = %s was announced for %.1f s while %s did not run on %s",
				e.key, e.value, dead.length().Seconds(), u.Name, u.Machine)})
		}
	}
	return problems
}

// instance is the unit that an endpoint is of.
func (c *checker) instance(e endpoint) (Unit, bool) {
	name, _ := endpointKeys.Name(e.key)
	_, instance, _ := keyspace.Split(name)
	address, err := netip.ParseAddrPort(e.value)
	if err != nil {
		return Unit{}, false
	}
	for _, m := range c.Machines {
		u := Unit{m.Name, instance + ".service"}
		if m.Address == address.Addr().String() {
			return u, c.placed[u] != nil
		}
	}
	return Unit{}, false
}

// unwell are the times in which an endpoint of a machine may have no better end than that of its lease.
func (c *checker) unwell(machine string) (windows []Window) {
	for _, w := range append(slices.Clone(c.Cuts), noQuorum(c.runs, c.Until)...) {
		windows = append(windows, Window{w.From, w.To.Add(c.Limits.Lease)})
	}
	for _, e := range c.Entries {
		if e.Kind == PowerCut && e.Machine == machine {
			windows = append(windows, Window{e.At, e.At.Add(c.Limits.Lease)})
		}
	}
	return windows
}

// containers are those that no unit accounts for.
func (c *checker) containers() (problems []Problem) {
	for _, box := range c.Containers {
		if !slices.Contains(c.Running, Unit{box.Machine, box.Unit}) {
			problems = append(problems, Problem{c.Until, fmt.Sprintf("no unit accounts for the container %s on %s (fleet.unit=%s)", box.Name, box.Machine, box.Unit)})
		}
	}
	return problems
}
