// Package nginx keeps one nginx routing to the instances of apps: it renders the
// configuration from checked values, tests it, puts it in place and reloads.
//
// The way through the package is Plan (pure: checks every value, says what it
// leaves out and why), then Server.Apply (renders each app apart, `nginx -t` on
// a file beside, rename, reload, wait until the new configuration answers).
// nginx is not tied to the process that started it: it goes on serving when that
// one is killed, and the next Server adopts it.
package nginx

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Route is one app and where its instances listen.
type Route struct {
	// App is a DNS label; it names the upstream.
	App string
	// Prefix is the directory in which a template of one's own finds the upstreams. Default DefaultPrefix.
	Prefix string
	// Hosts are host names, such as www.example.com or *.example.com. None means <app>.<domain>.
	Hosts []string
	// Since says since when the app has a host, by its name in small letters; "" is <app>.<domain>. Of two apps with one
	// host the one that has had it longer keeps it; those of which nothing is known come last, by the alphabet.
	Since map[string]int64
	// Upstreams are the announced instances. With none, requests are answered with 503.
	Upstreams []Upstream
	// MaxFails failures within FailTimeout keep an instance out for FailTimeout.
	// Zero means DefaultMaxFails and DefaultFailTimeout.
	MaxFails    int
	FailTimeout time.Duration
	// Timeout and BodySize are Settings' for this app alone; zero means what Settings say.
	Timeout  time.Duration
	BodySize int64
}

// Upstream is one announced instance.
type Upstream struct {
	// Key is the etcd key that announces it, for reports.
	Key string
	// Instance is the last part of the key, such as example-app@1.
	Instance string
	// Address is ip:port, see v1.ParseEndpoint.
	Address string
}

// Settings are the same for as long as a router runs.
type Settings struct {
	// Dir is an absolute path; everything nginx writes lies in it.
	Dir string
	// Listen are the addresses to serve, such as "80", "127.0.0.11:8080" or "[::]:80".
	Listen []string
	// StatusListen is a further address for the status page alone; empty for none.
	StatusListen string
	// Domain completes the host name of an app without hosts: <app>.<domain>. Empty for none.
	Domain string
	// AccessLog is off (default), stdout, an absolute path, or syslog:server=... as nginx writes it.
	// stdout must not be a socket, which the journal's is: see StdoutLog.
	AccessLog string
	// ErrorLog is stderr (default), an absolute path, or syslog:server=...
	ErrorLog string
	// Workers is the number of worker processes. 0: one for each core.
	Workers int
	// User is whom the workers run as when nginx is started by root. Default: nginx's own, nobody, or root where
	// nobody cannot reach Dir.
	User string
	// Timeout is how long an app may be silent before and within an answer. Default DefaultTimeout. Websockets have a day.
	Timeout time.Duration
	// BodySize is how many bytes the body of a request may have. Default DefaultBodySize; v1.Unlimited for no limit.
	BodySize int64
	// TrustedProxies are addresses and networks (CIDR) of proxies that requests come through: what they say of the client,
	// in X-Forwarded-For, Forwarded and the like, is passed on. What all others say is replaced.
	TrustedProxies []string
	// ShutdownTimeout is how long connections may outlive a change of the configuration. Default DefaultShutdownTimeout.
	ShutdownTimeout time.Duration
}

// What Settings and Route mean by zero.
const (
	DefaultPrefix          = v1.DefaultAnnouncePrefix
	DefaultMaxFails        = 2
	DefaultFailTimeout     = 5 * time.Second
	DefaultTimeout         = 5 * time.Minute
	DefaultBodySize        = 1 << 30
	DefaultShutdownTimeout = 10 * time.Minute
)

// Input is all that a configuration is made of.
type Input struct {
	Settings
	Routes []Route
	// Keys are further keys and values for a template of one's own.
	Keys map[string]string
	// Revision is the etcd revision that Routes and Keys are of. The status page
	// shows it; a new revision alone reloads nothing.
	Revision int64
}

// Configuration is an Input whose every value may be rendered.
type Configuration struct {
	Settings
	// Routes are sorted by app.
	Routes   []Route
	Keys     map[string]string
	Revision int64
	// Refused is what was left out.
	Refused []Refused
}

// Refused is a value, a host or a whole app that is not served.
type Refused struct {
	App string `json:"app,omitempty"`
	// Key is the etcd key of the refused value; empty if the app's spec holds it.
	Key string `json:"key,omitempty"`
	// Reason is one of the Reason constants.
	Reason string `json:"reason"`
	// Message says what is wrong, with the value quoted and cut.
	Message string `json:"message"`
}

// Why something is not served.
const (
	ReasonInvalidApp      = "InvalidApp"      // the name of the app is not a DNS label
	ReasonInvalidInstance = "InvalidInstance" // the instance is not the name of a unit
	ReasonInvalidAddress  = "InvalidAddress"  // the value is not ip:port
	ReasonInvalidHost     = "InvalidHost"     // the host is not a host name
	ReasonInvalidValue    = "InvalidValue"    // the value of a further key could change the structure of the configuration
	ReasonDuplicateApp    = "DuplicateApp"    // a second route of the same app
	ReasonHostTaken       = "HostTaken"       // the host belongs to an app that asked for it before
	ReasonNoHost          = "NoHost"          // the app has no hosts, and the router no --domain
	ReasonNotAccepted     = "NotAccepted"     // nginx -t refuses the configuration with it
	ReasonTemplateFailed  = "TemplateFailed"  // the router's --template fails with it
)

// Plan checks in. What cannot be rendered safely is left out of the result and
// listed in its Refused; the error is about Settings, without which nothing runs.
func Plan(in Input) (Configuration, error) {
	settings, err := in.Settings.check()
	if err != nil {
		return Configuration{}, err
	}
	p := planner{settings: settings}
	routes := slices.Clone(in.Routes)
	slices.SortStableFunc(routes, func(a, b Route) int { return strings.Compare(a.App, b.App) })
	p.owner = owners(settings, routes)
	c := Configuration{Settings: settings, Revision: in.Revision}
	for i, r := range routes {
		if i > 0 && routes[i-1].App == r.App {
			p.refuse(r.App, "", ReasonDuplicateApp, "a second route of the same app")
			continue
		}
		if checked, ok := p.route(r); ok {
			c.Routes = append(c.Routes, checked)
		}
	}
	c.Keys = p.keys(in.Keys)
	c.Refused = p.refused
	return c, nil
}

// planner collects what is refused and which app has which host.
type planner struct {
	settings Settings
	refused  []Refused
	owner    map[string]string
}

func (p *planner) refuse(app, key, reason, message string) {
	p.refused = append(p.refused, Refused{App: quoteUnlessLabel(app), Key: key, Reason: reason, Message: message})
}

func (p *planner) route(r Route) (Route, bool) {
	if !v1.IsLabel(r.App) {
		p.refuse(r.App, "", ReasonInvalidApp, "the name of an app is 1 to 63 letters a-z, digits and dashes, not "+quote(r.App))
		return Route{}, false
	}
	out := Route{
		App: r.App, Prefix: r.Prefix, MaxFails: r.MaxFails, FailTimeout: r.FailTimeout, Timeout: r.Timeout, BodySize: r.BodySize,
	}
	if out.MaxFails <= 0 {
		out.MaxFails = DefaultMaxFails
	}
	if out.Timeout < 0 || out.Timeout > v1.MaxRouteTimeout {
		out.Timeout = 0
	}
	if out.BodySize < v1.Unlimited {
		out.BodySize = 0
	}
	if out.FailTimeout <= 0 {
		out.FailTimeout = DefaultFailTimeout
	}
	out.Hosts = p.hosts(r)
	for _, u := range r.Upstreams {
		if checked, ok := p.upstream(r.App, u); ok {
			out.Upstreams = append(out.Upstreams, checked)
		}
	}
	slices.SortStableFunc(out.Upstreams, func(a, b Upstream) int { return strings.Compare(a.Instance, b.Instance) })
	return out, len(out.Hosts) > 0
}

// asked are the host names that an app asks for, in small letters, valid or not.
func (r Route) asked(domain string) []string {
	hosts := make([]string, 0, len(r.Hosts))
	for _, h := range r.Hosts {
		hosts = append(hosts, strings.ToLower(h))
	}
	if len(r.Hosts) == 0 && domain != "" {
		hosts = append(hosts, strings.ToLower(r.App+"."+domain))
	}
	return hosts
}

// since is the route's Since of a host that it asked for.
func (r Route) since(host string) int64 {
	if len(r.Hosts) == 0 {
		host = ""
	}
	if since := r.Since[host]; since > 0 {
		return since
	}
	return math.MaxInt64
}

// owners finds the app that has each host. The first of routes of the same app counts.
func owners(settings Settings, routes []Route) map[string]string {
	owner, since := map[string]string{}, map[string]int64{}
	for i, r := range routes {
		if !v1.IsLabel(r.App) || i > 0 && routes[i-1].App == r.App {
			continue
		}
		for _, host := range r.asked(settings.Domain) {
			if _, taken := owner[host]; !taken || r.since(host) < since[host] {
				owner[host], since[host] = r.App, r.since(host)
			}
		}
	}
	return owner
}

func (p *planner) hosts(r Route) []string {
	asked := r.asked(p.settings.Domain)
	if len(asked) == 0 {
		p.refuse(r.App, "", ReasonNoHost, "the app has no hosts and the router no domain")
		return nil
	}
	var out []string
	for _, name := range asked {
		switch owner := p.owner[name]; {
		case !v1.IsRouteHost(name):
			p.refuse(r.App, "", ReasonInvalidHost, "want a host name such as www.example.com or *.example.com, not "+quote(name))
		case owner != r.App:
			p.refuse(r.App, "", ReasonHostTaken, "host "+name+" belongs to app "+owner)
		case !slices.Contains(out, name):
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (p *planner) upstream(app string, u Upstream) (Upstream, bool) {
	if !isInstance(u.Instance) {
		p.refuse(app, u.Key, ReasonInvalidInstance, "want the name of an instance such as example-app@1, not "+quote(u.Instance))
		return Upstream{}, false
	}
	endpoint, err := v1.ParseEndpoint(u.Address)
	if err != nil {
		p.refuse(app, u.Key, ReasonInvalidAddress, err.Error())
		return Upstream{}, false
	}
	u.Address = endpoint.String()
	return u, true
}

func (p *planner) keys(keys map[string]string) map[string]string {
	out := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		switch {
		case isPlain(k) && isPlain(keys[k]):
			out[k] = keys[k]
		default:
			p.refuse("", k, ReasonInvalidValue, "key and value are rendered into nginx's configuration, so none of ; { } # $ \" ' \\ ` and control characters may be in them: "+quote(keys[k]))
		}
	}
	return out
}
