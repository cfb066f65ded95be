package route

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

func TestHosts(t *testing.T) {
	tests := []struct {
		host string
		ok   bool
	}{
		{"example.com", true}, {"WWW.Example.com", true}, {"*.example.com", true}, {"localhost", true}, {"10.0.0.1", true}, {"xn--bcher-kva.example", true},
		{"*", false}, {"*.", false}, {"", false}, {"*.*.com", false}, {"a.*.com", false}, {".example.com", false}, {"example.com.", false},
		{"~^evil$", false}, {"a b", false}, {"a;", false}, {"a{", false}, {"a_b.com", false}, {"$host", false}, {"a:80", false}, {"_", false}, {"\"\"", false},
		{"10.0.0.256", false}, {strings.Repeat("a", 64) + ".com", false},
	}
	for _, tc := range tests {
		t.Run(tc.host, func(t *testing.T) {
			plan := Plan(Input{Prefixes: []string{web}, Routes: map[string]v1.AppRoute{"a": {Prefix: web, Hosts: map[string]int64{tc.host: 1, "good.example": 1}}}})
			require.Contains(t, plan.Table.Routes[0].Hosts, "good.example")
			require.True(t, slices.IsSorted(plan.Table.Routes[0].Hosts))
			require.Equal(t, tc.ok, len(plan.Table.Routes[0].Hosts) == 2)
			if tc.ok || tc.host == "" { // the name in the domain, which an app with hosts does not get
				require.Empty(t, plan.Table.Refused)
				return
			}
			require.Equal(t, []string{"a InvalidHost"}, refusalsOf(plan))
		})
	}
}

func TestRefusedApps(t *testing.T) {
	for _, name := range []string{"A", "a.b", "a_b", "-a", "a;", "a b", strings.Repeat("a", 64), "a\n"} {
		key := "/services/web/" + name + "/x"
		plan := Plan(Input{Trust: anywhere, Prefixes: []string{web}, Domain: "example", Endpoints: map[string]string{key: "nonsense"},
			Routes: map[string]v1.AppRoute{name: app(), "good": app()}})
		require.Len(t, plan.Table.Routes, 1)
		require.Len(t, plan.Table.Refused, 1, name)
		require.Equal(t, []string{routing.Quote(name), "", reasonInvalidApp}, []string{plan.Table.Refused[0].App, plan.Table.Refused[0].Key, plan.Table.Refused[0].Reason})
	}
}

// TestHostsOfAnApp: hosts are lower-cased and deduplicated; an app without hosts gets its name in the domain, and is left out
// if there is none.
func TestHostsOfAnApp(t *testing.T) {
	in := Input{Prefixes: []string{web}, Routes: map[string]v1.AppRoute{"a": app("Shared.example", "shared.example"), "b": app("shared.example", "b.example"), "c": app()}}
	plan := Plan(in)
	require.Equal(t, []routing.Route{{App: "a", Prefix: web, Hosts: []string{"shared.example"}}, {App: "b", Prefix: web, Hosts: []string{"b.example"}}}, plan.Table.Routes)
	require.Equal(t, []string{"b HostTaken", "c NoHost"}, refusalsOf(plan))
	in.Domain = "example"
	require.Equal(t, []string{"c.example"}, Plan(in).Table.Routes[2].Hosts)
}

// TestHostBelongsToItsFirstApp, not the alphabetically first app's.
func TestHostBelongsToItsFirstApp(t *testing.T) {
	const host = "shared.example"
	type routes = map[string]v1.AppRoute
	named := func(host string, since int64) v1.AppRoute {
		return v1.AppRoute{Prefix: web, Hosts: map[string]int64{host: since}}
	}
	shared := func(since int64) v1.AppRoute { return named(host, since) }
	for _, c := range []struct {
		name   string
		routes routes
		has    string
	}{
		{"the older claim", routes{"a": shared(8), "b": shared(7), "c": shared(9)}, "b"},
		{"nothing is known: by the alphabet", routes{"b": shared(0), "a": shared(0)}, "a"},
		{"of one age: by the alphabet", routes{"b": shared(7), "a": shared(7)}, "a"},
		{"a claim of which nothing is known", routes{"a": shared(0), "b": shared(7)}, "b"},
		{"a name in the domain", routes{"b": shared(7), "shared": named("", 6)}, "shared"},
		{"a name in the domain without an app", routes{"z": shared(7), "shared": {Prefix: web}}, "z"},
		{"an app that is none", routes{"not an app": shared(1), "b": shared(7)}, "b"},
		{"an app of another prefix", routes{"a": {Prefix: "/x", Hosts: map[string]int64{host: 1}}, "b": shared(7)}, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan := Plan(Input{Prefixes: []string{web}, Domain: "example", Routes: c.routes})
			var has []string
			for _, r := range plan.Table.Routes {
				if slices.Contains(r.Hosts, host) {
					has = append(has, r.App)
				}
			}
			require.Equal(t, []string{c.has}, has)
			for _, r := range plan.Table.Refused {
				if r.Reason == reasonHostTaken {
					require.Equal(t, "host "+host+" belongs to app "+c.has, r.Message)
				}
			}
		})
	}
}
