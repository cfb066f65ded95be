package nginx

import (
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// separate returns the routes whose hosts are data, as endpoints are, and those that have a server of their own in nginx's
// configuration, because limits cannot be data. Where such a server has *.domain, nginx finds it before the data: who has a host below
// it has a server, too.
func separate(routes []routing.Route) (shared, own []routing.Route) {
	domains := map[string]bool{} // of own
	isOwn := func(r routing.Route) bool {
		return r.Timeout != 0 || r.BodySize != 0 || slices.ContainsFunc(r.Hosts, func(host string) bool { return isBelow(host, domains) })
	}
	for rest := routes; ; rest = shared {
		var found []routing.Route
		shared = nil
		for _, r := range rest {
			if isOwn(r) {
				found = append(found, r)
			} else {
				shared = append(shared, r)
			}
		}
		if len(found) == 0 {
			return shared, sorted(own)
		}
		own = append(own, found...)
		before := len(domains)
		for _, r := range found {
			for _, host := range r.Hosts {
				if domain, is := strings.CutPrefix(host, "*."); is {
					domains[domain] = true
				}
			}
		}
		if len(domains) == before {
			return shared, sorted(own)
		}
	}
}

// isBelow reports whether a host, or *.domain, is below one of the domains.
func isBelow(host string, domains map[string]bool) bool {
	if len(domains) == 0 {
		return false
	}
	for {
		_, domain, ok := strings.Cut(host, ".")
		if !ok {
			return false
		}
		if domains[domain] {
			return true
		}
		host = domain
	}
}

// hostsOf returns the hosts of a table, with their apps. A host of an app with a server of its own is there if it was before: until nginx
// has that server, requests go on.
func hostsOf(routes []routing.Route, before map[string]string) map[string]string {
	shared, own := separate(routes)
	hosts := make(map[string]string, len(routes))
	for _, r := range shared {
		for _, host := range r.Hosts {
			hosts[host] = r.App
		}
	}
	for _, r := range own {
		for _, host := range r.Hosts {
			if _, was := before[host]; was {
				hosts[host] = r.App
			}
		}
	}
	return hosts
}

// withoutBadHosts returns the hosts of a route that a table can have.
func withoutBadHosts(r routing.Route) (good []string, refused []v1.RouteRefusal) {
	for _, host := range r.Hosts {
		if v1.IsRouteHost(host) {
			good = append(good, host)
			continue
		}
		refused = append(refused, v1.RouteRefusal{App: r.App, Reason: ReasonNotAccepted, Message: fmt.Sprintf("host %s: want a host name", routing.Quote(host))})
	}
	return good, refused
}
