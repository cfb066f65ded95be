package route

import v1 "github.com/fleet-starter/fleet/apis/v1"

// observe gathers what Plan needs from the caches.
func (c *Controller) observe() Input {
	in := Input{
		Prefixes: c.opts.Prefixes, All: c.opts.All, Template: c.opts.Template, Domain: c.opts.Settings.Domain,
		Endpoints: map[string]string{}, Revisions: map[string]int64{}, Routes: map[string]v1.AppRoute{},
	}
	// Read revisions before the data: what is served is then at least that new.
	in.RoutesRevision = c.routes.reflector.LastChange()
	for _, o := range c.routes.List() {
		if o.Err == nil {
			in.Routes[o.Name] = o.Value
		}
	}
	for prefix, endpoints := range c.endpoints {
		in.Revisions[prefix] = endpoints.reflector.LastChange()
		for _, o := range endpoints.List() {
			in.Endpoints[o.Key] = o.Value
		}
	}
	in.Trust = c.trust()
	c.mu.Lock()
	defer c.mu.Unlock()
	in.Published = c.published
	return in
}
