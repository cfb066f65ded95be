package route

import (
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Input is everything that decides what nginx should serve.
type Input struct {
	// Prefixes are the directories that are served, without a slash at their end.
	Prefixes []string
	// All has endpoints served that are of no app and of no unit.
	All bool
	// Template: nginx is configured by a template of the operator's, which reads keys that are no endpoints, too.
	Template bool
	// Endpoints are all keys below the prefixes: the whole key to ip:port.
	Endpoints map[string]string
	// Revisions are the etcd revisions of the last change below each prefix.
	Revisions map[string]int64
	// Routes are what is known of apps, by name; RoutesRevision is that of their last change.
	Routes         map[string]v1.AppRoute
	RoutesRevision int64
	// Trust says which endpoints may be served.
	Trust Trust
	// Published is what this router said last that it serves; nil when nothing is known to be in etcd.
	Published *v1.Router
}

// Route is one app and where its instances listen.
type Route struct {
	App string
	// Prefix is the directory that its endpoints are below.
	Prefix string
	// Hosts are the host names, sorted; none means the app's name in the router's domain.
	Hosts []string
	// Since is since when the app has each of its hosts, as v1.AppRoute has it.
	Since map[string]int64
	// Options are those of the app's spec.route; nil for none.
	Options *v1.Route
	// Endpoints are this app's part of Input.Endpoints.
	Endpoints map[string]string
}

// Decision is what to serve, and what to say of it once it is served.
type Decision struct {
	// Routes are sorted by app. An app without endpoints at the moment is among them: its hosts are
	// known, and answered with 503.
	Routes []Route
	// Keys are those that only a template reads.
	Keys map[string]string
	// Stray are keys of endpoints that are not <app>/<instance>.
	Stray []string
	// Unaccepted are directories of endpoints of which some, or all, are of no app and of no unit.
	Unaccepted []string
	// Untrusted are endpoints that requests may not be sent to, each with the reason.
	Untrusted map[string]v1.RouteRefusal
	// Served and RoutesRevision are what to say.
	Served         map[string]v1.Served
	RoutesRevision int64
	// Publish says that what was published is out of date. A new revision alone is published too: that is
	// how the app controller learns that a withdrawn endpoint gets no more requests.
	Publish bool
}

// Plan sorts endpoints into the routes of apps. What is announced of no app and of no unit is left out: anything may lie
// below a prefix, and to serve it would cost every machine.
func Plan(in Input) Decision {
	p := planner{in: in, routes: map[string]*Route{}, unaccepted: map[string]bool{}}
	for app, r := range in.Routes {
		if slices.Contains(in.Prefixes, r.Prefix) {
			p.routes[app] = newRoute(app, r)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(in.Endpoints)) {
		p.key(key)
	}
	for _, app := range slices.Sorted(maps.Keys(p.routes)) {
		p.plan.Routes = append(p.plan.Routes, *p.routes[app])
	}
	p.plan.Unaccepted = slices.Sorted(maps.Keys(p.unaccepted))
	p.served()
	return p.plan
}

type planner struct {
	in         Input
	plan       Decision
	routes     map[string]*Route
	unaccepted map[string]bool
}

func newRoute(app string, r v1.AppRoute) *Route {
	route := &Route{App: app, Prefix: r.Prefix, Since: r.Hosts, Options: r.Options, Endpoints: map[string]string{}}
	for _, host := range slices.Sorted(maps.Keys(r.Hosts)) {
		if host != "" {
			route.Hosts = append(route.Hosts, host)
		}
	}
	return route
}

// key finds out what a key is.
func (p *planner) key(key string) {
	prefix := p.prefixOf(key)
	if p.isTree(prefix) {
		if p.plan.Keys == nil {
			p.plan.Keys = map[string]string{}
		}
		p.plan.Keys[key] = p.in.Endpoints[key]
		return
	}
	app, instance, ok := strings.Cut(strings.TrimPrefix(key, prefix+"/"), "/")
	if !ok || app == "" || instance == "" || strings.Contains(instance, "/") {
		p.plan.Stray = append(p.plan.Stray, key)
		return
	}
	if !p.accepts(prefix, app, instance) {
		p.unaccepted[prefix+"/"+app] = true
		return
	}
	if reason, message := p.in.Trust.refuse(key, p.in.Endpoints[key]); reason != "" {
		if p.plan.Untrusted == nil {
			p.plan.Untrusted = map[string]v1.RouteRefusal{}
		}
		p.plan.Untrusted[key] = v1.RouteRefusal{App: app, Key: key, Reason: reason, Message: message}
		return
	}
	if p.routes[app] == nil {
		p.routes[app] = &Route{App: app, Prefix: prefix, Endpoints: map[string]string{}}
	}
	p.routes[app].Endpoints[key] = p.in.Endpoints[key]
}

// accepts: the endpoint is one of an app, or of a unit, or everything is to be served.
func (p *planner) accepts(prefix, app, instance string) bool {
	r, known := p.in.Routes[app]
	if !known {
		other := p.routes[app]
		return p.in.All && (other == nil || other.Prefix == prefix) // of one name below two prefixes there is the first
	}
	return r.Prefix == prefix && (p.in.All || len(r.Units) == 0 || slices.Contains(r.Units, instance))
}

// prefixOf is the longest prefix that a key lies below.
func (p *planner) prefixOf(key string) string {
	longest := ""
	for _, prefix := range p.in.Prefixes {
		if strings.HasPrefix(key, prefix+"/") && len(prefix) > len(longest) {
			longest = prefix
		}
	}
	return longest
}

// isTree: below the prefix are keys for the operator's template, and no app announces anything there.
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

// served puts together what to publish.
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
