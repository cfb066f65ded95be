package route

import (
	"maps"
	"math"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// claim is a host that an app asks for, and the revision since when.
type claim struct {
	host  string
	since int64
}

// claims are the hosts that an app asks for, in lower case, valid or not.
func (p *planner) claims(app string) (claims []claim) {
	since := p.plan.Apps[app].Hosts
	for _, host := range slices.Sorted(maps.Keys(since)) {
		if host != "" {
			host = strings.ToLower(host)
			claims = append(claims, claim{host, since[host]})
		}
	}
	if len(claims) == 0 && p.in.Domain != "" {
		claims = append(claims, claim{app + "." + p.in.Domain, since[""]})
	}
	for i := range claims {
		if claims[i].since <= 0 { // unknown
			claims[i].since = math.MaxInt64
		}
	}
	return claims
}

// owners returns the apps of all hosts. Of two apps with the same host, the one that has had it longer keeps it; apps for
// which that is unknown come last, in alphabetical order.
func (p *planner) owners(apps []string) map[string]string {
	owners, since := map[string]string{}, map[string]int64{}
	for _, app := range apps {
		if !v1.IsLabel(app) {
			continue
		}
		for _, c := range p.claims(app) {
			if _, taken := owners[c.host]; !taken || c.since < since[c.host] {
				owners[c.host], since[c.host] = app, c.since
			}
		}
	}
	return owners
}

// hosts returns the hosts that the app gets, sorted.
func (p *planner) hosts(app string, owners map[string]string) (hosts []string) {
	claims := p.claims(app)
	if len(claims) == 0 {
		p.refuse(app, "", reasonNoHost, "the app has no hosts and the router has no domain")
	}
	for _, c := range claims {
		switch owner := owners[c.host]; {
		case !v1.IsRouteHost(c.host):
			p.refuse(app, "", reasonInvalidHost, "want a host name such as www.example.com or *.example.com, not "+routing.Quote(c.host))
		case owner != app:
			p.refuse(app, "", reasonHostTaken, "host "+c.host+" belongs to app "+owner)
		case !slices.Contains(hosts, c.host):
			hosts = append(hosts, c.host)
		}
	}
	slices.Sort(hosts)
	return hosts
}
