package nginx

import (
	"maps"
	"reflect"
	"slices"
	"time"
)

// memory is what nginx -t said of apps before: it is not asked once more about what is as it was, so that a change costs as
// many tests as it has apps that are refused, however many were refused earlier.
type memory struct {
	keys     map[string]string // that the template was given
	accepted map[string]Route  // by app: the last configuration that nginx took
	verdicts map[string]verdict
}

// verdict is what is left of a refused app.
type verdict struct {
	asked   Route
	kept    []Route // none, or the app with some of its endpoints
	refused []Refused
	until   time.Time
}

// verdictFor is how long a refusal is taken for granted. It may have had a reason outside of the app, such as a name server;
// then the app is tried again with the first change that comes later.
const verdictFor = 10 * time.Minute

// without puts what is left of the apps that were refused as they are in their place.
func (m *memory) without(c Configuration, now time.Time) Configuration {
	if !maps.Equal(m.keys, c.Keys) {
		*m = memory{keys: maps.Clone(c.Keys)}
	}
	maps.DeleteFunc(m.verdicts, func(_ string, v verdict) bool { return !now.Before(v.until) })
	if len(m.verdicts) == 0 {
		return c
	}
	routes := make([]Route, 0, len(c.Routes))
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

// refuse remembers what was refused of an app.
func (m *memory) refuse(v verdict) {
	if m.verdicts == nil {
		m.verdicts = map[string]verdict{}
	}
	m.verdicts[v.asked.App] = v
}

// accept remembers the configuration that nginx took.
func (m *memory) accept(c Configuration) {
	m.accepted = make(map[string]Route, len(c.Routes))
	for _, route := range c.Routes {
		m.accepted[route.App] = route
	}
}

// split tells the routes that nginx took last as they are from those that are new or changed.
func (m *memory) split(routes []Route) (known, changed []Route) {
	for _, route := range routes {
		if before, ok := m.accepted[route.App]; ok && reflect.DeepEqual(before, route) {
			known = append(known, route)
		} else {
			changed = append(changed, route)
		}
	}
	return known, changed
}
