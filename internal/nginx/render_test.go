package nginx

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

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

func TestStatusGolden(t *testing.T) {
	c := configured(testSettings, goldenRoutes...)
	c.Revision = 42
	c.Refused = []v1.RouteRefusal{{App: `"<b>"`, Reason: "InvalidApp", Message: `the name of an app is 1 to 63 letters a-z, digits and dashes, not "<b>"`}}
	html, data, err := renderStatus(c, "0123456789abcdef")
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
