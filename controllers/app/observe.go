package app

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
)

// observe gathers what is known about one app. Its cost depends only on the app's instances.
func (c *Controller) observe(app string) Input {
	owned := c.Cluster.OwnedUnits(app)
	in := Input{
		Generate: c.Generate,
		Now:      c.Now(), App: app,
		LastNumber: c.Cluster.LastRevision(app),
		Texts:      map[string]string{},
		Units:      make(map[string]StoredUnit, len(owned)),
		Taken:      c.Cluster.OthersUnits(app),
		Overrides:  c.Cluster.OverridesOf(app),
		Wish:       c.Cluster.WishFor(app),
		States:     make(map[string][]State, len(owned)),
		Leaving:    map[string]string{},
		Places:     make(map[string]Place, len(owned)),
		Asked:      map[string][]Asked{},
		Endpoints:  c.Cluster.EndpointsOf(app),
		Former:     c.Cluster.FormerEndpointsOf(app),
		Unknown:    !c.Cluster.KnowsEndpoints(app),
	}
	in.Latest, in.Before, in.LatestAt = c.Cluster.NewestRevision(app)
	if o, ok := c.Cluster.Apps.Get(app); ok {
		in.Manifest = &Manifest{Raw: o.Value, Revision: o.ModRevision, UID: o.CreateRevision}
	}
	if o, ok := c.Cluster.Routes.Get(app); ok {
		in.Route.Revision = o.ModRevision
		if o.Err == nil {
			in.Route.Value = &o.Value
		}
	}
	if runs := in.runs(); in.Manifest == nil || runs == nil || runs.Spec.Announce == nil {
		in.ByHand = c.byHand(app, in.Route.Value)
	}
	for _, r := range []*v1.Revision{in.Latest, in.runs()} {
		if r != nil && r.Release != nil {
			c.addText(in.Texts, r.Release.File)
		}
		if r != nil {
			c.addText(in.Texts, r.UnitFile)
			c.addText(in.Texts, r.SidekickFile)
		}
	}
	withdrawn := false
	for _, o := range owned {
		in.Units[o.Name] = StoredUnit{Unit: &o.Value, UID: o.CreateRevision, Revision: o.ModRevision}
		_, sidekick, _ := v1.ParseAppUnit(app, o.Name)
		if machine := c.Cluster.LeavingOf(o.Name); machine != "" {
			in.Leaving[o.Name] = machine
		}
		withdrawn = withdrawn || sidekick && (o.Value.Spec.DesiredState != v1.Launched || o.Value.Metadata.Annotations[v1.AnnotationExcept] != "")
		in.Places[o.Name] = c.place(o.Name)
		c.addText(in.Texts, o.Value.Spec.Hash)
		if o.Value.Next != (v1.Next{}) {
			in.Asked[o.Name] = c.asked(o.Name, o.Value.Next, in.Places[o.Name].Machines)
		}
		var states []State
		c.Cluster.EachState(o.Name, func(machine string, s *v1.UnitState) { states = append(states, State{machine, s}) })
		if slices.SortFunc(states, bySince); states != nil {
			in.States[o.Name] = states
		}
	}
	in.Settling = max(0, c.AgentTTL-in.Now.Sub(c.Began))
	in.Routers = c.Cluster.RoutersByMachine()
	in.EndpointSets = c.Cluster.EndpointSetsOf(app, withdrawn) // read after the endpoints, so at least as new
	return in
}

// byHand returns the instances that are announced by hand and are units. Those that were routed before stay as long as their
// unit exists: a script that renews its key a moment late changes nothing.
func (c *Controller) byHand(app string, before *v1.AppRoute) []string {
	var instances []string
	if before != nil {
		instances = append(instances, before.Units...)
	}
	for name := range c.Cluster.EndpointsBelow(v1.DefaultAnnouncePrefix, app) {
		if _, instance, ok := keyspace.Split(name); ok {
			instances = append(instances, instance)
		}
	}
	instances = slices.DeleteFunc(instances, func(instance string) bool { return !c.Cluster.IsUnit(instance) })
	slices.Sort(instances)
	return slices.Compact(instances)
}

// place is where a unit is.
func (c *Controller) place(unit string) (place Place) {
	c.Cluster.EachPlacement(unit, func(machine string, told *v1.Placement) {
		if _, present := c.Cluster.Machines.Get(machine); present {
			place.Machines = append(place.Machines, machine)
			place.Loaded = place.Loaded || told.DesiredState == v1.Loaded
		} else {
			place.Away = true
		}
	})
	place.Away = place.Away && len(place.Machines) == 0
	slices.Sort(place.Machines)
	if o, ok := c.Cluster.Unplaced.Get(unit); ok {
		place.Unplaced = &o.Value
	}
	return place
}

// asked are the machines that are asked to prepare a unit's next start: those that have the unit, or those that it moves to.
func (c *Controller) asked(unit string, next v1.Next, machines []string) (asked []Asked) {
	for _, machine := range machines {
		if o, ok := c.Cluster.Placements.Get(keyspace.Join(machine, unit)); ok && o.Value.Next == next.Preparation {
			asked = append(asked, Asked{machine, next.Since})
		}
	}
	moves := c.Cluster.PreparationsOf(unit)
	for _, machine := range slices.Sorted(maps.Keys(moves)) {
		if _, present := c.Cluster.Machines.Get(machine); present && moves[machine].Preparation == next.Preparation {
			asked = append(asked, Asked{machine, moves[machine].Since})
		}
	}
	return asked
}

// addText adds the text of a stored unit file.
func (c *Controller) addText(texts map[string]string, hash string) {
	if _, known := texts[hash]; known {
		return
	}
	if o, ok := c.Cluster.UnitFiles.Get(hash); ok {
		texts[hash] = o.Value
	}
}

func bySince(a, b State) int {
	return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Machine, b.Machine))
}
