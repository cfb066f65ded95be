package route

import (
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/template"
)

var settings = nginx.Settings{Dir: "/d", Listen: []string{"127.0.0.1:80"}, Domain: "localhost"}

// FuzzEndpoints puts arbitrary keys and values below the announce prefix: every key is served, refused with a reason, or
// foreign, and nothing else is affected.
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
		in := Input{Trust: Trust{Machines: map[netip.Addr]time.Time{machine: {}}, Reserved: v1.ReservedPorts}, Prefixes: []string{prefix}, Domain: settings.Domain,
			Revisions: map[string]int64{prefix: 7}, Endpoints: map[string]string{own: "10.0.0.1:3000", key: value}, All: true, Routes: map[string]v1.AppRoute{
				"bystander": app("bystander.example.com"), "other": app(host),
			}}
		plan := Plan(in)
		require.Equal(t, plan, Plan(in))
		for key, value := range in.Endpoints {
			refused := slices.ContainsFunc(plan.Table.Refused, func(r v1.RouteRefusal) bool { return key == r.Key || strings.HasPrefix(key, r.Key+"/") })
			require.True(t, refused || plan.Endpoints[key] == value, "every key is somewhere")
		}
		c := plan.Table
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
		render(t, c, nil)
	})
}

// FuzzNothingIsInjected: whatever people write, nginx's configuration has the shape of one made from harmless values: as many
// lines of each kind as there are validated values.
func FuzzNothingIsInjected(f *testing.F) {
	for _, bad := range []string{"x; } server {", "a\n", "#", "$host", `"`, "'", "{{.}}", "*.a", "10.0.0.1:80", "[::1]:1", "a@1"} {
		f.Add(bad, bad, bad, bad, bad, bad)
		f.Add("app", "a.example", bad, "app@1", bad, bad)
	}
	own, err := template.New("own.tmpl", `{{range lsdir "/services/web"}}{{range gets (printf "/services/web/%s/*" .)}}
server "{{.Key}} {{.Value}}";{{end}}{{end}}{{range gets "/other/*"}}
other "{{.Key}} {{.Value}}";{{end}}`)
	require.NoError(f, err)
	server := regexp.MustCompile(`^        server [a-z0-9.:\[\]-]+ max_fails=2 fail_timeout=5s;$`)
	names := regexp.MustCompile(`^        server_name( (\*\.)?[a-z0-9.-]+)+;$`)
	f.Fuzz(func(t *testing.T, app, host, domain, instance, address, key string) {
		in := Input{Trust: anywhere, Domain: settings.Domain, All: true, Template: true, Prefixes: []string{web, "/other"},
			Endpoints: map[string]string{web + "/" + app + "/" + instance: address, "/other/" + key: address, "/other/x": key},
			Routes:    map[string]v1.AppRoute{app: {Prefix: web, Hosts: map[string]int64{host: 1, domain: 2}}}}
		c := Plan(in).Table
		text := render(t, c, nil)
		counts := map[string]int{}
		for line := range strings.Lines(string(text)) {
			line = strings.TrimSuffix(line, "\n")
			counts["{"] += strings.Count(line, "{")
			counts["}"] += strings.Count(line, "}")
			counts[";"] += strings.Count(line, ";")
			if server.MatchString(line) {
				counts["upstream"]++
			}
			if names.MatchString(line) {
				counts["names"]++
			}
		}
		harmless := render(t, harmlessLike(c), nil)
		for _, s := range []string{"{", "}", ";"} {
			require.Equal(t, strings.Count(string(harmless), s), counts[s], s)
		}
		require.Equal(t, strings.Count(string(harmless), "\n"), strings.Count(string(text), "\n"))
		if len(c.Routes) == 1 {
			require.Equal(t, 1, counts["names"])
			require.Equal(t, len(c.Routes[0].Upstreams), counts["upstream"])
		}

		text = render(t, c, own)
		want := 0
		for key := range c.Keys { // gets leaves out keys that are further down
			if under, err := path.Match("/other/*", key); err == nil && under {
				want++
			}
		}
		for _, r := range c.Routes {
			want += len(r.Upstreams)
		}
		quoted := regexp.MustCompile(`(?m)^(server|other) "[^";{}\\$#\n]*";$`).FindAll(text, -1)
		require.Len(t, quoted, want)
	})
}

func render(t *testing.T, c routing.Table, own *template.Template) []byte {
	text, err := nginx.Render(nginx.Configuration{Settings: settings, Table: c}, own)
	require.NoError(t, err)
	return text
}

func harmlessLike(c routing.Table) (out routing.Table) {
	for _, r := range c.Routes {
		h := routing.Route{App: "a", Prefix: web, Hosts: []string{"h1.example", "h2.example"}[:len(r.Hosts)]}
		for range r.Upstreams {
			h.Upstreams = append(h.Upstreams, routing.Upstream{Instance: "a@1", Address: "10.0.0.1:80"})
		}
		out.Routes = append(out.Routes, h)
	}
	return out
}
