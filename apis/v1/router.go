package v1

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"
)

// AppRoute is all that routers need to know of an app. Kept at routes/<app>.
type AppRoute struct {
	// UID is the app's. Empty where no App describes what is announced: see Units.
	UID string `json:"uid,omitempty"`
	// Prefix is the announce prefix: the app's endpoints are <prefix>/<app>/<instance>.
	Prefix string `json:"prefix"`
	// Hosts are the host names that the app asks for, in small letters, each with the etcd revision since when it has: of two
	// apps the one that asked first has the host. "" is <app>.<domain of the router>.
	Hosts map[string]int64 `json:"hosts,omitempty"`
	// Options are the options of spec.route, without its hosts.
	Options *Route `json:"options,omitempty"`
	// Units are the instances, such as example-app@1, that are announced by hand and are units of the cluster. Where no App
	// is announced under this name, the endpoints of these instances are served, and no others.
	Units []string `json:"units,omitempty"`
}

// RouteOf is what a revision says to routers; nil where it announces nothing. uid is the revision that created the app: it
// has a host since a manifest first asked for it, but never for longer than there is an app of that name.
func RouteOf(r *Revision, uid int64) *AppRoute {
	if r.Spec.Announce == nil {
		return nil
	}
	route := &AppRoute{UID: strconv.FormatInt(uid, 10), Prefix: cmp.Or(r.Spec.Announce.Prefix, DefaultAnnouncePrefix), Hosts: map[string]int64{}}
	for _, host := range r.Spec.RouteHosts() {
		route.Hosts[host] = max(r.Since(host), uid)
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

// Router says what one machine's nginx serves now. Kept at routers/<machine> for as long as the router lives.
type Router struct {
	// Revision and Digest are those of /services/web in Served, or of the first prefix. Fleetd before routes/ reads no others.
	Revision int64  `json:"revision"`
	Digest   string `json:"digest"`
	// Prefixes are the announce prefixes that it serves, sorted. Default /services/web.
	Prefixes []string `json:"prefixes,omitempty"`
	// Served says for each prefix which endpoints are served.
	Served map[string]Served `json:"served,omitempty"`
	// Routes is the etcd revision of the last change to routes/ that is served.
	Routes int64 `json:"routes,omitempty"`
	// Failing says that the router cannot apply what it knows; what it served before goes on.
	Failing *RouterFailure `json:"failing,omitempty"`
	// Refused are the endpoints and apps that were left out, with the reason.
	Refused map[string]string `json:"refused,omitempty"`
}

// Served is how far a router is with the endpoints below one prefix.
type Served struct {
	// Revision is the etcd revision of the last change that is served.
	Revision int64 `json:"revision"`
	// Digest is EndpointsDigest of all endpoints below the prefix.
	Digest string `json:"digest"`
}

// RouterFailure is why a router cannot apply what it knows.
type RouterFailure struct {
	Since   time.Time `json:"since"`
	Message string    `json:"message"`
}

// RouterPatience is how long a router that is failing is waited for. Then requests that it sends to an instance which is
// gone are lost, which is better than a cluster in which nothing can be replaced.
const RouterPatience = time.Minute

// Below returns what the router serves below a prefix. ok is false where it does not serve that prefix.
func (r Router) Below(prefix string) (served Served, ok bool) {
	if r.Served == nil { // written by an older version
		return Served{r.Revision, r.Digest}, prefix == DefaultAnnouncePrefix
	}
	served, ok = r.Served[prefix]
	return served, ok
}

// HasRoute reports whether the router serves the app's hosts as routes/<app> says at that revision. Older routers read
// the accepted revisions, and do not say so.
func (r Router) HasRoute(revision int64) bool { return r.Served == nil || r.Routes >= revision }

// EndpointSet is the state of all endpoints below one prefix.
type EndpointSet struct {
	Prefix string
	// Revision is the etcd revision of their last change.
	Revision int64
	// Digest is EndpointsDigest of them; "" where it was not computed.
	Digest string
}

// RoutersBehind returns the machines, sorted, whose routers do not serve the endpoints as they are below each of the
// prefixes. Routers that do not serve a prefix are not behind with it.
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

// behind: it has not applied the last change, and does not happen to serve the very endpoints that there are.
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

// RoutersToWaitFor leaves out the routers that have been failing for longer than RouterPatience. after is when the next
// one has been, 0 where none is failing.
func RoutersToWaitFor(routers map[string]Router, now time.Time) (waitFor map[string]Router, after time.Duration) {
	waitFor = maps.Clone(routers)
	for machine, r := range routers {
		if r.Failing == nil {
			continue
		}
		left := RouterPatience - now.Sub(r.Failing.Since)
		switch {
		case left <= 0:
			delete(waitFor, machine)
		case after == 0 || left < after:
			after = min(left, RouterPatience) // its clock may be ahead
		}
	}
	return waitFor, after
}
