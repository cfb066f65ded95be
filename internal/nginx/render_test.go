package nginx

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/template"
)

var update = flag.Bool("update", false, "write the golden files")

var testSettings = Settings{Dir: "/run/fleet/router", Listen: []string{"127.0.0.11:8080"}, Domain: "localhost"}

var goldenRoutes = []routing.Route{
	{App: "example-app", Upstreams: []routing.Upstream{
		{Instance: "example-app@1", Address: "127.0.0.11:3000"}, {Instance: "example-app@2", Address: "127.0.0.12:3000"}}},
	{App: "shop", Hosts: []string{"*.shop.example.com", "shop.example.com"}, Upstreams: []routing.Upstream{
		{Instance: "shop@1", Address: "[fd00::1]:80"}}},
	{App: "uploads", BodySize: 2 << 30, Timeout: 10 * time.Minute, Upstreams: []routing.Upstream{
		{Instance: "uploads@1", Address: "127.0.0.11:4000"}}},
	{App: "waiting"},
}

func TestRenderGolden(t *testing.T) {
	own, err := template.New("own.tmpl", `{{range lsdir "/services/web"}}{{$app := .}}{{range gets (printf "/services/web/%s/*" .)}}# {{$app}} {{base .Key}} {{.Value}} {{getv "/title"}}
{{end}}{{end}}`)
	require.NoError(t, err)
	for name, tmpl := range map[string]*template.Template{"default": nil, "own": own} {
		t.Run(name, func(t *testing.T) {
			c := configured(testSettings, goldenRoutes...)
			c.Keys = map[string]string{"/title": "router"}
			got, err := Render(c, tmpl)
			require.NoError(t, err)
			again, err := Render(c, tmpl)
			require.NoError(t, err)
			require.Equal(t, string(got), string(again))
			requireGolden(t, name+".golden", got)
		})
	}
}

// TestDynamicGolden: with the Lua module the configuration has no endpoint, and of hosts those of apps with limits of their own. It does
// not change with the others.
func TestDynamicGolden(t *testing.T) {
	render := func(routes ...routing.Route) string {
		c := configured(testSettings, routes...)
		var err error
		_, own := separate(c.Routes)
		c.Routes = withoutEndpoints(own)
		c.Settings, err = c.Settings.check()
		require.NoError(t, err)
		r := renderer{module: &module{paths: []string{"/usr/lib/nginx/modules/ndk_http_module.so", "/usr/lib/nginx/modules/ngx_http_lua_module.so"}}}
		got, err := r.render(c, nil)
		require.NoError(t, err)
		text := strings.Replace(string(got.text), scriptSum, "01234567", 1) // not with each change of the script
		return strings.ReplaceAll(text, got.generation, "0123456789abcdef")
	}
	got := render(goldenRoutes...)
	requireGolden(t, "dynamic.golden", []byte(got))
	require.Equal(t, got, render(routing.Route{App: "example-app"}, routing.Route{App: "uploads", BodySize: 2 << 30, Timeout: 10 * time.Minute}))
}

// TestTableGolden: what nginx is handed over.
func TestTableGolden(t *testing.T) {
	c := configured(testSettings, goldenRoutes...)
	c.Routes[1].Upstreams[0].Weight = 3
	for i := range c.Routes {
		for j := range c.Routes[i].Upstreams {
			u := &c.Routes[i].Upstreams[j]
			u.Key = "/services/web/" + c.Routes[i].App + "/" + u.Instance
		}
	}
	d := dictionary{board: &board{data: &boardData{}}, draining: map[uint64]endpoint{}}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	require.True(t, d.set(c.Routes, now))
	require.False(t, d.set(c.Routes, now))
	c.Routes[0].Upstreams = c.Routes[0].Upstreams[1:]
	require.True(t, d.set(c.Routes, now))
	requireGolden(t, "table.golden", d.text())

	path := filepath.Join(t.TempDir(), "endpoints")
	require.NoError(t, os.WriteFile(path, d.text(), 0o600))
	again := dictionary{board: d.board, served: map[uint64]endpoint{}, draining: map[uint64]endpoint{}}
	require.NoError(t, again.readTable(path))
	require.Equal(t, d.text(), again.text(), "the next router knows what this one did")
	require.False(t, again.set(c.Routes, now))
	require.NoError(t, os.WriteFile(path, d.text()[:300], 0o600))
	require.ErrorContains(t, again.readTable(path), "is not a table of endpoints")
}

// TestNothingElseGetsIntoTheTable: an address is ip:port, and a key ends nothing.
func TestNothingElseGetsIntoTheTable(t *testing.T) {
	var route routing.Route
	for _, address := range []string{"10.0.0.1:80", "10.0.0.1:80 1,10.9.9.9,80,1", "10.0.0.1:80\napp b", "host:80", "10.0.0.1", "", "10.0.0.1:0", "[fe80::1%eth0]:80"} {
		route.Upstreams = append(route.Upstreams, routing.Upstream{Key: "/k", Address: address})
	}
	for _, key := range []string{"/k 1,10.9.9.9,80,1", "/k\nend", "/k,"} {
		route.Upstreams = append(route.Upstreams, routing.Upstream{Key: key, Address: "10.0.0.2:80"})
	}
	route.App = "a"
	good, refused := acceptable([]routing.Route{route})
	require.Equal(t, []routing.Upstream{{Key: "/k", Address: "10.0.0.1:80"}}, good[0].Upstreams)
	require.Len(t, refused, len(route.Upstreams)-1)
	require.Len(t, route.Upstreams, 11, "the argument is left alone")
}

func TestStatusGolden(t *testing.T) {
	c := configured(testSettings, goldenRoutes...)
	c.Revision = 42
	c.Refused = []v1.RouteRefusal{{App: `"<b>"`, Reason: "InvalidApp", Message: `the name of an app is 1 to 63 letters a-z, digits and dashes, not "<b>"`}}
	html, data, err := renderStatus(c, "0123456789abcdef", "")
	require.NoError(t, err)
	requireGolden(t, "status.html.golden", html)
	requireGolden(t, "status.json.golden", data)
	require.NotContains(t, string(html), "<b>")
}

func requireGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
