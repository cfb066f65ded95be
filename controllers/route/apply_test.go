package route

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestRefusals: a refusal has the key, or the app if that is left out as a whole; of directories without an app three are
// named, and nginx's own refusals win.
func TestRefusals(t *testing.T) {
	in := Input{Prefixes: []string{web}, Domain: "example", Trust: Trust{Machines: map[netip.Addr]time.Time{netip.MustParseAddr("10.0.0.1"): {}}},
		Endpoints: map[string]string{"/services/web/x": "", "/services/web/a/a@1": "10.0.0.2:80", "/services/web/shop/shop@1": "10.0.0.1:80"},
		Routes:    map[string]v1.AppRoute{"a": app("a.example"), "shop": app("A.example")}}
	for i := range 4 {
		in.Endpoints[fmt.Sprintf("/services/web/j%d/x", i)] = "10.0.0.1:80"
	}
	plan := Plan(in)
	noApp := func(name string) v1.RouteRefusal {
		return v1.RouteRefusal{App: name, Key: "/services/web/" + name, Reason: "NoApp",
			Message: "no App of that name is announced there, and no unit has the name of the instance: it is served with the router's --all-endpoints only"}
	}
	want := []v1.RouteRefusal{
		{App: "a", Key: "/services/web/a/a@1", Reason: "UntrustedAddress", Message: "no machine of the cluster has the address 10.0.0.2: the router's --allow-endpoints allows further ones"},
		noApp("j0"), noApp("j1"), noApp("j2"),
		{App: "x", Key: "/services/web/x", Reason: "InvalidKey", Message: "the key is not <prefix>/<app>/<instance>"},
		{App: "shop", Reason: "HostTaken", Message: "host a.example belongs to app a"},
	}
	require.Equal(t, want, plan.Table.Refused)
	require.Zero(t, plan.MoreRefused)

	byNginx := v1.RouteRefusal{App: "shop", Reason: "NotAccepted", Message: "z"}
	first, more := firstRefusals(append(plan.Table.Refused, byNginx))
	require.Equal(t, append(want[:5:5], byNginx), first)
	require.Zero(t, more)
	first, more = firstRefusals(nil)
	require.Empty(t, first)
	require.Zero(t, more)
}

// TestSomeOfMany: if there are more refusals than fit into a record, it has the first ones and the number of the others.
func TestSomeOfMany(t *testing.T) {
	for _, n := range []int{0, 100, 101, 1000} {
		s := memstore.New(memstore.Options{})
		c := beside(t, s, &refusing{refuses: []v1.RouteRefusal{{App: "shop", Key: "/services/web/a/a@1", Reason: "NotAccepted"}}})
		lease, err := s.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		c.opts.Prefixes, c.opts.Events, c.lease = []string{web}, &told{}, lease
		in := Input{Prefixes: []string{web}, Endpoints: map[string]string{}}
		for i := range n {
			in.Endpoints[fmt.Sprintf("/services/web/k%04d", i)] = ""
		}
		require.NoError(t, c.apply(t.Context(), in, Plan(in)))
		require.Len(t, c.published.Refusals, min(n+1, 100))
		require.Equal(t, max(0, n+1-100), c.published.MoreRefusals)
		require.Equal(t, c.published.Refused, v1.RefusalTexts(c.published.Refusals, c.published.MoreRefusals), "the version before reads as much")
		require.Equal(t, "/services/web/a/a@1", c.published.Refusals[0].Key, "nginx's are among them")
		if n > 0 {
			require.Equal(t, "/services/web/k0000", c.published.Refusals[1].Key)
		}
	}
}

// told collects the events.
type told struct{ events []string }

func (e *told) Record(kind, name, eventType, reason, message string) {
	e.events = append(e.events, strings.Join([]string{kind, name, eventType, reason, message}, " "))
}

// TestWarnsOnce: a refusal is recorded when it is new, when its reason changes, and when it returns, under the app that it
// concerns.
func TestWarnsOnce(t *testing.T) {
	events := &told{}
	c := beside(t, memstore.New(memstore.Options{}), &refusing{})
	c.opts.Events, c.opts.Prefixes = events, []string{"/services/internal", web}
	shop := func(message string) []v1.RouteRefusal {
		return []v1.RouteRefusal{{App: "shop", Reason: "HostTaken", Message: message}}
	}
	for _, tt := range []struct {
		refused []v1.RouteRefusal
		want    []string
	}{
		{shop("x"), []string{"App shop Warning NotRouted shop: HostTaken: x"}},
		{shop("x"), nil},
		{shop("y"), []string{"App shop Warning NotRouted shop: HostTaken: y"}},
		{nil, nil},
		{shop("y"), []string{"App shop Warning NotRouted shop: HostTaken: y"}},
		{[]v1.RouteRefusal{{App: "api", Key: "/services/internal/api/api@1", Reason: "Z", Message: "z"}},
			[]string{"App api Warning NotRouted /services/internal/api/api@1: Z: z"}},
	} {
		events.events = nil
		c.warn(tt.refused)
		require.Equal(t, tt.want, events.events)
	}
}
