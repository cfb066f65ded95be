package route

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestRefusals: what is left out is said by its key, or by its app where nginx refuses that as a whole; of directories without an app
// three are named.
func TestRefusals(t *testing.T) {
	plan := Decision{Stray: []string{"/services/web/x"}, Untrusted: map[string]string{"/services/web/a/a@1": "UntrustedAddress: y"},
		Unaccepted: []string{"/services/web/j1", "/services/web/j2", "/services/web/j3", "/services/web/j4"}}
	got := refusals(plan, []nginx.Refused{{App: "shop", Reason: "HostTaken", Message: "z"}, {App: "shop", Key: "/services/web/shop/shop@1", Reason: "InvalidAddress", Message: "w"}})
	for _, directory := range []string{"/services/web/j1", "/services/web/j2", "/services/web/j3"} {
		require.True(t, strings.HasPrefix(got[directory], "NoApp: "), directory)
		delete(got, directory)
	}
	require.Equal(t, map[string]string{
		"/services/web/x": "InvalidKey: the key is not <prefix>/<app>/<instance>", "/services/web/a/a@1": "UntrustedAddress: y",
		"shop": "HostTaken: z", "/services/web/shop/shop@1": "InvalidAddress: w",
	}, got)
	require.Empty(t, refusals(Decision{}, nil))
}

// TestSomeOfMany: of more refusals than a record can hold the first are said, and how many more there are.
func TestSomeOfMany(t *testing.T) {
	many := func(n int) map[string]string {
		all := map[string]string{}
		for i := range n {
			all[fmt.Sprintf("/k%04d", i)] = "x"
		}
		return all
	}
	require.Equal(t, many(100), some(many(100)))
	want := many(100)
	want["..."] = "and 1 more"
	require.Equal(t, want, some(many(101)))
	want["..."] = "and 900 more"
	require.Equal(t, want, some(many(1000)))
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
	for _, tt := range []struct {
		refused map[string]string
		want    []string
	}{
		{map[string]string{"shop": "HostTaken: x"}, []string{"App shop Warning NotRouted shop: HostTaken: x"}},
		{map[string]string{"shop": "HostTaken: x"}, nil},
		{map[string]string{"shop": "HostTaken: y"}, []string{"App shop Warning NotRouted shop: HostTaken: y"}},
		{nil, nil},
		{map[string]string{"shop": "HostTaken: y"}, []string{"App shop Warning NotRouted shop: HostTaken: y"}},
		{map[string]string{"/services/internal/api/api@1": "z"}, []string{"App api Warning NotRouted /services/internal/api/api@1: z"}},
		{map[string]string{"/services/web/junk": "z"}, []string{"App junk Warning NotRouted /services/web/junk: z"}},
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
