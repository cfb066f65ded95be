package route

import (
	"maps"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// Why an app, a host or an endpoint is left out.
const (
	reasonUntrusted       = "UntrustedAddress" // no machine of the cluster has the address, and --allow-endpoints does not allow it
	reasonReserved        = "ReservedPort"     // the port is that of fleetd's API, of etcd or of the routers
	reasonNoApp           = "NoApp"            // no App of the name is announced there, and no unit has the name of the instance
	reasonInvalidKey      = "InvalidKey"       // the key is not <prefix>/<app>/<instance>
	reasonInvalidApp      = "InvalidApp"       // the name of the app is not a DNS label
	reasonInvalidInstance = "InvalidInstance"  // the instance is not the name of a unit
	reasonInvalidAddress  = "InvalidAddress"   // the value is not ip:port
	reasonInvalidHost     = "InvalidHost"      // the host is not a host name
	reasonInvalidValue    = "InvalidValue"     // the value of an additional key could change the structure of nginx's configuration
	reasonHostTaken       = "HostTaken"        // the host belongs to an app that asked for it earlier
	reasonNoHost          = "NoHost"           // the app has no hosts, and the router no --domain
)

const (
	// maxRefused is how many refusals are listed. There can be more foreign keys than fit into a value of etcd, and a router
	// that could not publish what it serves would block every roll-out.
	maxRefused = 100
	// maxUnaccepted is how many directories without an app are listed: this router is not concerned with them.
	maxUnaccepted = 3
)

// refuse leaves out a key, or an app or one of its hosts if the key is empty.
func (p *planner) refuse(app, key, reason, message string) {
	if key == "" && app != "" && !v1.IsLabel(app) {
		app = routing.Quote(app)
	}
	p.refused = append(p.refused, v1.RouteRefusal{App: app, Key: key, Reason: reason, Message: message})
}

// refuseUnaccepted lists the first directories whose endpoints belong to no app or unit.
func (p *planner) refuseUnaccepted() {
	directories := slices.Sorted(maps.Keys(p.unaccepted))
	for _, directory := range directories[:min(len(directories), maxUnaccepted)] {
		p.refuse(p.unaccepted[directory], directory, reasonNoApp,
			"no App of that name is announced there, and no unit has the name of the instance: it is served with the router's --all-endpoints only")
	}
}

// firstRefusals sorts refusals, and returns those to list and the number of the others. The last refusal of a key or app
// counts.
func firstRefusals(refused []v1.RouteRefusal) (first []v1.RouteRefusal, more int) {
	bySubject := map[string]v1.RouteRefusal{}
	for _, r := range refused {
		bySubject[r.Subject()] = r
	}
	all := slices.SortedFunc(maps.Values(bySubject), v1.CompareRefusals)
	first = all[:min(len(all), maxRefused)]
	return first, len(all) - len(first)
}
