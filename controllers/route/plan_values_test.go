package route

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

func TestAddresses(t *testing.T) {
	tests := []struct{ value, want string }{
		{"10.0.0.1:3000", "10.0.0.1:3000"},
		{"127.0.0.11:1", "127.0.0.11:1"},
		{"[FD00::1]:65535", "[fd00::1]:65535"},
		{" 10.0.0.1:80", "10.0.0.1:80"}, {"10.0.0.1:80\n", "10.0.0.1:80"}, {"\t10.0.0.1:80 \r\n", "10.0.0.1:80"}, {"[::ffff:10.0.0.1]:80", "10.0.0.1:80"},
		{"Web1.example.com:80", ""}, {"localhost:80", ""}, {"10.0.0.1\n:80", ""}, {"10.0.0.1: 80", ""},
		{"169.254.169.254:80", ""}, {"[::ffff:169.254.169.254]:80", ""}, {"[fe80::1]:80", ""}, {"[ff02::1]:80", ""}, {"[::ffff:0.0.0.0]:80", ""},
		{"", ""}, {":", ""}, {":80", ""}, {"10.0.0.1", ""}, {"10.0.0.1:", ""}, {"10.0.0.1:0", ""}, {"10.0.0.1:65536", ""},
		{"10.0.0.1:http", ""}, {"10.0.0.1:+80", ""}, {"10.0.0.1:080", ""},
		{"010.0.0.1:80", ""}, {"10.1:80", ""}, {"1:80", ""}, {"0.0.0.0:80", ""}, {"[::]:80", ""}, {"[fe80::1%eth0]:80", ""}, {"224.0.0.1:80", ""},
		{"fd00::1:80", ""}, {"[10.0.0.1:80", ""}, {"unix:/run/x.sock", ""}, {"http://10.0.0.1:80", ""}, {"10.0.0.1:80/x", ""},
		{"10.0.0.1:80; } server {", ""}, {"10.0.0.1:80;", ""}, {"10.0.0.1:80 weight=5", ""}, {"10.0.0.1:80 backup", ""}, {"$host:80", ""},
		{"a_b:80", ""}, {"-a:80", ""}, {"a-:80", ""}, {"a..b:80", ""}, {strings.Repeat("a", 64) + ":80", ""}, {"é:80", ""}, {"a\x00:80", ""},
		{strings.Repeat("a.", 127) + "a:80", ""},
	}
	for _, tc := range tests {
		t.Run(tc.value, func(t *testing.T) {
			const key = "/services/web/a/a@1"
			plan := Plan(Input{Trust: anywhere, Prefixes: []string{web}, Endpoints: map[string]string{key: tc.value}, Routes: map[string]v1.AppRoute{"a": app("a.example")}})
			require.Len(t, plan.Table.Routes, 1, "the app stays, without this endpoint")
			if tc.want != "" {
				require.Equal(t, []routing.Upstream{{Key: key, Instance: "a@1", Address: tc.want}}, plan.Table.Routes[0].Upstreams)
				require.Empty(t, plan.Table.Refused)
				return
			}
			require.Empty(t, plan.Table.Routes[0].Upstreams)
			require.Equal(t, []string{key + " InvalidAddress"}, refusalsOf(plan))
			require.NotContains(t, plan.Table.Refused[0].Message, "\n")
		})
	}
}

// TestInstances: an instance that is not a valid unit name is left out.
func TestInstances(t *testing.T) {
	in := Input{Trust: anywhere, Prefixes: []string{web}, Routes: map[string]v1.AppRoute{"a": app("a.example")}, Endpoints: map[string]string{
		"/services/web/a/a@2": "10.0.0.2:1", "/services/web/a/a@1": "10.0.0.1:1", "/services/web/a/a;": "10.0.0.3:1",
		"/services/web/a/" + strings.Repeat("b", 255): "10.0.0.4:1", "/services/web/a/" + strings.Repeat("c", 256): "10.0.0.5:1",
	}}
	plan := Plan(in)
	require.Equal(t, []string{"/services/web/a/a; InvalidInstance", "/services/web/a/" + strings.Repeat("c", 256) + " InvalidInstance"}, refusalsOf(plan))
	require.Equal(t, "want the name of an instance such as example-app@1, not \"a;\"", plan.Table.Refused[0].Message)
	var addresses []string
	for _, u := range plan.Table.Routes[0].Upstreams {
		addresses = append(addresses, u.Address)
	}
	require.Equal(t, []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.4:1"}, addresses)
}

// TestKeysOfATemplate: a value that could change the structure of the configuration is left out.
func TestKeysOfATemplate(t *testing.T) {
	plan := Plan(Input{Prefixes: []string{"/nginx"}, Template: true, Endpoints: map[string]string{
		"/nginx/title": "fine here", "/nginx/bad": "x; } server {", "/nginx/quo\"te": "x",
	}})
	require.Equal(t, map[string]string{"/nginx/title": "fine here"}, plan.Table.Keys)
	require.Equal(t, []string{"/nginx/bad InvalidValue", "/nginx/quo\"te InvalidValue"}, refusalsOf(plan))
	require.Contains(t, plan.Table.Refused[0].Message, `may be in them: "x; } server {"`)
}

// TestLimits: limits of an app that are out of range are replaced by the router's.
func TestLimits(t *testing.T) {
	for _, tc := range []struct {
		options v1.Route
		timeout time.Duration
		body    int64
	}{
		{v1.Route{Timeout: v1.Duration(v1.MaxRouteTimeout), BodySize: "0"}, v1.MaxRouteTimeout, v1.Unlimited},
		{v1.Route{Timeout: v1.Duration(v1.MaxRouteTimeout + 1), BodySize: "much"}, 0, 0},
		{v1.Route{Timeout: -1, BodySize: "1K"}, 0, 1 << 10},
	} {
		plan := Plan(Input{Prefixes: []string{web}, Domain: "example", Routes: map[string]v1.AppRoute{"a": {Prefix: web, Options: &tc.options}}})
		require.Equal(t, []routing.Route{{App: "a", Prefix: web, Hosts: []string{"a.example"}, Timeout: tc.timeout, BodySize: tc.body}}, plan.Table.Routes)
	}
}
