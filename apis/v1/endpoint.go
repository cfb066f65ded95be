package v1

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

// endpointPort matches a plain port. netip also accepts 080 and +80.
var endpointPort = regexp.MustCompile(`:[1-9][0-9]{0,4}$`)

// ReservedPorts are ports that routers never proxy to, on any machine: access to them is access to the whole cluster.
var ReservedPorts = map[int]string{
	DefaultAPIPort: "fleetd's API",
	2379:           "etcd",
	2380:           "etcd",
}

// DefaultAPIPort is the default port of fleetd's API.
const DefaultAPIPort = 49153

// endpointName matches a DNS name with a port, to report it as such.
var endpointName = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*:[0-9]+$`)

// ParseEndpoint parses the value of an endpoint: ip:port, IPv6 in brackets. Surrounding white space is ignored, as "echo
// ip:port
// etcdctl put" leaves a line break. DNS names are refused: nginx would resolve them in every configuration test, so a
// slow name server could block all routing changes. So are addresses that do not identify one host cluster-wide.
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
		return netip.AddrPort{}, errors.New(a.String() + " is a link-local address: it means a different host on each machine")
	case a.IsUnspecified():
		return netip.AddrPort{}, errors.New(a.String() + " is the unspecified address, which identifies no host")
	case a.IsMulticast():
		return netip.AddrPort{}, errors.New(a.String() + " is a multicast address, which identifies no single host")
	}
	return endpoint, nil
}

// ParseNetwork parses a network in CIDR notation or a single address.
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
