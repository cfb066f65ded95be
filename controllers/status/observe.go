package status

import (
	"maps"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
)

// observe gathers what is known about one app. Its cost depends only on the app's instances.
func (c *Controller) observe(app string) Input {
	owned := c.Cluster.OwnedUnits(app)
	in := Input{
		Now: c.Now(), App: app,
		Latest:     c.Cluster.LatestRevision(app),
		Units:      make(map[string]*v1.Unit, len(owned)),
		Taken:      c.Cluster.OthersUnits(app),
		Overrides:  c.Cluster.OverridesOf(app),
		Paused:     c.Cluster.WishFor(app).Paused,
		Unplaced:   map[string]v1.Unplaced{},
		Placements: make(map[string][]string, len(owned)),
		States:     make(map[string]map[string]*v1.UnitState, len(owned)),
		Endpoints:  c.Cluster.EndpointsOf(app),
		Routers:    c.Cluster.RoutersByMachine(),
	}
	switch newest, _, _ := c.Cluster.NewestRevision(app); {
	case newest == nil || newest == in.Latest:
	case newest.Rejected != nil:
		in.Rejected = newest
	case newest.OnTrial():
		in.Trial = newest
	default:
		in.Releasing = newest
	}
	if o, ok := c.Cluster.Apps.Get(app); ok {
		in.Manifest, in.ManifestRevision = o.Value, o.ModRevision
		if in.Manifest == nil {
			in.Manifest = []byte{} // an empty manifest is an unreadable one, not a deleted app
		}
	}
	if o, ok := c.Cluster.Status.Get(app); ok {
		in.Current, in.CurrentRevision = &o.Value, o.ModRevision
		if uid, ok := c.Cluster.UIDOf(app); ok && !o.Value.Of(uid) {
			in.Current = nil // it belongs to a deleted app
		}
	}
	for _, o := range cluster.OfApp(c.Cluster.Unplaced, app) {
		in.Unplaced[o.Name] = o.Value
	}
	withdrawn := false
	for _, o := range owned {
		in.Units[o.Name] = &o.Value
		in.Placements[o.Name] = c.placements(o.Name)
		if states := c.Cluster.StatesOf(o.Name); states != nil {
			in.States[o.Name] = states
		}
		withdrawn = withdrawn || o.Value.Spec.DesiredState != v1.Launched && o.Name != v1.ReleaseUnit(app)
	}
	in.Machines = c.machines(in.Latest, in.Placements)
	if o, ok := c.Cluster.Routes.Get(app); ok {
		in.RouteRevision = o.ModRevision
	}
	in.EndpointSets = c.Cluster.EndpointSetsOf(app, withdrawn) // read after the endpoints, so at least as new
	return in
}

// placements returns the machines of a unit, sorted.
func (c *Controller) placements(unit string) []string {
	machines := c.Cluster.PlacementsOf(unit)
	slices.Sort(machines)
	return machines
}

// machines are the present ones. What they can do only matters to a global app.
func (c *Controller) machines(latest *v1.Revision, placements map[string][]string) map[string]Machine {
	machines := map[string]Machine{}
	if latest != nil && latest.Spec.Global {
		for _, o := range c.Cluster.Machines.List() {
			config, _ := c.Cluster.MachineConfigs.Get(o.Name)
			machines[o.Name] = machine(o, config)
		}
		return machines
	}
	for _, placed := range placements {
		for _, id := range placed {
			if _, present := c.Cluster.Machines.Get(id); present {
				machines[id] = Machine{}
			}
		}
	}
	return machines
}

// machine is a machine with its configuration.
func machine(o *cache.Object[v1.Machine], config *cache.Object[v1.MachineConfig]) Machine {
	m := Machine{Schedulable: o.Err == nil, Metadata: maps.Clone(o.Value.Spec.Metadata)}
	if config == nil || config.Err != nil {
		return m
	}
	m.Schedulable = m.Schedulable && !config.Value.Cordoned && !config.Value.Drain
	for key, value := range config.Value.Metadata {
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		if m.Metadata[key] = value; value == "" {
			delete(m.Metadata, key)
		}
	}
	return m
}
