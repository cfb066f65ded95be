package route

import (
	"maps"
	"net/netip"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
)

// Every router watches machines/ for machines' addresses: some 300 bytes each, written when a machine boots and not again
// while its lease lives. A single key with all addresses would be sent as a whole to every router whenever a machine comes or
// goes.

// machinesChanged remembers the addresses of departed machines, and triggers a plan for new ones.
func (c *Controller) machinesChanged(events []cache.Event[v1.MachineAddress]) {
	came := false
	c.mu.Lock()
	for _, e := range events {
		if e.Old != nil && e.Old.Value.Address.IsValid() {
			c.departed[e.Old.Value.Address] = time.Now()
		}
		if e.New != nil && e.New.Value.APIPort != 0 {
			c.apiPorts[e.New.Value.APIPort] = true // and stays so while that fleetd is down
		}
		if e.New != nil && (e.Old == nil || e.Old.Value != e.New.Value) {
			came = true
		}
	}
	c.machineChanges++
	came = came && c.untrusted // if all endpoints are trusted, another machine changes nothing
	c.mu.Unlock()
	if came {
		c.changed()
	}
}

// trust returns what decides where requests may be sent.
func (c *Controller) trust() Trust {
	t := Trust{
		Machines: map[netip.Addr]time.Time{}, Reserved: maps.Clone(c.opts.Reserved), Allowed: c.opts.Allowed,
		Own: c.opts.Address, Listen: c.opts.Settings.Addresses(), Now: time.Now(),
	}
	if t.Reserved == nil {
		t.Reserved = map[int]string{}
	}
	maps.Copy(t.Reserved, v1.ReservedPorts)
	c.mu.Lock()
	t.Served = c.trusted
	maps.DeleteFunc(c.departed, func(_ netip.Addr, since time.Time) bool { return t.Now.Sub(since) >= departedFor })
	maps.Copy(t.Machines, c.departed)
	for port := range c.apiPorts {
		t.Reserved[port] = v1.ReservedPorts[v1.DefaultAPIPort]
	}
	c.mu.Unlock()
	for _, o := range c.machines.List() {
		if o.Err == nil && o.Value.Address.IsValid() {
			t.Machines[o.Value.Address] = time.Time{}
		}
	}
	return t
}

// trusts keeps for the next plan which endpoints this one trusted. again: machines arrived in the meantime.
func (c *Controller) trusts(plan Decision, since int) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trusted, c.untrusted = plan.Endpoints, plan.Untrusted
	return c.untrusted && c.machineChanges != since
}

// seen is how often machines have changed.
func (c *Controller) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machineChanges
}
