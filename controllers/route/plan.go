package route

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// Input is everything that decides what nginx serves.
type Input struct {
	// Prefixes are the served directories, without trailing slash.
	Prefixes []string
	// All also serves endpoints that belong to no app or unit.
	All bool
	// Template: the operator's template configures nginx, and also reads keys that are not endpoints.
	Template bool
	// Domain completes the host name of an app without hosts: <app>.<domain>. Empty for none.
	Domain string
	// Endpoints are all keys below the prefixes: from full key to value.
	Endpoints map[string]string
	// Revisions are the etcd revisions of the last change below each prefix.
	Revisions map[string]int64
	// Routes are the apps' routes, by name; RoutesRevision is the revision of their last change.
	Routes         map[string]v1.AppRoute
	RoutesRevision int64
	// Trust says which endpoints may be served.
	Trust Trust
	// Published is what this router last published; nil if its record may not be in etcd.
	Published *v1.Router
}

// Decision is what to serve, and what to publish once it is served.
type Decision struct {
	// Table is what nginx has to serve. It includes apps that have no endpoints now: requests for their hosts get 503. It
	// lists the first maxRefused refusals; MoreRefused is the number of the others.
	Table       routing.Table
	MoreRefused int
	// Endpoints are the trusted ones that belong to an app or a unit; Apps are the routes they were planned with. The table
	// is made from both, and the state file stores them.
	Endpoints map[string]string
	Apps      map[string]v1.AppRoute
	// Untrusted: there are endpoints to which requests may not be sent.
	Untrusted bool
	// Served and RoutesRevision are what to publish.
	Served         map[string]v1.Served
	RoutesRevision int64
	// Publish: the published record is out of date. A new revision alone is published, too: that is how the app controller
	// learns that a withdrawn endpoint gets no more requests.
	Publish bool
}

// Plan makes the routing table. It validates every value, and leaves out what cannot be served, with a reason. It also leaves
// out endpoints that belong to no app or unit: a prefix may contain any keys, and serving them would cost every machine.
func Plan(in Input) Decision {
	p := planner{in: in, upstreams: map[string][]routing.Upstream{}, unaccepted: map[string]string{}}
	p.plan.Table.Keys, p.plan.Endpoints, p.plan.Apps = map[string]string{}, map[string]string{}, map[string]v1.AppRoute{}
	for app, r := range in.Routes {
		if slices.Contains(in.Prefixes, r.Prefix) {
			p.plan.Apps[app] = v1.AppRoute{Prefix: r.Prefix, Hosts: r.Hosts, Options: r.Options, DrainTimeout: r.DrainTimeout, Count: r.Count, Canary: r.Canary}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(in.Endpoints)) {
		p.key(key)
	}
	p.refuseUnaccepted()
	p.routes()
	p.plan.Table.Revision = in.RoutesRevision
	for _, r := range in.Revisions {
		p.plan.Table.Revision = max(p.plan.Table.Revision, r)
	}
	p.plan.Table.Refused, p.plan.MoreRefused = firstRefusals(p.refused)
	p.served()
	return p.plan
}

type planner struct {
	in         Input
	plan       Decision
	upstreams  map[string][]routing.Upstream // by app
	unaccepted map[string]string             // the app of each directory with unaccepted endpoints
	refused    []v1.RouteRefusal
}

// key classifies a key.
func (p *planner) key(key string) {
	prefix, value := p.prefixOf(key), p.in.Endpoints[key]
	app, instance, ok := strings.Cut(strings.TrimPrefix(key, prefix+"/"), "/")
	tree := p.isTree(prefix)
	switch {
	case tree && routing.IsPlain(key) && routing.IsPlain(value):
		p.plan.Table.Keys[key] = value
	case tree:
		p.refuse(app, key, reasonInvalidValue, "key and value are rendered into nginx's configuration, so none of ; { } # $ \" ' \\ ` and control characters may be in them: "+routing.Quote(value))
	case !ok || app == "" || instance == "" || strings.Contains(instance, "/"):
		p.refuse(app, key, reasonInvalidKey, "the key is not <prefix>/<app>/<instance>")
	case !p.accepts(prefix, app, instance):
		p.unaccepted[prefix+"/"+app] = app
	default:
		p.endpoint(prefix, app, routing.Upstream{Key: key, Instance: instance, Address: value})
	}
}

// endpoint adds an instance of an app, if requests may be sent to it.
func (p *planner) endpoint(prefix, app string, u routing.Upstream) {
	address, err := v1.ParseEndpoint(u.Address)
	if err == nil {
		if reason, message := p.in.Trust.refuse(u.Key, u.Address, address); reason != "" {
			p.plan.Untrusted = true
			p.refuse(app, u.Key, reason, message)
			return
		}
	}
	if _, known := p.plan.Apps[app]; !known {
		p.plan.Apps[app] = v1.AppRoute{Prefix: prefix}
	}
	p.plan.Endpoints[u.Key] = u.Address
	switch {
	case !v1.IsLabel(app): // refused as a whole
	case !instancePattern.MatchString(u.Instance):
		p.refuse(app, u.Key, reasonInvalidInstance, "want the name of an instance such as example-app@1, not "+routing.Quote(u.Instance))
	case err != nil:
		p.refuse(app, u.Key, reasonInvalidAddress, err.Error())
	default:
		u.Address = address.String()
		p.upstreams[app] = append(p.upstreams[app], u)
	}
}

var instancePattern = regexp.MustCompile(`^[A-Za-z0-9:_.@-]{1,255}$`)

// routes makes the route of each app that has a host.
func (p *planner) routes() {
	apps := slices.Sorted(maps.Keys(p.plan.Apps))
	owners := p.owners(apps)
	for _, app := range apps {
		if !v1.IsLabel(app) {
			p.refuse(app, "", reasonInvalidApp, "the name of an app is 1 to 63 letters a-z, digits and dashes, not "+routing.Quote(app))
			continue
		}
		r := routing.Route{App: app, Prefix: p.plan.Apps[app].Prefix, Hosts: p.hosts(app, owners), Upstreams: weighted(p.upstreams[app], p.plan.Apps[app].Canary)}
		if len(r.Hosts) == 0 {
			continue
		}
		options := p.plan.Apps[app].Options
		r.BodySize = options.MaxBody()
		if options != nil && options.Timeout >= 0 && options.Timeout.Std() <= v1.MaxRouteTimeout {
			r.Timeout = options.Timeout.Std()
		}
		r.DrainTimeout = max(0, p.plan.Apps[app].DrainTimeout.Std())
		if count := p.plan.Apps[app].Count; !strings.ContainsFunc(count, func(c rune) bool { return c < '0' || c > '9' }) {
			r.Count = count
		}
		p.plan.Table.Routes = append(p.plan.Table.Routes, r)
	}
}

// accepts reports whether the endpoint belongs to an app or a unit, or everything is served.
func (p *planner) accepts(prefix, app, instance string) bool {
	r, known := p.in.Routes[app]
	if !known {
		other, there := p.plan.Apps[app]
		return p.in.All && (!there || other.Prefix == prefix) // of one name below two prefixes, only the first is served
	}
	return r.Prefix == prefix && (p.in.All || len(r.Units) == 0 || slices.Contains(r.Units, instance))
}

// prefixOf is the longest prefix of a key.
func (p *planner) prefixOf(key string) string {
	longest := ""
	for _, prefix := range p.in.Prefixes {
		if strings.HasPrefix(key, prefix+"/") && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	return longest
}

// isTree reports whether the prefix only has keys for the operator's template, and no app announces anything there.
func (p *planner) isTree(prefix string) bool {
	if !p.in.Template || prefix == v1.DefaultAnnouncePrefix {
		return false
	}
	for _, r := range p.in.Routes {
		if r.Prefix == prefix {
			return false
		}
	}
	return true
}

// served assembles what to publish.
func (p *planner) served() {
	p.plan.Served, p.plan.RoutesRevision = map[string]v1.Served{}, p.in.RoutesRevision
	for _, prefix := range p.in.Prefixes {
		below := p.in.Endpoints
		if len(p.in.Prefixes) > 1 {
			below = maps.Clone(below)
			maps.DeleteFunc(below, func(key, _ string) bool { return !strings.HasPrefix(key, prefix+"/") })
		}
		p.plan.Served[prefix] = v1.Served{Revision: p.in.Revisions[prefix], Digest: v1.EndpointsDigest(below)}
	}
	was := p.in.Published
	p.plan.Publish = was == nil || was.Routes != p.plan.RoutesRevision || !maps.Equal(was.Served, p.plan.Served)
}
