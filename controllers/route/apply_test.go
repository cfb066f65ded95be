package route

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestRefusals: what is left out is said by its key, or by its app where nginx refuses that as a whole; of directories without an app
// three are named.
func TestRefusals(t *testing.T) {
	c := &Controller{opts: Options{Prefixes: []string{web}}}
	untrusted := v1.RouteRefusal{App: "a", Key: "/services/web/a/a@1", Reason: "UntrustedAddress", Message: "y"}
	plan := Decision{Stray: []string{"/services/web/x"}, Untrusted: map[string]v1.RouteRefusal{untrusted.Key: untrusted},
		Unaccepted: []string{"/services/web/j1", "/services/web/j2", "/services/web/j3", "/services/web/j4"}}
	got := c.refusals(plan, []nginx.Refused{{App: "shop", Reason: "HostTaken", Message: "z"}, {App: "shop", Key: "/services/web/shop/shop@1", Reason: "InvalidAddress", Message: "w"}})
	for n, app := range []string{"j1", "j2", "j3"} {
		require.Equal(t, []string{app, "/services/web/" + app, "NoApp"}, []string{got[n+1].App, got[n+1].Key, got[n+1].Reason})
	}
	require.Equal(t, []v1.RouteRefusal{untrusted,
		{App: "shop", Key: "/services/web/shop/shop@1", Reason: "InvalidAddress", Message: "w"},
		{App: "x", Key: "/services/web/x", Reason: "InvalidKey", Message: "the key is not <prefix>/<app>/<instance>"},
		{App: "shop", Reason: "HostTaken", Message: "z"},
	}, slices.Delete(got, 1, 4))
	require.Empty(t, c.refusals(Decision{}, nil))
}

// TestSomeOfMany: of more refusals than a record can hold the first are said, and how many more there are.
func TestSomeOfMany(t *testing.T) {
	for _, n := range []int{0, 100, 101, 1000} {
		s := memstore.New(memstore.Options{})
		c := beside(t, s, &refusing{})
		lease, err := s.Grant(t.Context(), time.Minute)
		require.NoError(t, err)
		c.opts.Prefixes, c.opts.Events, c.lease = []string{web}, &told{}, lease
		plan := Decision{Served: map[string]v1.Served{web: {}}, Publish: true}
		for i := range n {
			plan.Stray = append(plan.Stray, fmt.Sprintf("/services/web/k%04d", i))
		}
		require.NoError(t, c.apply(t.Context(), Input{Prefixes: []string{web}}, plan))
		require.Len(t, c.published.Refusals, min(n, 100))
		require.Equal(t, max(0, n-100), c.published.MoreRefusals)
		require.Equal(t, c.published.Refused, v1.RefusalTexts(c.published.Refusals, max(0, n-100)), "the version before reads as much")
		if n > 0 {
			require.Equal(t, "/services/web/k0000", c.published.Refusals[0].Key)
		}
	}
}

// told notes the events.
type told struct{ events []string }

func (e *told) Record(kind, name, eventType, reason, message string) {
	e.events = append(e.events, strings.Join([]string{kind, name, eventType, reason, message}, " "))
}

// TestWarnsOnce: what is left out is told when it is so, when the reason is another one, and when it is so again, under the app that it
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

// TestWhatNginxIsGiven of a route: every endpoint by its key and name, and the app's own limits.
func TestWhatNginxIsGiven(t *testing.T) {
	since := map[string]int64{"a.test": 3}
	options := &v1.Route{BodySize: "2M", Timeout: v1.Duration(7e9)}
	got := nginxRoutes([]Route{
		{App: "shop", Prefix: web, Hosts: []string{"a.test"}, Since: since, Options: options, Endpoints: map[string]string{"/services/web/shop/shop@1": "10.0.0.1:80"}},
		{App: "api", Prefix: "/services/internal"},
	})
	require.Equal(t, []nginx.Route{
		{App: "shop", Prefix: web, Hosts: []string{"a.test"}, Since: since, Timeout: 7e9, BodySize: 2 << 20,
			Upstreams: []nginx.Upstream{{Key: "/services/web/shop/shop@1", Instance: "shop@1", Address: "10.0.0.1:80"}}},
		{App: "api", Prefix: "/services/internal"},
	}, got)
}
