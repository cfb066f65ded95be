// Package cluster holds what the leader knows: all of fleet's keys and all endpoints, from one list and one watch each, with
// the look-ups that its controllers share.
package cluster

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Cluster is created for each term of leadership. Controllers register their handlers (OnChange) before Run; handlers are
// called once the look-ups have the change.
type Cluster struct {
	Keys           keyspace.Keys
	Apps           *cache.Collection[[]byte]
	Units          *cache.Collection[v1.Unit]
	UnitFiles      *cache.Collection[string]
	Revisions      *cache.Collection[v1.Revision]
	Applies        *cache.Collection[struct{}] // their names: what each changed is nothing that the leader needs
	Machines       *cache.Collection[v1.Machine]
	MachineConfigs *cache.Collection[v1.MachineConfig]
	Overrides      *cache.Collection[v1.Override]
	Rollouts       *cache.Collection[v1.RolloutWish]
	Sources        *cache.Collection[[]byte]
	SourceStatus   *cache.Collection[v1.SourceStatus]
	SourceWishes   *cache.Collection[v1.SourceWish]
	Placements     *cache.Collection[v1.Placement]
	Preparations   *cache.Collection[v1.Next]
	Unplaced       *cache.Collection[v1.Unplaced]
	States         *cache.Collection[v1.UnitState]
	Status         *cache.Collection[v1.AppStatus]
	Routes         *cache.Collection[v1.AppRoute]
	Routers        *cache.Collection[v1.Router]

	store     store.Interface
	root      *cache.Reflector
	endpoints endpoints
	byHand    byHand

	owned   *multimap[v1.Unit]         // by app
	managed *multimap[v1.SourceStatus] // by app
	states  *multimap[v1.UnitState]    // by unit
	placed  *multimap[v1.Placement]    // by unit
	leaving *multimap[v1.Placement]    // the subset that has to leave its machine
	asked   *multimap[v1.Next]         // preparations by unit

	onApp, onPlacement, onLeaving enqueuers
}

// pageSize is how many keys one request returns: some MB. More pages would cost etcd more, as it counts all keys after each
// page.
const pageSize = 25_000

// New returns a Cluster that is empty until Run.
func New(s store.Interface, keys keyspace.Keys, log logr.Logger, opts ...cache.Option) *Cluster {
	opts = append(opts, cache.WithLogger(log))
	web := keyspace.Endpoints(v1.DefaultAnnouncePrefix)
	onlyRows := cache.OnlyRows(keys.Events().Prefix(), web.Prefix()) // not needed here; below a root such as /services
	c := &Cluster{}
	anew := cache.OnRelist(func(int64) { c.lookAnew() })
	root := cache.NewReflector(s, keys.Root(), append([]cache.Option{cache.WithPageSize(pageSize), onlyRows, anew}, opts...)...)
	*c = Cluster{
		Keys: keys, store: s, root: root,
		Apps:           cache.Register(root, keys.Apps()),
		Units:          cache.Register(root, keys.Units()),
		UnitFiles:      cache.Register(root, keys.UnitFiles()),
		Revisions:      cache.Register(root, keys.Revisions()),
		Applies:        cache.Register(root, keys.ApplyNames()),
		Machines:       cache.Register(root, keys.Machines()),
		MachineConfigs: cache.Register(root, keys.MachineConfigs()),
		Overrides:      cache.Register(root, keys.Overrides()),
		Rollouts:       cache.Register(root, keys.Rollouts()),
		Sources:        cache.Register(root, keys.Sources()),
		SourceStatus:   cache.Register(root, keys.SourceStatus()),
		SourceWishes:   cache.Register(root, keys.SourceWishes()),
		Placements:     cache.Register(root, keys.Placements()),
		Preparations:   cache.Register(root, keys.Preparations()),
		Unplaced:       cache.Register(root, keys.Unplaced()),
		States:         cache.Register(root, keys.States()),
		Status:         cache.Register(root, keys.Status()),
		Routes:         cache.Register(root, keys.Routes()),
		Routers:        cache.Register(root, keys.Routers()),
	}
	c.endpoints.init(s, opts, c.onApp.tell)
	c.endpoints.follow(c.Revisions)
	c.byHand.follow(c.endpoints.of(v1.DefaultAnnouncePrefix).collection, c.Routes)
	cache.Guard(root, keys.Leaders())
	c.owned = indexed(c.Units, func(o *cache.Object[v1.Unit]) string { return o.Value.Metadata.Owner })
	c.states = indexed(c.States, func(o *cache.Object[v1.UnitState]) string { return second(o.Name) })
	c.placed = indexed(c.Placements, func(o *cache.Object[v1.Placement]) string { return second(o.Name) })
	c.leaving = indexed(c.Placements, func(o *cache.Object[v1.Placement]) string {
		if !o.Value.Leaving {
			return ""
		}
		return second(o.Name)
	})
	c.asked = indexed(c.Preparations, func(o *cache.Object[v1.Next]) string { return second(o.Name) })
	c.managed = indexedEach(c.SourceStatus, func(o *cache.Object[v1.SourceStatus]) (apps []string) {
		for _, object := range o.Value.Inventory {
			if object.Kind == v1.KindApp {
				apps = append(apps, object.Name)
			}
		}
		return apps
	})
	c.follow()
	return c
}

// Run keeps everything up to date until ctx ends, and returns ctx's error.
func (c *Cluster) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { c.endpoints.run(ctx) })
	defer parts.Wait()
	return c.root.Run(ctx)
}

// WaitForSync waits until everything has been listed once, except the endpoints below further prefixes (see KnowsEndpoints):
// an empty cache is not an empty cluster.
func (c *Cluster) WaitForSync(ctx context.Context) error {
	return errors.Join(c.root.WaitForSync(ctx), c.endpoints.of(v1.DefaultAnnouncePrefix).reflector.WaitForSync(ctx))
}

// waitTimeout bounds how long a writer waits to see its own write. After that etcd is unreachable, or the watch has to start
// over.
const waitTimeout = 10 * time.Second

// WaitForRevision waits until the cache has everything written below the root up to that revision.
func (c *Cluster) WaitForRevision(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	return c.root.WaitForRevision(ctx, revision)
}

// CatchUp waits until the cache has everything that etcd holds now.
func (c *Cluster) CatchUp(ctx context.Context) error {
	_, _, revision, err := c.store.Get(ctx, c.Keys.Root())
	if err != nil {
		return err
	}
	return c.WaitForRevision(ctx, revision)
}

// OwnedUnits returns the units that an app owns, in no particular order.
func (c *Cluster) OwnedUnits(app string) []*cache.Object[v1.Unit] {
	return c.owned.of(app)
}

// StatesOf returns what the present machines report of a unit, by machine; nil if none does.
func (c *Cluster) StatesOf(unit string) map[string]*v1.UnitState {
	var states map[string]*v1.UnitState // allocated late: a large app is planned before any of its instances has a state
	c.EachState(unit, func(machine string, s *v1.UnitState) {
		if states == nil {
			states = make(map[string]*v1.UnitState, 1)
		}
		states[machine] = s
	})
	return states
}

// EachState calls do with what each present machine reports of a unit, in no particular order.
func (c *Cluster) EachState(unit string, do func(machine string, s *v1.UnitState)) {
	c.states.each(unit, func(o *cache.Object[v1.UnitState]) {
		machine, _, _ := keyspace.Split(o.Name)
		if _, present := c.Machines.Get(machine); present && o.Err == nil {
			do(machine, &o.Value)
		}
	})
}

// PlacementsOf returns the machines that a unit is placed on, in no particular order.
func (c *Cluster) PlacementsOf(unit string) []string {
	var machines []string
	c.EachPlacement(unit, func(machine string, _ *v1.Placement) { machines = append(machines, machine) })
	return machines
}

// EachPlacement calls do with the placements of a unit, in no particular order. One that cannot be read is empty.
func (c *Cluster) EachPlacement(unit string, do func(machine string, p *v1.Placement)) {
	c.placed.each(unit, func(o *cache.Object[v1.Placement]) {
		machine, _, _ := keyspace.Split(o.Name)
		do(machine, &o.Value)
	})
}

// PreparationsOf returns what machines are asked to prepare before a unit is moved to them, by machine; nil if nothing is.
func (c *Cluster) PreparationsOf(unit string) map[string]v1.Next {
	var asked map[string]v1.Next
	for _, o := range c.asked.of(unit) {
		if machine, _, _ := keyspace.Split(o.Name); o.Err == nil {
			if asked == nil {
				asked = map[string]v1.Next{}
			}
			asked[machine] = o.Value
		}
	}
	return asked
}

// LeavingOf returns the machine that a unit has to leave; "" for none.
func (c *Cluster) LeavingOf(unit string) string {
	for _, o := range c.leaving.of(unit) {
		machine, _, _ := keyspace.Split(o.Name)
		return machine
	}
	return ""
}

// Readable reports whether a stored revision could be decoded; one that was overwritten by hand may not be.
func Readable(o *cache.Object[v1.Revision]) bool {
	_, number, _ := keyspace.ParseRevisionName(o.Name)
	return o.Err == nil && o.Value.Number == number
}

// UIDOf returns the UID of an app; ok is false if no app has that name.
func (c *Cluster) UIDOf(app string) (uid int64, ok bool) {
	o, ok := c.Apps.Get(app)
	if !ok {
		return 0, false
	}
	return o.CreateRevision, true
}

// NewestRevision returns an app's newest readable revision and its ModRevision, and the revision that it falls back to: see
// v1.Revision.Fallback; nil if there is none. Revisions of a deleted app do not count, even if another app has its name now.
func (c *Cluster) NewestRevision(app string) (newest, before *v1.Revision, at int64) {
	uid, ok := c.UIDOf(app)
	if !ok {
		return nil, nil, 0
	}
	for _, o := range slices.Backward(c.Revisions.ListPrefix(app + "/")) {
		switch r := &o.Value; {
		case !Readable(o) || !r.Of(uid):
		case newest == nil:
			newest, at = r, o.ModRevision
			if r.Fallback() == 0 {
				return newest, nil, at
			}
		case r.Number == newest.Fallback():
			return newest, r, at
		}
	}
	return newest, nil, at
}

// LatestRevision returns the revision of an app that should run: the newest readable one, or the one that it falls back to; nil if
// there is none.
func (c *Cluster) LatestRevision(app string) *v1.Revision {
	newest, fallback, _ := c.NewestRevision(app)
	return v1.Runs(newest, fallback)
}

// LastRevision returns the highest number of a revision under that app name, readable or not, of a deleted app or not; 0 if
// there is none.
func (c *Cluster) LastRevision(app string) int64 {
	last := int64(0)
	for _, o := range c.Revisions.ListPrefix(app + "/") {
		if number, err := strconv.ParseInt(second(o.Name), 10, 64); err == nil {
			last = max(last, number)
		}
	}
	return last
}

// OthersUnits returns the names of units that an app could want but does not own, with their owner: "" is a person, or an
// unreadable value.
func (c *Cluster) OthersUnits(app string) map[string]string {
	taken := map[string]string{}
	for _, o := range OfApp(c.Units, app) {
		if o.Value.Metadata.Owner != app {
			taken[o.Name] = o.Value.Metadata.Owner
		}
	}
	return taken
}

// SourcesOf returns the sources that have applied an app: one, or none.
func (c *Cluster) SourcesOf(app string) (names []string) {
	c.managed.each(app, func(o *cache.Object[v1.SourceStatus]) { names = append(names, o.Name) })
	slices.Sort(names)
	return names
}

// OverridesOf returns people's wishes for an app's units that apply now: see v1.OverrideCounts.
func (c *Cluster) OverridesOf(app string) map[string]v1.Override {
	overrides := map[string]v1.Override{}
	uid, ok := c.UIDOf(app)
	if !ok {
		return overrides
	}
	for _, o := range OfApp(c.Overrides, app) {
		unit, exists := c.Units.Get(o.Name)
		if o.Err == nil && exists && v1.OverrideCounts(o.ModRevision, unit.CreateRevision, uid) {
			overrides[o.Name] = o.Value
		}
	}
	return overrides
}

// WishFor returns what a person asks of an app's roll-outs. A wish from before the app was created was for a deleted one.
func (c *Cluster) WishFor(app string) v1.RolloutWish {
	uid, exists := c.UIDOf(app)
	if o, ok := c.Rollouts.Get(app); ok && exists && o.Err == nil && o.ModRevision > uid {
		return o.Value
	}
	return v1.RolloutWish{}
}

// RoutersByMachine returns what the live routers serve.
func (c *Cluster) RoutersByMachine() map[string]v1.Router {
	routers := map[string]v1.Router{}
	for _, o := range c.Routers.List() {
		routers[o.Name] = o.Value // an unreadable one serves nothing, as far as is known
	}
	return routers
}

// AppsOf returns the apps that a change of a unit may concern: its owner, or those that could want its name.
func (c *Cluster) AppsOf(unit string) []string {
	if o, ok := c.Units.Get(unit); ok && o.Value.Metadata.Owner != "" {
		return []string{o.Value.Metadata.Owner}
	}
	return v1.AppsOfUnit(unit)
}

// OfApp returns the objects named like units that an app could want. Its cost depends only on the app's instances.
func OfApp[T any](l cache.Lister[T], app string) []*cache.Object[T] {
	var list []*cache.Object[T]
	if o, ok := l.Get(v1.ReleaseUnit(app)); ok {
		list = append(list, o)
	}
	for _, instance := range []func(string, int32) string{v1.AppUnit, v1.SidekickUnit} {
		name := instance(app, 0)
		if o, ok := l.Get(name); ok {
			list = append(list, o)
		}
		for _, o := range l.ListPrefix(strings.TrimSuffix(name, ".service") + "@") {
			if _, _, ok := v1.ParseAppUnit(app, o.Name); ok {
				list = append(list, o)
			}
		}
	}
	return list
}

// second returns the second part of a name of two parts.
func second(name string) string {
	_, part, _ := keyspace.Split(name)
	return part
}
