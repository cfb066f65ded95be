// Package nginx keeps an nginx routing to the instances of apps: it renders the configuration from validated values,
// tests it, installs it and reloads.
//
// Start reading at Plan (pure: validates every value and reports what it leaves out), then Server.Apply (renders each
// app separately, runs nginx -t on a copy, renames, reloads, waits until the new configuration answers). nginx does not
// depend on the process that started it: it keeps serving when that is killed, and the next Server adopts it.
package nginx

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Route is an app with the addresses of its instances.
type Route struct {
	// App is a DNS label; it names the upstream.
	App string
	// Prefix is the directory in which a custom template finds the upstreams. Default DefaultPrefix.
	Prefix string
	// Hosts are host names, such as www.example.com or *.example.com. If empty, <app>.<domain> is used.
	Hosts []string
	// Since is the revision from which the app has a host, by lower-case host name; "" is <app>.<domain>. Of two apps
	// with the same host, the one that has had it longer keeps it; apps without a revision come last, in alphabetical
	// order.
	Since map[string]int64
	// Upstreams are the announced instances. Without any, requests are answered with 503.
	Upstreams []Upstream
	// MaxFails failures within FailTimeout keep an instance out for FailTimeout.
	// Zero means DefaultMaxFails and DefaultFailTimeout.
	MaxFails    int
	FailTimeout time.Duration
	// Timeout and BodySize override those of Settings for this app; zero means no override.
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

// Settings do not change while a router runs.
type Settings struct {
	// Dir is an absolute path; nginx writes only below it.
	Dir string
	// Listen are the addresses to serve, such as "80", "127.0.0.11:8080" or "[::]:80".
	Listen []string
	// StatusListen is an additional address for the status page only; empty for none.
	StatusListen string
	// Domain completes the host name of an app without hosts: <app>.<domain>. Empty for none.
	Domain string
	// AccessLog is off (default), stdout, an absolute path, or syslog:server=... in nginx's syntax. stdout must not be
	// a socket, such as the journal's: see StdoutLog.
	AccessLog string
	// ErrorLog is stderr (default), an absolute path, or syslog:server=...
	ErrorLog string
	// Workers is the number of worker processes. 0 means one per core.
	Workers int
	// User is the user of the workers if nginx is started by root. Default: nginx's own, nobody, or root if nobody
	// cannot access Dir.
	User string
	// Timeout is how long an app may be silent before and during an answer. Default DefaultTimeout. Websockets have a
	// day.
	Timeout time.Duration
	// BodySize is the maximum size of a request body in bytes. Default DefaultBodySize; v1.Unlimited for no limit.
	BodySize int64
	// TrustedProxies are addresses and networks (CIDR) of proxies in front of nginx: their X-Forwarded-For, Forwarded
	// and similar headers are passed on. Those of other clients are replaced.
	TrustedProxies []string
	// ShutdownTimeout is how long connections may outlive a change of the configuration. Default
	// DefaultShutdownTimeout.
	ShutdownTimeout time.Duration
}

// The defaults of Settings and Route.
const (
	DefaultPrefix          = v1.DefaultAnnouncePrefix
	DefaultMaxFails        = 2
	DefaultFailTimeout     = 5 * time.Second
	DefaultTimeout         = 5 * time.Minute
	DefaultBodySize        = 1 << 30
	DefaultShutdownTimeout = 10 * time.Minute
)

// Input is everything that determines a configuration.
type Input struct {
	Settings
	Routes []Route
	// Keys are additional keys and values for a custom template.
	Keys map[string]string
	// Revision is the etcd revision of Routes and Keys. The status page shows it; a change of the revision alone causes
	// no reload.
	Revision int64
}

// Configuration is a validated Input that is safe to render.
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
	// Message says what is wrong and quotes the value, truncated.
	Message string `json:"message"`
}

// The reasons why something is not served.
const (
	ReasonInvalidApp      = "InvalidApp"      // the name of the app is not a DNS label
	ReasonInvalidInstance = "InvalidInstance" // the instance is not the name of a unit
	ReasonInvalidAddress  = "InvalidAddress"  // the value is not ip:port
	ReasonInvalidHost     = "InvalidHost"     // the host is not a host name
	ReasonInvalidValue    = "InvalidValue"    // the value of an additional key could change the structure of the configuration
	ReasonDuplicateApp    = "DuplicateApp"    // a second route of the same app
	ReasonHostTaken       = "HostTaken"       // the host belongs to an app that asked for it before
	ReasonNoHost          = "NoHost"          // the app has no hosts, and the router no --domain
	ReasonNotAccepted     = "NotAccepted"     // nginx -t refuses the configuration with it
	ReasonTemplateFailed  = "TemplateFailed"  // the router's --template fails with it
)

// Plan validates in. What cannot be rendered safely is left out of the result and listed in its Refused; the error is
// about Settings, without which nothing can run.
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

// planner collects the refusals and the app of each host.
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

// asked returns the lower-case host names that an app asks for, valid or not.
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

// since returns the route's Since for a host.
func (r Route) since(host string) int64 {
	if len(r.Hosts) == 0 {
		host = ""
	}
	if since := r.Since[host]; since > 0 {
		return since
	}
	return math.MaxInt64
}

// owners returns the app of each host. Of several routes of the same app the first counts.
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
		p.refuse(r.App, "", ReasonNoHost, "the app has no hosts and the router has no domain")
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
