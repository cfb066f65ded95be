package route

import (
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
)

// observe gathers what Plan needs from the caches.
func (c *Controller) observe() Input {
	// The revision is read before the endpoints: what is served is then at least that new.
	in := Input{Prefix: c.opts.Prefix, Revision: c.endpointsReflector.LastChange(), Endpoints: map[string]string{}, Apps: map[string]int64{}}
	for _, o := range c.endpoints.List() {
		in.Endpoints[o.Key] = o.Value
	}
	in.Specs = c.latestSpecs()
	for _, o := range c.apps.List() {
		in.Apps[o.Name] = o.CreateRevision
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	in.Published = c.published
	return in
}

// latestSpecs returns the newest readable revision of each app; names sort by app, then number.
func (c *Controller) latestSpecs() []v1.Revision {
	var specs []v1.Revision
	last := ""
	for _, o := range c.revisions.List() {
		app, number, ok := keyspace.ParseRevisionName(o.Name)
		if !ok || o.Err != nil || o.Value.Number != number {
			continue
		}
		spec := o.Value
		spec.Metadata.Name = app
		if app == last {
			specs[len(specs)-1] = spec
		} else {
			specs, last = append(specs, spec), app
		}
	}
	return specs
}
