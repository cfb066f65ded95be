package nginx

import (
	"flag"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/template"
)

var update = flag.Bool("update", false, "write the golden files")

var testSettings = Settings{Dir: "/run/fleet/router", Listen: []string{"127.0.0.11:8080"}, Domain: "localhost"}

func plan(t *testing.T, routes ...Route) Configuration {
	t.Helper()
	c, err := Plan(Input{Settings: testSettings, Routes: routes})
	require.NoError(t, err)
	return c
}

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
			c := plan(t, Route{App: "a", Upstreams: []Upstream{{Key: "/services/web/a/a@1", Instance: "a@1", Address: tc.value}}})
			if tc.want != "" {
				require.Equal(t, tc.want, c.Routes[0].Upstreams[0].Address)
				require.Empty(t, c.Refused)
				return
			}
			require.Len(t, c.Routes, 1, "the app stays, without this endpoint")
			require.Empty(t, c.Routes[0].Upstreams)
			require.Len(t, c.Refused, 1)
			require.Equal(t, "/services/web/a/a@1", c.Refused[0].Key)
			require.Equal(t, ReasonInvalidAddress, c.Refused[0].Reason)
			require.NotContains(t, c.Refused[0].Message, "\n")
		})
	}
}

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
			c := plan(t, Route{App: "a", Hosts: []string{tc.host, "good.example"}})
			require.Contains(t, c.Routes[0].Hosts, "good.example")
			require.Equal(t, tc.ok, len(c.Routes[0].Hosts) == 2)
			require.Equal(t, tc.ok, len(c.Refused) == 0)
			if !tc.ok {
				require.Equal(t, ReasonInvalidHost, c.Refused[0].Reason)
			}
		})
	}
}

func TestRefusedApps(t *testing.T) {
	for _, name := range []string{"", "A", "a.b", "a_b", "-a", "a;", "a b", "a/b", strings.Repeat("a", 64), "a\n"} {
		c := plan(t, Route{App: name}, Route{App: "good"})
		require.Len(t, c.Routes, 1)
		require.Len(t, c.Refused, 1, name)
		require.Equal(t, ReasonInvalidApp, c.Refused[0].Reason)
	}
}

func TestPlanSortsAndRefuses(t *testing.T) {
	in := Input{
		Settings: testSettings,
		Routes: []Route{
			{App: "b", Hosts: []string{"shared.example", "b.example"}},
			{App: "a", Hosts: []string{"Shared.example", "shared.example"}, Upstreams: []Upstream{
				{Key: "k2", Instance: "a@2", Address: "10.0.0.2:1"}, {Key: "k1", Instance: "a@1", Address: "10.0.0.1:1"}, {Key: "k3", Instance: "a;", Address: "10.0.0.3:1"}}},
			{App: "a", Hosts: []string{"again.example"}},
		},
		Keys: map[string]string{
			"/nginx/title": "fine here", "/nginx/bad": "x; } server {", "/nginx/quo\"te": "x",
		},
		Revision: 7,
	}
	c, err := Plan(in)
	require.NoError(t, err)
	require.Equal(t, []Route{
		{App: "a", Hosts: []string{"shared.example"}, MaxFails: 2, FailTimeout: 5 * time.Second, Upstreams: []Upstream{
			{Key: "k1", Instance: "a@1", Address: "10.0.0.1:1"}, {Key: "k2", Instance: "a@2", Address: "10.0.0.2:1"}}},
		{App: "b", Hosts: []string{"b.example"}, MaxFails: 2, FailTimeout: 5 * time.Second},
	}, c.Routes)
	require.Equal(t, map[string]string{"/nginx/title": "fine here"}, c.Keys)
	require.EqualValues(t, 7, c.Revision)
	var reasons []string
	for _, r := range c.Refused {
		reasons = append(reasons, r.App+" "+r.Key+" "+r.Reason)
	}
	require.Equal(t, []string{
		"a k3 InvalidInstance", "a  DuplicateApp", "b  HostTaken", " /nginx/bad InvalidValue", " /nginx/quo\"te InvalidValue",
	}, reasons)

	in.Domain = ""
	in.Routes = []Route{{App: "c"}}
	c, err = Plan(in)
	require.NoError(t, err)
	require.Empty(t, c.Routes)
	require.Equal(t, ReasonNoHost, c.Refused[0].Reason)
}

// TestHostIsWhoseItWasFirst: and not the first app's in the alphabet.
func TestHostIsWhoseItWasFirst(t *testing.T) {
	const host = "shared.example"
	shared := func(app string, since int64) Route {
		return Route{App: app, Hosts: []string{"Shared.example"}, Since: map[string]int64{host: since}}
	}
	for _, c := range []struct {
		name   string
		routes []Route
		has    string
	}{
		{"the older claim", []Route{shared("a", 8), shared("b", 7), shared("c", 9)}, "b"},
		{"nothing is known: by the alphabet", []Route{{App: "b", Hosts: []string{host}}, {App: "a", Hosts: []string{host}}}, "a"},
		{"a claim of which nothing is known", []Route{shared("a", 0), shared("b", 7)}, "b"},
		{"a name in the domain", []Route{shared("b", 7), {App: "shared", Since: map[string]int64{"": 6}}}, "shared"},
		{"a name in the domain without an app", []Route{shared("z", 7), {App: "shared"}}, "z"},
		{"an app that is none", []Route{shared("not an app", 1), shared("b", 7)}, "b"},
		{"a second route of an app", []Route{shared("b", 7), {App: "a", Hosts: []string{"a.example"}}, shared("a", 1)}, "b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := testSettings
			settings.Domain = "example"
			config, err := Plan(Input{Settings: settings, Routes: c.routes})
			require.NoError(t, err)
			var has []string
			for _, r := range config.Routes {
				if slices.Contains(r.Hosts, host) {
					has = append(has, r.App)
				}
			}
			require.Equal(t, []string{c.has}, has)
			for _, r := range config.Refused {
				if r.Reason == ReasonHostTaken {
					require.Equal(t, "host "+host+" belongs to app "+c.has, r.Message)
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	tests := []struct {
		change func(*Settings)
		want   string
	}{
		{func(s *Settings) { s.Dir = "relative" }, "absolute path"},
		{func(s *Settings) { s.Dir = "/a\"; b" }, "absolute path"},
		{func(s *Settings) { s.Dir = "/" + strings.Repeat("a", 100) }, "shorter path"},
		{func(s *Settings) { s.Listen = nil }, "no address"},
		{func(s *Settings) { s.Listen = []string{"80; }"} }, "listen"},
		{func(s *Settings) { s.Listen = []string{"host:80"} }, "listen"},
		{func(s *Settings) { s.Listen = []string{"0"} }, "listen"},
		{func(s *Settings) { s.StatusListen = s.Listen[0] }, "status listen"},
		{func(s *Settings) { s.Domain = "a b" }, "domain"},
		{func(s *Settings) { s.AccessLog = "access.log" }, "access log"},
		{func(s *Settings) { s.AccessLog = "syslog:server=x;" }, "access log"},
		{func(s *Settings) { s.ErrorLog = "off" }, "error log"},
		{func(s *Settings) { s.Workers = -1 }, "workers"},
		{func(s *Settings) { s.User = "a b" }, "user"},
		{func(s *Settings) { s.Timeout = -1 }, "timeouts"},
		{func(s *Settings) { s.BodySize = -2 }, "body size"},
		{func(s *Settings) { s.TrustedProxies = []string{"10.0.0.0/8", "10.0.0.0/8; }"} }, "trusted proxies: want a network"},
		{func(s *Settings) { s.TrustedProxies = []string{"proxy.example.com"} }, "trusted proxies: want a network"},
	}
	for _, tc := range tests {
		s := testSettings
		s.Listen = append([]string{}, s.Listen...)
		tc.change(&s)
		_, err := Plan(Input{Settings: s})
		require.ErrorContains(t, err, tc.want)
	}
	s := testSettings
	s.Listen = []string{"80", "[::]:80", "*:81", "127.0.0.1:8080", "80"}
	c, err := Plan(Input{Settings: s})
	require.NoError(t, err)
	require.Equal(t, []string{"*:81", "127.0.0.1:8080", "80", "[::]:80"}, c.Listen)
}

var goldenRoutes = []Route{
	{App: "example-app", Upstreams: []Upstream{
		{Instance: "example-app@1", Address: "127.0.0.11:3000"}, {Instance: "example-app@2", Address: "127.0.0.12:3000"}}},
	{App: "shop", Hosts: []string{"shop.example.com", "*.shop.example.com"}, MaxFails: 5, FailTimeout: time.Minute, Upstreams: []Upstream{
		{Instance: "shop@1", Address: "[fd00::1]:80"}}},
	{App: "waiting"},
}

func TestRenderGolden(t *testing.T) {
	own, err := template.New("own.tmpl", `{{range lsdir "/services/web"}}{{$app := .}}{{range gets (printf "/services/web/%s/*" .)}}# {{$app}} {{base .Key}} {{.Value}} {{getv "/title"}}
{{end}}{{end}}`)
	require.NoError(t, err)
	for name, tmpl := range map[string]*template.Template{"default": nil, "own": own} {
		t.Run(name, func(t *testing.T) {
			c, err := Plan(Input{Settings: testSettings, Routes: goldenRoutes, Keys: map[string]string{"/title": "router"}})
			require.NoError(t, err)
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
	c := plan(t, append(goldenRoutes, Route{App: "<b>"})...)
	c.Revision = 42
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

// Whatever people write, the text has the shape of one that was made from
// harmless values: as many lines of each kind as there are checked values.
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
		in := Input{Settings: testSettings, Keys: map[string]string{"/other/" + key: address, "/other/x": key},
			Routes: []Route{{App: app, Hosts: []string{host, domain}, Upstreams: []Upstream{{Instance: instance, Address: address}}}}}
		c, err := Plan(in)
		require.NoError(t, err)
		text, err := Render(c, nil)
		require.NoError(t, err)
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
		harmless, err := Render(harmlessLike(t, c), nil)
		require.NoError(t, err)
		for _, s := range []string{"{", "}", ";"} {
			require.Equal(t, strings.Count(string(harmless), s), counts[s], s)
		}
		require.Equal(t, strings.Count(string(harmless), "\n"), strings.Count(string(text), "\n"))
		if len(c.Routes) == 1 {
			require.Equal(t, 1, counts["names"])
			require.Equal(t, len(c.Routes[0].Upstreams), counts["upstream"])
		}

		text, err = Render(c, own)
		require.NoError(t, err)
		want := 0
		for key := range c.Keys { // gets leaves out those that are a directory further down
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

func harmlessLike(t *testing.T, c Configuration) Configuration {
	in := Input{Settings: testSettings}
	for _, r := range c.Routes {
		h := Route{App: "a", Hosts: []string{"h1.example", "h2.example"}[:len(r.Hosts)]}
		for range r.Upstreams {
			h.Upstreams = append(h.Upstreams, Upstream{Instance: "a@1", Address: "10.0.0.1:80"})
		}
		in.Routes = append(in.Routes, h)
	}
	out, err := Plan(in)
	require.NoError(t, err)
	require.Empty(t, out.Refused)
	return out
}
