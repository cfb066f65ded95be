package route

import (
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Input is everything that decides what nginx should serve.
type Input struct {
	// Prefix is the directory of the endpoints, without a slash at its end.
	Prefix string
	// Endpoints are the announced instances: the whole key to ip:port.
	Endpoints map[string]string
	// Revision is the etcd revision of the last change of the endpoints.
	Revision int64
	// Specs are the last accepted revision of each app.
	Specs []v1.Revision
	// Apps are those that there are, with the revision that each was created at. nil: that is not known.
	Apps map[string]int64
	// Published is what this router said last that it serves; nil when nothing is known to be in etcd.
	Published *v1.Router
}

// Route is one app and where its instances listen.
type Route struct {
	App string
	// Hosts are the host names; none means the app's name in the router's domain.
	Hosts []string
	// Since is since when the app has each of its hosts, by v1.AppSpec.RouteHosts.
	Since map[string]int64
	// Endpoints are this app's part of Input.Endpoints.
	Endpoints map[string]string
}

// Decision is what to serve, and what to say of it once it is served.
type Decision struct {
	// Routes are sorted by app. An app that nobody announces at the moment is among them: its hosts are
	// known, and answered with 503.
	Routes []Route
	// Stray are keys below the prefix that are not <app>/<instance>.
	Stray []string
	// Digest names the set of endpoints.
	Digest string
	// Publish says that what was published is out of date. A new revision alone is published too: that is
	// how the app controller learns that a withdrawn endpoint gets no more requests.
	Publish bool
}

// Plan sorts endpoints and accepted specs into routes. Whoever announces below the prefix is routed,
// with or without an App: so it is in the seed.
func Plan(in Input) Decision {
	routes := map[string]*Route{}
	for _, r := range in.Specs {
		if r.Spec.Announce == nil || r.Spec.Announce.Prefix != "" && r.Spec.Announce.Prefix != in.Prefix {
			continue
		}
		route := &Route{App: r.Metadata.Name, Since: since(in, r), Endpoints: map[string]string{}}
		if r.Spec.Route != nil {
			route.Hosts = r.Spec.Route.Hosts
		}
		routes[route.App] = route
	}
	plan := Decision{Digest: v1.EndpointsDigest(in.Endpoints)}
	for _, key := range slices.Sorted(maps.Keys(in.Endpoints)) {
		app, instance, ok := strings.Cut(strings.TrimPrefix(key, in.Prefix+"/"), "/")
		if !ok || app == "" || instance == "" || strings.Contains(instance, "/") {
			plan.Stray = append(plan.Stray, key)
			continue
		}
		if routes[app] == nil {
			routes[app] = &Route{App: app, Endpoints: map[string]string{}}
		}
		routes[app].Endpoints[key] = in.Endpoints[key]
	}
	for _, app := range slices.Sorted(maps.Keys(routes)) {
		plan.Routes = append(plan.Routes, *routes[app])
	}
	plan.Publish = in.Published == nil || in.Published.Revision != in.Revision || in.Published.Digest != plan.Digest
	return plan
}

// since is since when an app has its hosts: never longer than there has been an app of that name. One that was deleted
// and has instances left, or nothing more than its revisions, has no claim to any.
func since(in Input, r v1.Revision) map[string]int64 {
	created, there := in.Apps[r.Metadata.Name]
	if !there && in.Apps != nil {
		return nil
	}
	since := map[string]int64{}
	for _, host := range r.Spec.RouteHosts() {
		since[host] = max(r.Since(host), created)
	}
	return since
}
