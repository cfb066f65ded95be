package v1

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// endpointPort is a port as people write it: netip takes 080 and +80, too.
var endpointPort = regexp.MustCompile(`:[1-9][0-9]{0,4}$`)

// ReservedPorts are ports that routers never send requests to, on any machine: who reaches them has the cluster.
var ReservedPorts = map[int]string{
	DefaultAPIPort: "fleetd's API",
	2379:           "etcd",
	2380:           "etcd",
}

// DefaultAPIPort is where fleetd listens by custom, for other machines and for people.
const DefaultAPIPort = 49153

// endpointName is a DNS name in place of the address, for a message that says so.
var endpointName = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*:[0-9]+$`)

// ParseEndpoint reads the value of an endpoint: ip:port, an IPv6 address in brackets, white space around it aside, which
// "echo ip:port | etcdctl put" leaves. A name is refused: nginx would resolve it whenever it tests a configuration, and
// with a slow name server no machine's routing could be changed. So are addresses that mean another host on every
// machine, or none.
func ParseEndpoint(value string) (netip.AddrPort, error) {
	text := strings.TrimSpace(value)
	endpoint, err := netip.ParseAddrPort(text)
	switch {
	case err != nil && endpointName.MatchString(text):
		return netip.AddrPort{}, fmt.Errorf("want the instance's IP address and port such as 10.0.0.1:3000, not the name %s", quoteShort(text))
	case err != nil || !endpointPort.MatchString(text):
		return netip.AddrPort{}, fmt.Errorf("want ip:port such as 10.0.0.1:3000 or [fd00::1]:3000, not %s", quoteShort(text))
	}
	endpoint = netip.AddrPortFrom(endpoint.Addr().Unmap(), endpoint.Port())
	switch a := endpoint.Addr(); {
	case a.Zone() != "" || a.IsLinkLocalUnicast():
		return netip.AddrPort{}, errors.New(a.String() + " is a link-local address: it means another host on every machine")
	case a.IsUnspecified():
		return netip.AddrPort{}, errors.New(a.String() + " is the unspecified address, of no host")
	case a.IsMulticast():
		return netip.AddrPort{}, errors.New(a.String() + " is a multicast address, of no single host")
	}
	return endpoint, nil
}

// ParseNetwork reads a network in CIDR notation, or the one address that is one.
func ParseNetwork(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	network, err := netip.ParsePrefix(s)
	if err != nil || network.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("want a network such as 10.0.0.0/8 or fd00::/8, or an address, not %s", quoteShort(s))
	}
	return network.Masked(), nil
}
