package route

import (
	"maps"
	"net/netip"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
)

// Every router watches machines/ for the addresses of machines: some 300 bytes for each, written when a machine boots and
// not again while its lease lives. A row of all addresses, with one writer, would be sent to every router as a whole
// whenever a machine comes or goes.

// machinesChanged takes note of addresses that machines no longer have, and has those looked at that have come.
func (c *Controller) machinesChanged(events []cache.Event[v1.MachineAddress]) {
	came := false
	c.mu.Lock()
	for _, e := range events {
		if e.Old != nil && e.Old.Value.Address.IsValid() {
			c.departed[e.Old.Value.Address] = time.Now()
		}
		if e.New != nil && e.New.Value.APIPort != 0 {
			c.apiPorts[e.New.Value.APIPort] = true // and stays so when that fleetd is away for a while
		}
		if e.New != nil && (e.Old == nil || e.Old.Value != e.New.Value) {
			came = true
		}
	}
	c.machineChanges++
	came = came && c.untrusted // where all endpoints are trusted, one more machine changes nothing
	c.mu.Unlock()
	if came {
		c.changed()
	}
}

// trust gathers what says where requests may be sent to.
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

// trusts keeps what a plan trusted for the next one. again: machines came while it was made.
func (c *Controller) trusts(plan Decision, since int) (again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trusted, c.untrusted = plan.Endpoints, plan.Untrusted
	return c.untrusted && c.machineChanges != since
}

// seen is how often machines changed.
func (c *Controller) seen() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.machineChanges
}
