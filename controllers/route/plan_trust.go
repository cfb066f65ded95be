package route

import (
	"fmt"
	"net/netip"
	"time"
)

// departedFor is how long an address is trusted after the last machine with it was present. A machine whose fleetd is
// stopped, or whose lease ended while etcd was in trouble, still runs what it runs and announces what becomes healthy.
const departedFor = 24 * time.Hour

// Trust says where requests may be sent to. Anybody who can write an endpoint, which is every app that is announced, could
// otherwise publish what only machines of the cluster can reach: fleetd's API, a cloud's metadata service.
type Trust struct {
	// Machines are the addresses of machines. The time is zero where one is present, else when the last one was.
	Machines map[netip.Addr]time.Time
	// Allowed are further networks.
	Allowed []netip.Prefix
	// Reserved are ports that nothing is sent to, and what they are.
	Reserved map[int]string
	// Own is the address of the router's machine, Listen what the router listens on; the unspecified address for all of them.
	Own    netip.Addr
	Listen []netip.AddrPort
	// Served are the endpoints that were trusted before. One that lives on is trusted on, whatever became of the machine's
	// presence: the data plane outlives the control plane.
	Served map[string]string
	Now    time.Time
}

// refuse says why an endpoint, by its key and value, is left out; no reason where it is not.
func (t Trust) refuse(key, value string, endpoint netip.AddrPort) (reason, message string) {
	address, port := endpoint.Addr(), int(endpoint.Port())
	allowed := t.allows(address)
	if owner := t.Reserved[port]; owner != "" {
		return reasonReserved, fmt.Sprintf("port %d is that of %s: no requests are sent there", port, owner)
	}
	if t.isRouter(endpoint, allowed) {
		return reasonReserved, fmt.Sprintf("port %d is that of the routers: requests would go round in circles", port)
	}
	switch served, ok := t.Served[key]; {
	case allowed, ok && served == value, t.isMachine(address):
		return "", ""
	case address.IsLoopback():
		return reasonUntrusted, fmt.Sprintf("%s means another host on every machine", address)
	}
	return reasonUntrusted, fmt.Sprintf("no machine of the cluster has the address %s: the router's --allow-endpoints allows further ones", address)
}

// allows reports whether an address is in one of the further networks. Loopback has to be named: it is not meant by 0.0.0.0/0.
func (t Trust) allows(address netip.Addr) bool {
	for _, network := range t.Allowed {
		if network.Contains(address) && (!address.IsLoopback() || network.Addr().IsLoopback()) {
			return true
		}
	}
	return false
}

// isMachine: a machine has the address, or had it a while ago. Machines whose own address is loopback are all on one
// computer.
func (t Trust) isMachine(address netip.Addr) bool {
	departed, known := t.Machines[address]
	return known && (departed.IsZero() || t.Now.Sub(departed) < departedFor) && (!address.IsLoopback() || t.Own.IsLoopback())
}

// isRouter: the endpoint is this router, or by its port one on another machine. Where machines without a router have
// instances at that port, their networks are allowed.
func (t Trust) isRouter(endpoint netip.AddrPort, allowed bool) bool {
	for _, l := range t.Listen {
		own := endpoint.Addr() == l.Addr() || l.Addr().IsUnspecified() && (endpoint.Addr() == t.Own || endpoint.Addr().IsLoopback())
		if endpoint.Port() == l.Port() && (own || !allowed) {
			return true
		}
	}
	return false
}
