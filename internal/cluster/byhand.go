package cluster

import (
	"slices"
	"sync"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
)

// byHand finds the apps under whose names units are announced by hand, below v1.DefaultAnnouncePrefix.
type byHand struct {
	announced *multimap[string] // endpoints, by instance

	mu     sync.Mutex
	routed map[string][]string // by app: the Units of routes/<app>, of the few apps that have any
}

func (b *byHand) follow(endpoints *cache.Collection[string], routes *cache.Collection[v1.AppRoute]) {
	b.routed = map[string][]string{}
	b.announced = indexed(endpoints, func(o *cache.Object[string]) string { return second(o.Name) })
	routes.OnChange(func(events []cache.Event[v1.AppRoute]) {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, e := range events {
			if e.New == nil || len(e.New.Value.Units) == 0 {
				delete(b.routed, e.Name)
			} else {
				b.routed[e.Name] = e.New.Value.Units
			}
		}
	})
}

// appsOf returns the apps that an instance of that unit is, or was, announced under.
func (b *byHand) appsOf(unit string) []string {
	var apps []string
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, instance := range instancesOf(unit) {
		for _, o := range b.announced.of(instance) {
			apps = append(apps, firstPart(o.Name)...)
		}
		for app, instances := range b.routed {
			if slices.Contains(instances, instance) {
				apps = append(apps, app)
			}
		}
	}
	return apps
}

// serviceSuffix is left out of instance names.
const serviceSuffix = ".service"

// instancesOf returns the names that a unit may be announced as: its full name, or the short one that the seed's scripts use.
func instancesOf(unit string) []string {
	if n := len(unit) - len(serviceSuffix); n > 0 && unit[n:] == serviceSuffix {
		return []string{unit, unit[:n]}
	}
	return []string{unit}
}

// IsUnit reports whether an instance that is announced by hand is a unit of the cluster. A deleted app's units do not count.
func (c *Cluster) IsUnit(instance string) bool {
	o, ok := c.Units.Get(instance)
	if !ok {
		o, ok = c.Units.Get(instance + serviceSuffix)
	}
	if !ok {
		return false
	}
	owner := o.Value.Metadata.Owner
	_, lives := c.Apps.Get(owner)
	return owner == "" || lives
}
