package v1

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// AppRoute is what routers need to know about an app. Stored at routes/<app>.
type AppRoute struct {
	// UID is the app's UID. Empty if no App describes the endpoints: see Units.
	UID string `json:"uid,omitempty"`
	// Prefix is the announce prefix. Endpoints are at <prefix>/<app>/<instance>.
	Prefix string `json:"prefix"`
	// Hosts are the app's host names in lowercase, each with the etcd revision at which the app first asked for it. If
	// two apps ask for one host, the lower revision wins. "" stands for <app>.<domain of the router>.
	Hosts map[string]int64 `json:"hosts,omitempty"`
	// Options are the options of spec.route, without its hosts.
	Options *Route `json:"options,omitempty"`
	// DrainTimeout is spec.update.drainTimeout where that is set. See Drain.
	DrainTimeout Duration `json:"drainTimeout,omitempty"`
	// Count asks the routers to count the responses of each endpoint anew, while a canary is compared; empty if none is.
	Count string `json:"count,omitempty"`
	// Canary shares out the requests while a canary with a weight is there; nil: each instance gets as many.
	Canary *RouteCanary `json:"canary,omitempty"`
	// Units are instances, such as example-app@1, that run as units of the cluster and are announced by hand. If no App
	// of this name is announced, only these instances' endpoints are served.
	Units []string `json:"units,omitempty"`
}

// RouteCanary is the share of requests that the instances of a canary get.
type RouteCanary struct {
	// Percent is what they get together.
	Percent int32 `json:"percent"`
	// Units are the canary's instances, such as example-app@4; Fresh those of the revision before that it is compared with.
	Units []string `json:"units"`
	Fresh []string `json:"fresh"`
}

// Drain is how long a router waits for requests that are under way to an endpoint that was withdrawn.
func (r *AppRoute) Drain() time.Duration {
	if r == nil || r.DrainTimeout == 0 {
		return DefaultDrainTimeout
	}
	return r.DrainTimeout.Std()
}

// RouteOf returns the route of a revision, nil if it does not announce. uid is the revision that created the app: it
// caps how old a claim to a host can be, so a deleted app of the same name does not count.
func RouteOf(r *Revision, uid int64) *AppRoute {
	if r.Spec.Announce == nil {
		return nil
	}
	route := &AppRoute{UID: strconv.FormatInt(uid, 10), Prefix: cmp.Or(r.Spec.Announce.Prefix, DefaultAnnouncePrefix), Hosts: map[string]int64{}}
	for _, host := range r.Spec.RouteHosts() {
		route.Hosts[host] = max(r.Since(host), uid)
	}
	if r.Spec.Update != nil {
		route.DrainTimeout = r.Spec.Update.DrainTimeout
	}
	if r.Spec.Route != nil {
		options := *r.Spec.Route
		options.Hosts = nil
		if !reflect.ValueOf(options).IsZero() {
			route.Options = &options
		}
	}
	return route
}

// Router is what one machine's nginx serves now. Stored at routers/<machine> while the router's lease lives.
type Router struct {
	// Revision and Digest repeat those of Served for /services/web, or for the first prefix. Versions of fleetd before
	// routes/ read only these.
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
	// Prefixes are the announce prefixes that the router serves, sorted. Default /services/web.
	Prefixes []string `json:"prefixes,omitempty"`
	// Served is, for each prefix, what is served.
	Served map[string]Served `json:"served,omitempty"`
	// Routes is the etcd revision of the last change to routes/ that is being served.
	Routes int64 `json:"routes,omitempty"`
	// Draining are the withdrawn endpoints to which nginx still has requests under way, sorted by endpoint: see RoutersDraining.
	Draining []Draining `json:"draining,omitempty"`
	// Counts are the responses of the endpoints of apps whose route asks for that, sorted by endpoint.
	Counts []EndpointCounts `json:"counts,omitempty"`
	// Reloads is why each change of endpoints reloads this machine's nginx, and requests under way are not counted; empty if
	// endpoints change without a reload.
	Reloads string `json:"reloads,omitempty"`
	// Failing is set while the router cannot apply its configuration and keeps serving the previous one.
	Failing *RouterFailure `json:"failing,omitempty"`
	// Refusals are the apps and endpoints that are left out, in the order of CompareRefusals; MoreRefusals is how many there are
	// beside these. See LeftOut.
	Refusals     []RouteRefusal `json:"refusals,omitempty"`
	MoreRefusals int            `json:"moreRefusals,omitempty"`
	// Refused says the same as text: see RefusalTexts.
	Refused map[string]string `json:"refused,omitempty"`
}

// Served is a router's progress with the endpoints of one prefix.
type Served struct {
	// Revision is the etcd revision of the last change that is being served.
	Revision int64 `json:"revision"`
	// Digest is the EndpointsDigest of all endpoints under the prefix. It is empty while nginx may serve another one: it has it, or may
	// take it late.
	Digest string `json:"digest"`
}

// EndpointCounts are the responses of an endpoint that a router has counted since an app has asked for that.
type EndpointCounts struct {
	// Endpoint is the etcd key that announced it, Token AppRoute.Count.
	Endpoint string `json:"endpoint"`
	Token    string `json:"token"`
	// Errors are those with a status from 500 on. Latency are all responses by the time until their header came: the first ones
	// within 1 ms, the next ones within 2 ms, 4 ms and so on.
	Errors  int64   `json:"errors"`
	Latency []int64 `json:"latency"`
}

// Draining is a withdrawn endpoint with requests under way at one router.
type Draining struct {
	// Endpoint is the etcd key that announced it, Address what it had.
	Endpoint string `json:"endpoint"`
	Address  string `json:"address"`
	// Since is when the router stopped sending requests there.
	Since time.Time `json:"since"`
	// Requests are those under way when this was written. Streams are websockets and event streams, which are not waited for:
	// they end with the instance.
	Requests int `json:"requests"`
	Streams  int `json:"streams,omitempty"`
}

// RoutersDraining returns the machines, sorted, whose routers have requests under way to a withdrawn endpoint. name is what
// follows the announce prefix, such as example-app/example-app@1; with a slash at its end, it stands for all below.
func RoutersDraining(routers map[string]Router, name string) []string {
	var draining []string
	for machine, r := range routers {
		if slices.ContainsFunc(r.Draining, func(d Draining) bool {
			return strings.HasSuffix(d.Endpoint, "/"+name) || strings.HasSuffix(name, "/") && strings.Contains(d.Endpoint, "/"+name)
		}) {
			draining = append(draining, machine)
		}
	}
	slices.Sort(draining)
	return draining
}

// RouterFailure is why a router cannot apply its configuration. A failing router has acknowledged what Served and Draining say, and no
// more: it is waited for until it works again, or its lease ends.
type RouterFailure struct {
	Since   time.Time `json:"since"`
	Message string    `json:"message"`
}

// Below returns what the router serves under a prefix. ok is false if it does not serve the prefix.
func (r Router) Below(prefix string) (served Served, ok bool) {
	if r.Served == nil { // written by an older version
		return Served{r.Revision, r.Digest}, prefix == DefaultAnnouncePrefix
	}
	served, ok = r.Served[prefix]
	return served, ok
}

// HasRoute reports whether the router serves routes/<app> as of that revision. Older routers read the accepted revisions
// and do not report it: true.
func (r Router) HasRoute(revision int64) bool { return r.Served == nil || r.Routes >= revision }

// EndpointSet is the state of all endpoints under one prefix.
type EndpointSet struct {
	Prefix string
	// Revision is the etcd revision of their last change.
	Revision int64
	// Digest is their EndpointsDigest; "" if not computed.
	Digest string
}

// RoutersBehind returns the machines, sorted, whose routers do not yet serve the given endpoints. A router that does not
// serve a prefix is not behind on it.
func RoutersBehind(routers map[string]Router, announced ...EndpointSet) []string {
	var behind []string
	for machine, r := range routers {
		if slices.ContainsFunc(announced, r.behind) {
			behind = append(behind, machine)
		}
	}
	slices.Sort(behind)
	return behind
}

// behind reports whether the router has neither applied the last change nor serves the same endpoints anyway.
func (r Router) behind(announced EndpointSet) bool {
	served, ok := r.Below(announced.Prefix)
	return ok && served.Revision < announced.Revision && (announced.Digest == "" || served.Digest != announced.Digest)
}

// RoutersOf returns the routers that serve a prefix.
func RoutersOf(routers map[string]Router, prefix string) map[string]Router {
	of := maps.Clone(routers)
	maps.DeleteFunc(of, func(_ string, r Router) bool { _, ok := r.Below(prefix); return !ok })
	return of
}
