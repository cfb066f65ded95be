package nginx

import (
	"maps"
	"reflect"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// memory records the results of nginx -t for apps: unchanged ones are not tested again, so that a change costs as many
// tests as it has refused apps, however many were refused earlier.
type memory struct {
	keys     map[string]string        // passed to the template
	accepted map[string]routing.Route // by app: the last configuration that nginx accepted
	verdicts map[string]verdict
}

// verdict is what remains of a refused app.
type verdict struct {
	asked   routing.Route
	kept    []routing.Route // none, or the app with some of its endpoints
	refused []v1.RouteRefusal
	until   time.Time
}

// verdictFor is how long a refusal is remembered. Its cause may be outside the app, such as a name server; the app is
// tried again with the first change after that.
const verdictFor = 10 * time.Minute

// without replaces the apps that were refused in their current form by what remains of them.
func (m *memory) without(c Configuration, now time.Time) Configuration {
	if !maps.Equal(m.keys, c.Keys) {
		*m = memory{keys: maps.Clone(c.Keys)}
	}
	maps.DeleteFunc(m.verdicts, func(_ string, v verdict) bool { return !now.Before(v.until) })
	if len(m.verdicts) == 0 {
		return c
	}
	routes := make([]routing.Route, 0, len(c.Routes))
	c.Refused = slices.Clone(c.Refused)
	for _, route := range c.Routes {
		v, known := m.verdicts[route.App]
		if !known || !reflect.DeepEqual(v.asked, route) {
			routes = append(routes, route)
			continue
		}
		routes = append(routes, v.kept...)
		c.Refused = append(c.Refused, v.refused...)
	}
	c.Routes = routes
	return c
}

// refuse remembers a refusal of an app.
func (m *memory) refuse(v verdict) {
	if m.verdicts == nil {
		m.verdicts = map[string]verdict{}
	}
	m.verdicts[v.asked.App] = v
}

// accept remembers the configuration that nginx accepted.
func (m *memory) accept(c Configuration) {
	m.accepted = make(map[string]routing.Route, len(c.Routes))
	for _, route := range c.Routes {
		m.accepted[route.App] = route
	}
}

// split separates the routes that nginx last accepted in their current form from new and changed ones.
func (m *memory) split(routes []routing.Route) (known, changed []routing.Route) {
	for _, route := range routes {
		if before, ok := m.accepted[route.App]; ok && reflect.DeepEqual(before, route) {
			known = append(known, route)
		} else {
			changed = append(changed, route)
		}
	}
	return known, changed
}
