package route

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func networks(list ...string) (all []netip.Prefix) {
	for _, s := range list {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

// TestTrust: requests go to addresses of machines and of allowed networks, never to fleet's own ports.
func TestTrust(t *testing.T) {
	now := time.Date(2026, 11, 28, 5, 0, 0, 0, time.UTC)
	const key = "/services/web/shop/shop@1"
	untrusted := func(address string) string {
		return "UntrustedAddress: no machine of the cluster has the address " + address + ": the router's --allow-endpoints allows further ones"
	}
	base := func() Trust {
		return Trust{
			Machines: map[netip.Addr]time.Time{addr("10.0.0.1"): {}, addr("10.0.0.2"): {}, addr("fd00::2"): {}, addr("10.0.0.3"): now.Add(-time.Hour), addr("10.0.0.4"): now.Add(-departedFor)},
			Reserved: v1.ReservedPorts, Own: addr("10.0.0.1"), Listen: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:80"), netip.MustParseAddrPort("10.0.0.1:8443")}, Now: now,
		}
	}
	allow := func(list ...string) func(*Trust) { return func(t *Trust) { t.Allowed = networks(list...) } }
	local := func(t *Trust) {
		t.Own, t.Machines = addr("127.0.0.11"), map[netip.Addr]time.Time{addr("127.0.0.11"): {}, addr("127.0.0.12"): {}}
		t.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.11:8080")}
	}
	served := func(value string) func(*Trust) { return func(t *Trust) { t.Served = map[string]string{key: value} } }
	for _, c := range []struct {
		name, value string
		change      func(*Trust)
		want        string
	}{
		{"a machine", "10.0.0.2:3000", nil, ""},
		{"this machine", " 10.0.0.1:3000\n", nil, ""},
		{"IPv6", "[fd00::2]:3000", nil, ""},
		{"an IPv4 address as IPv6", "[::ffff:10.0.0.2]:3000", nil, ""},
		{"no machine", "10.0.0.9:3000", nil, untrusted("10.0.0.9")},
		{"a machine that left a while ago", "10.0.0.3:3000", nil, ""},
		{"a machine that left long ago", "10.0.0.4:3000", nil, untrusted("10.0.0.4")},
		{"it left long ago, the endpoint lives on", "10.0.0.4:3000", served("10.0.0.4:3000"), ""},
		{"another one takes its key", "10.0.0.4:3001", served("10.0.0.4:3000"), untrusted("10.0.0.4")},
		{"what is no endpoint", "nonsense", nil, `InvalidAddress: want ip:port such as 10.0.0.1:3000 or [fd00::1]:3000, not "nonsense"`},
		{"loopback", "127.0.0.1:3000", nil, "UntrustedAddress: 127.0.0.1 means another host on every machine"},
		{"loopback where everything is allowed", "127.0.0.1:3000", allow("0.0.0.0/0"), "UntrustedAddress: 127.0.0.1 means another host on every machine"},
		{"loopback that is allowed", "127.0.0.1:3000", allow("127.0.0.1/32"), ""},
		{"loopback of a machine that is alone in another cluster's words", "127.0.0.1:3000", func(t *Trust) { t.Machines[addr("127.0.0.1")] = time.Time{} },
			"UntrustedAddress: 127.0.0.1 means another host on every machine"},
		{"the local cluster", "127.0.0.12:3000", local, ""},
		{"the local cluster, no machine", "127.0.0.14:3000", local, "UntrustedAddress: 127.0.0.14 means another host on every machine"},
		{"allowed", "192.168.7.7:3000", allow("10.9.0.0/16", "192.168.7.0/24"), ""},
		{"not quite allowed", "192.168.8.7:3000", allow("192.168.7.0/24"), untrusted("192.168.8.7")},
		{"fleetd's port", "10.0.0.2:49153", nil, "ReservedPort: port 49153 is that of fleetd's API: no requests are sent there"},
		{"etcd's port where it is allowed", "192.168.7.7:2379", allow("192.168.7.0/24"), "ReservedPort: port 2379 is that of etcd: no requests are sent there"},
		{"fleetd's port, served by an older router", "10.0.0.2:49153", served("10.0.0.2:49153"), "ReservedPort: port 49153 is that of fleetd's API: no requests are sent there"},
		{"this router", "10.0.0.1:80", nil, "ReservedPort: port 80 is that of the routers: requests would go round in circles"},
		{"another router", "10.0.0.2:80", nil, "ReservedPort: port 80 is that of the routers: requests would go round in circles"},
		{"a machine without a router", "10.0.0.2:80", allow("10.0.0.2/32"), ""},
		{"this router where it is allowed", "10.0.0.1:80", allow("10.0.0.0/24"), "ReservedPort: port 80 is that of the routers: requests would go round in circles"},
	} {
		t.Run(c.name, func(t *testing.T) {
			trust := base()
			if c.change != nil {
				c.change(&trust)
			}
			plan := Plan(Input{Prefixes: []string{web}, Trust: trust, Endpoints: map[string]string{key: c.value}, Routes: map[string]v1.AppRoute{"shop": app("shop.example.com")}})
			require.Len(t, plan.Table.Routes, 1, "the app's hosts are answered with 503")
			if c.want == "" {
				require.Len(t, plan.Table.Routes[0].Upstreams, 1)
				require.Equal(t, c.value, plan.Endpoints[key])
				require.Empty(t, plan.Table.Refused)
				require.False(t, plan.Untrusted)
				return
			}
			require.Empty(t, plan.Table.Routes[0].Upstreams)
			require.Len(t, plan.Table.Refused, 1)
			refused := plan.Table.Refused[0]
			require.Equal(t, []string{"shop", key, c.want}, []string{refused.App, refused.Key, refused.String()})
			known := refused.Reason == reasonInvalidAddress
			require.Equal(t, !known, plan.Untrusted)
			require.Equal(t, known, plan.Endpoints[key] == c.value)
		})
	}
}
