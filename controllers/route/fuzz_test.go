package route

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
)

// FuzzEndpoints has anything stand below the announce prefix, by key and value: every key is served, refused with a
// reason, or stray, and what is served is unchanged for everybody else.
func FuzzEndpoints(f *testing.F) {
	for _, s := range [][3]string{
		{"web/web@1", "10.0.0.1:3000", "web.example.com"}, {"web/web@2", "; } server {", "; } server {"}, {"a/b/c", "x", "*"}, {"/", "", ""},
		{"bystander/x", "10.0.0.2:80", "bystander.example.com"}, {"a\n/b", "[::1]:80", "A"}, {"../x", "10.0.0.1:0", "x..y"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	const prefix, own = "/services/web", "/services/web/bystander/bystander@1"
	f.Fuzz(func(t *testing.T, name, value, host string) {
		key := prefix + "/" + name
		if key == own {
			return
		}
		machine := netip.MustParseAddr("10.0.0.1")
		in := Input{Trust: Trust{Machines: map[netip.Addr]time.Time{machine: {}}, Reserved: v1.ReservedPorts}, Prefixes: []string{prefix}, Revisions: map[string]int64{prefix: 7}, Endpoints: map[string]string{own: "10.0.0.1:3000", key: value}, All: true, Routes: map[string]v1.AppRoute{
			"bystander": app("bystander.example.com"), "other": app(host),
		}}
		plan := Plan(in)
		require.Equal(t, plan, Plan(in))
		held := len(plan.Stray) + len(plan.Unaccepted) + len(plan.Untrusted)
		for _, r := range plan.Routes {
			held += len(r.Endpoints)
		}
		require.Equal(t, len(in.Endpoints), held, "every key is somewhere")
		c, err := nginx.Plan(nginx.Input{Settings: nginx.Settings{Dir: "/d", Listen: []string{"127.0.0.1:80"}, Domain: "localhost"}, Routes: nginxRoutes(plan.Routes), Revision: 7})
		require.NoError(t, err)
		served := false
		for _, r := range c.Routes {
			for _, u := range r.Upstreams {
				address := netip.MustParseAddrPort(u.Address)
				require.Equal(t, machine, address.Addr())
				require.Empty(t, v1.ReservedPorts[int(address.Port())])
			}
			if r.App == "bystander" {
				served = true
				require.Contains(t, r.Hosts, "bystander.example.com")
				require.NotEmpty(t, r.Upstreams)
			}
		}
		require.True(t, served, "%v", c.Refused)
		_, err = nginx.Render(c, nil)
		require.NoError(t, err)
	})
}
