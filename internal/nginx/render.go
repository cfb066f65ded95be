package nginx

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	htmltemplate "html/template"
	"maps"
	"net"
	"net/netip"
	"reflect"
	"sort"
	"strings"
	texttemplate "text/template"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/template"
)

//go:embed main.tmpl
var mainText string

//go:embed app.tmpl
var appText string

//go:embed status.tmpl
var statusText string

var (
	funcs = texttemplate.FuncMap{
		"seconds": seconds,
		"size":    size,
		"claims":  func() []claim { return claims },
		"zone":    func(u []routing.Upstream) int { return zoneSize(len(u)) },
	}
	mainTemplate   = texttemplate.Must(texttemplate.New("main.tmpl").Funcs(funcs).Parse(mainText))
	appTemplate    = texttemplate.Must(texttemplate.New("app.tmpl").Funcs(funcs).Parse(appText))
	statusTemplate = htmltemplate.Must(htmltemplate.New("status.tmpl").Parse(statusText))
)

// generationMark is the placeholder for the generation while the hashed text is built.
const generationMark = "@generation@"

// seconds formats d in seconds, which all of nginx's directives accept; at least 1.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%ds", max(1, (d+time.Second-1)/time.Second))
}

// size converts a number of bytes for client_max_body_size, which takes 0 for no limit.
func size(bytes int64) int64 { return max(0, bytes) }

// claim is a header in which a proxy describes the client's request, and its replacement if the proxy is not trusted.
type claim struct{ Header, Variable, Instead string }

// claims are the headers that frameworks trust, except X-Forwarded-For.
var claims = []claim{
	{"X-Forwarded-Proto", "x_forwarded_proto", "$scheme"},
	{"X-Forwarded-Host", "x_forwarded_host", "$host$fleet_port"},
	{"X-Forwarded-Port", "x_forwarded_port", "$fleet_named_port"},
	{"Forwarded", "forwarded", `""`},
	{"X-Forwarded-Scheme", "x_forwarded_scheme", `""`},
	{"X-Forwarded-Ssl", "x_forwarded_ssl", `""`},
	{"X-Forwarded-Prefix", "x_forwarded_prefix", `""`},
	{"X-Forwarded-Server", "x_forwarded_server", `""`},
}

// zoneSize is the size in KiB of the shared memory for balancing and failures: nginx needs about 1 KiB per server.
func zoneSize(servers int) int { return 64 + servers*2 }

// rendered is a complete configuration and its generation.
type rendered struct {
	text       []byte
	generation string
	// lines are the lines of text at which the apps begin; empty with a custom template.
	lines []appLine
}

type appLine struct {
	first int
	app   string
}

// appAt returns the app that a line of the text belongs to; empty for none.
func (r rendered) appAt(line int) string {
	i := sort.Search(len(r.lines), func(i int) bool { return r.lines[i].first > line })
	if i == 0 {
		return ""
	}
	return r.lines[i-1].app
}

// Render returns nginx's complete configuration. With own, that template's output replaces the default servers; the
// rest is the same.
func Render(c Configuration, own *template.Template) ([]byte, error) {
	var err error
	if c.Settings, err = c.Settings.check(); err != nil {
		return nil, err
	}
	r, err := new(renderer).render(c, own)
	return r.text, err
}

// renderer renders successive configurations: unchanged apps are not rendered again.
type renderer struct {
	module   *module // nil: endpoints are part of the configuration
	settings Settings
	apps     map[string]appPart
	bytes    int // of all rendered apps
}

type appPart struct {
	route routing.Route
	text  []byte
	lines int
}

// app returns an app's part of a configuration.
func (r *renderer) app(s Settings, route routing.Route) (appPart, error) {
	if r.apps == nil || !reflect.DeepEqual(r.settings, s) {
		r.settings, r.apps = s, map[string]appPart{}
	}
	if known, ok := r.apps[route.App]; ok && reflect.DeepEqual(known.route, route) {
		return known, nil
	}
	var b bytes.Buffer
	if err := renderApp(&b, s, route, r.module != nil); err != nil {
		return appPart{}, err
	}
	text := appPart{route, b.Bytes(), bytes.Count(b.Bytes(), []byte("\n"))}
	r.apps[route.App] = text
	r.bytes += b.Len()
	return text, nil
}

// keep forgets all apps but those in routes.
func (r *renderer) keep(routes []routing.Route) {
	apps := make(map[string]bool, len(routes))
	for _, route := range routes {
		apps[route.App] = true
	}
	maps.DeleteFunc(r.apps, func(app string, _ appPart) bool { return !apps[app] })
}

// templateError is an error of a custom template, not of nginx.
type templateError struct{ error }

func (r *renderer) render(c Configuration, own *template.Template) (rendered, error) {
	apps := &bytes.Buffer{}
	var lines []appLine
	line := 0
	if own != nil {
		if err := own.Execute(apps, c.tree()); err != nil {
			return rendered{}, templateError{err}
		}
		apps.WriteByte('\n') // terminates the template's last line
	} else {
		for _, route := range c.Routes {
			app, err := r.app(c.Settings, route)
			if err != nil {
				return rendered{}, err
			}
			apps.Write(app.text)
			lines = append(lines, appLine{line, route.App})
			line += app.lines
		}
	}
	var b bytes.Buffer
	err := mainTemplate.Execute(&b, struct {
		Settings
		Generation string
		Own        bool
		Local      []string
		Apps       string
		Modules    []string
		Script     string
	}{c.Settings, generationMark, own != nil, c.Settings.local(), apps.String(), r.module.files(), scriptSum})
	if err != nil {
		return rendered{}, err
	}
	above := b.Bytes()[:bytes.LastIndex(b.Bytes(), apps.Bytes())]
	for i := range lines {
		lines[i].first += bytes.Count(above, []byte("\n")) + 1
	}
	sum := sha256.Sum256(b.Bytes())
	generation := hex.EncodeToString(sum[:8])
	return rendered{
		text:       bytes.ReplaceAll(b.Bytes(), []byte(generationMark), []byte(generation)),
		generation: generation,
		lines:      lines,
	}, nil
}

func renderApp(b *bytes.Buffer, s Settings, r routing.Route, dynamic bool) error {
	return appTemplate.Execute(b, struct {
		routing.Route
		Listen  []string
		Dynamic bool
	}{r, s.Listen, dynamic})
}

// tree returns the data of a custom template: the endpoints and the additional keys.
func (c Configuration) tree() *template.Tree {
	keys := maps.Clone(c.Keys)
	if keys == nil {
		keys = map[string]string{}
	}
	for _, r := range c.Routes {
		for _, u := range r.Upstreams {
			keys[r.Prefix+"/"+r.App+"/"+u.Instance] = u.Address
		}
	}
	return template.NewTree(keys)
}

// local returns the machine's own addresses among those listened on: a connection from the machine to one of them has
// it as its source.
func (s Settings) local() []string {
	var out []string
	for _, l := range s.Listen {
		host, _, _ := net.SplitHostPort(l)
		if a, err := netip.ParseAddr(host); err == nil && !a.IsUnspecified() && !a.IsLoopback() {
			out = append(out, a.String())
		}
	}
	return out
}

// status is the content of the status page. Its JSON is for scripts.
type status struct {
	Generation string `json:"generation"`
	Revision   int64  `json:"revision"`
	// Reloads is why a change of endpoints reloads nginx; empty if none does.
	Reloads string            `json:"reloads,omitempty"`
	Apps    []statusApp       `json:"apps"`
	Refused []v1.RouteRefusal `json:"refused"`
}

type statusApp struct {
	App       string           `json:"app"`
	Hosts     []string         `json:"hosts"`
	Endpoints []statusEndpoint `json:"endpoints"`
}

type statusEndpoint struct {
	Instance string `json:"instance"`
	Address  string `json:"address"`
}

// renderStatus returns the status page as HTML and as JSON.
func renderStatus(c Configuration, generation, reloads string) (html, data []byte, err error) {
	s := status{Generation: generation, Revision: c.Revision, Reloads: reloads, Apps: []statusApp{}, Refused: []v1.RouteRefusal{}}
	s.Refused = append(s.Refused, c.Refused...)
	for _, r := range c.Routes {
		a := statusApp{App: r.App, Hosts: r.Hosts, Endpoints: []statusEndpoint{}}
		for _, u := range r.Upstreams {
			a.Endpoints = append(a.Endpoints, statusEndpoint{u.Instance, u.Address})
		}
		s.Apps = append(s.Apps, a)
	}
	var b bytes.Buffer
	if err := statusTemplate.Execute(&b, s); err != nil {
		return nil, nil, err
	}
	data, err = json.MarshalIndent(s, "", "  ")
	return b.Bytes(), append(data, '\n'), err
}

// listens returns the addresses in a configuration's listen directives, except sockets.
func listens(text []byte) []string {
	var out []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(strings.TrimRight(strings.TrimSpace(line), ";"))
		if len(f) >= 2 && f[0] == "listen" && !strings.Contains(f[1], "unix:") {
			out = append(out, strings.TrimRight(f[1], ";"))
		}
	}
	return out
}
