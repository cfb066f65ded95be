package cluster

import (
	"maps"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/keyspace"
)

// OnApp registers enqueue, which is called with the name of each app that a change may concern: of manifests, revisions,
// units, overrides, wishes for roll-outs, states, machines, endpoints and routes. Call it before Run. A unit file that was deleted is put back with
// the next change of its app.
func (c *Cluster) OnApp(enqueue func(app string)) { c.onApp = append(c.onApp, enqueue) }

// OnPlacement is OnApp for the schedule controller's decisions.
func (c *Cluster) OnPlacement(enqueue func(app string)) {
	c.onPlacement = append(c.onPlacement, enqueue)
}

// OnLeaving registers enqueue, which is called with the name of each app one of whose units has to leave its machine, or no
// longer has to.
func (c *Cluster) OnLeaving(enqueue func(app string)) { c.onLeaving = append(c.onLeaving, enqueue) }

// enqueuers are the functions registered for one kind of change: the apps concerned are computed once for all of them.
type enqueuers []func(app string)

func (e *enqueuers) tell(app string) {
	for _, enqueue := range *e {
		enqueue(app)
	}
}

// lookAnew enqueues every app after a listing. A listing delivers changes late or in a different order than they were
// written, so a controller may have reconciled an app while a part was missing that triggers no event for it.
func (c *Cluster) lookAnew() {
	apps := map[string]bool{}
	for _, o := range c.Apps.List() {
		apps[o.Name] = true
	}
	for _, o := range c.Units.List() {
		if owner := o.Value.Metadata.Owner; owner != "" {
			apps[owner] = true
		}
	}
	for _, app := range slices.Sorted(maps.Keys(apps)) {
		c.onApp.tell(app)
		c.onPlacement.tell(app)
	}
}

// follow connects the enqueuers to the collections.
func (c *Cluster) follow() {
	c.followApps(c.onApp.tell)
	c.followPlacements(c.onPlacement.tell)
	c.followLeaving(c.onLeaving.tell)
}

func (c *Cluster) followApps(enqueue func(app string)) {
	Follow(c.Apps, enqueue, func(name string, _, _ *cache.Object[[]byte]) []string { return []string{name} })
	Follow(c.Units, enqueue, func(name string, before, after *cache.Object[v1.Unit]) []string {
		apps := v1.AppsOfUnit(name)
		for _, o := range []*cache.Object[v1.Unit]{before, after} {
			if o != nil && o.Value.Metadata.Owner != "" {
				apps = append(apps, o.Value.Metadata.Owner)
			}
		}
		if (before == nil) != (after == nil) {
			apps = append(apps, c.byHand.appsOf(name)...)
		}
		return apps
	})
	Follow(c.Revisions, enqueue, func(name string, _, _ *cache.Object[v1.Revision]) []string { return firstPart(name) })
	Follow(c.Overrides, enqueue, func(name string, _, _ *cache.Object[v1.Override]) []string { return c.AppsOf(name) })
	Follow(c.Rollouts, enqueue, func(name string, _, _ *cache.Object[v1.RolloutWish]) []string { return []string{name} })
	Follow(c.States, enqueue, func(name string, _, _ *cache.Object[v1.UnitState]) []string { return c.AppsOf(second(name)) })
	Follow(c.Machines, enqueue, func(machine string, before, after *cache.Object[v1.Machine]) []string {
		if (before == nil) == (after == nil) {
			return nil // its presence did not change
		}
		var apps []string
		for _, o := range c.States.ListPrefix(machine + "/") {
			apps = append(apps, c.AppsOf(second(o.Name))...)
		}
		return apps
	})
	Follow(c.Routes, enqueue, func(name string, _, _ *cache.Object[v1.AppRoute]) []string { return []string{name} })
}

func (c *Cluster) followPlacements(enqueue func(app string)) {
	Follow(c.Placements, enqueue, func(name string, _, _ *cache.Object[v1.Placement]) []string { return c.AppsOf(second(name)) })
	Follow(c.Unplaced, enqueue, func(name string, _, _ *cache.Object[v1.Unplaced]) []string { return c.AppsOf(name) })
}

func (c *Cluster) followLeaving(enqueue func(app string)) {
	leaves := func(o *cache.Object[v1.Placement]) bool { return o != nil && o.Value.Leaving }
	Follow(c.Placements, enqueue, func(name string, before, after *cache.Object[v1.Placement]) []string {
		if leaves(before) == leaves(after) {
			return nil
		}
		return c.AppsOf(second(name))
	})
}

// Follow calls enqueue with the keys that changes of a collection concern, once each for changes that arrive together.
func Follow[T any](collection *cache.Collection[T], enqueue func(string), keys func(name string, before, after *cache.Object[T]) []string) {
	collection.OnChange(func(events []cache.Event[T]) {
		told := map[string]bool{}
		for _, e := range events {
			for _, key := range keys(e.Name, e.Old, e.New) {
				if !told[key] {
					told[key] = true
					enqueue(key)
				}
			}
		}
	})
}

func firstPart(name string) []string {
	part, _, ok := keyspace.Split(name)
	if !ok {
		return nil
	}
	return []string{part}
}
