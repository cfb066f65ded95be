package route

import (
	"fmt"
	"net/netip"
	"time"
)

// departedFor is how long an address is trusted after the last machine with it was present. A machine whose fleetd is
// stopped, or whose lease ended while etcd was in trouble, keeps running its units and announces those that become healthy.
const departedFor = 24 * time.Hour

// Trust decides where requests may be sent. Every announced app can write endpoints, and could otherwise make routers reach
// what only machines of the cluster can: fleetd's API, a cloud's metadata service.
type Trust struct {
	// Machines are the machines' addresses. The time is zero for a present machine, else when the last one with the address
	// left.
	Machines map[netip.Addr]time.Time
	// Allowed are further networks.
	Allowed []netip.Prefix
	// Reserved are ports to which nothing is sent, with their owners.
	Reserved map[int]string
	// Own is the address of the router's machine, Listen where the router listens; the unspecified address means all.
	Own    netip.Addr
	Listen []netip.AddrPort
	// Served are the endpoints that were trusted before. One that still exists stays trusted, whatever happened to its
	// machine's presence: the data plane outlives the control plane.
	Served map[string]string
	Now    time.Time
}

// refuse returns why an endpoint is left out, given its key and value; no reason if it is not.
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

// allows reports whether an address is in one of the allowed networks. Loopback has to be listed explicitly: 0.0.0.0/0 does
// not include it.
func (t Trust) allows(address netip.Addr) bool {
	for _, network := range t.Allowed {
		if network.Contains(address) && (!address.IsLoopback() || network.Addr().IsLoopback()) {
			return true
		}
	}
	return false
}

// isMachine reports whether a machine has the address, or had it recently. If this machine's own address is loopback, all
// machines are on one computer.
func (t Trust) isMachine(address netip.Addr) bool {
	departed, known := t.Machines[address]
	return known && (departed.IsZero() || t.Now.Sub(departed) < departedFor) && (!address.IsLoopback() || t.Own.IsLoopback())
}

// isRouter reports whether the endpoint is this router, or, judging by its port, one on another machine. If machines without
// a router have instances at that port, their networks have to be allowed.
func (t Trust) isRouter(endpoint netip.AddrPort, allowed bool) bool {
	for _, l := range t.Listen {
		own := endpoint.Addr() == l.Addr() || l.Addr().IsUnspecified() && (endpoint.Addr() == t.Own || endpoint.Addr().IsLoopback())
		if endpoint.Port() == l.Port() && (own || !allowed) {
			return true
		}
	}
	return false
}
