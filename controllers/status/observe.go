package status

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cluster"
)

// observe gathers what is known of one app. The cost is that of its own instances.
func (c *Controller) observe(app string) Input {
	owned := c.cluster.OwnedUnits(app)
	in := Input{
		Now: c.opts.Now(), App: app,
		Latest:     c.cluster.LatestRevision(app),
		Units:      make(map[string]*v1.Unit, len(owned)),
		Taken:      c.cluster.OthersUnits(app),
		Overrides:  c.cluster.OverridesOf(app),
		Unplaced:   map[string]v1.Unplaced{},
		Placements: make(map[string][]string, len(owned)),
		States:     make(map[string]map[string]*v1.UnitState, len(owned)),
		Endpoints:  c.cluster.EndpointsOf(app),
		Routers:    c.cluster.RoutersByMachine(),
	}
	if o, ok := c.cluster.Apps.Get(app); ok {
		in.Manifest, in.ManifestRevision = o.Value, o.ModRevision
		if in.Manifest == nil {
			in.Manifest = []byte{} // an empty manifest is one that cannot be read, not a deleted app
		}
	}
	if o, ok := c.cluster.Status.Get(app); ok {
		in.Current, in.CurrentRevision = &o.Value, o.ModRevision
	}
	for _, o := range cluster.OfApp(c.cluster.Unplaced, app) {
		in.Unplaced[o.Name] = o.Value
	}
	withdrawn := false
	for _, o := range owned {
		in.Units[o.Name] = &o.Value
		in.Placements[o.Name] = c.placements(o.Name, in.Latest)
		if states := c.cluster.StatesOf(o.Name); states != nil {
			in.States[o.Name] = states
		}
		withdrawn = withdrawn || o.Value.Spec.DesiredState != v1.Launched
	}
	in.EndpointSets = c.cluster.EndpointSetsOf(app, withdrawn) // after the endpoints: at least that new
	return in
}

// placements returns the machines of a unit, sorted. A global app wants as many instances as machines are
// there: it is not short of one because a machine is away, whose placement waits for its return.
func (c *Controller) placements(unit string, latest *v1.Revision) []string {
	machines := c.cluster.PlacementsOf(unit)
	slices.Sort(machines)
	if latest == nil || !latest.Spec.Global {
		return machines
	}
	return slices.DeleteFunc(machines, func(id string) bool {
		_, present := c.cluster.Machines.Get(id)
		return !present
	})
}
