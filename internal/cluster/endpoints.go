package cluster

import (
	"context"
	"maps"
	"slices"
	"sync"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// endpoints tracks the endpoints below every announce prefix that a stored revision names, and below
// v1.DefaultAnnouncePrefix. A deleted app's revisions stay while it has units, and so do its endpoints.
type endpoints struct {
	store store.Interface
	opts  []cache.Option
	// tell is called with the app of each endpoint that changes, and with all apps of a prefix once that is listed.
	tell func(app string)

	mu       sync.Mutex
	prefixes map[string]*below
	apps     map[string]map[string]int // by app: its prefixes, with the number of its revisions that name each
	ctx      context.Context           // of run; nil before that
	running  sync.WaitGroup
	ended    bool
}

// below are the endpoints below one prefix.
type below struct {
	reflector  *cache.Reflector
	collection *cache.Collection[string]
	revisions  int // that name the prefix
	cancel     context.CancelFunc

	mu       sync.Mutex
	synced   bool
	digest   string
	digestOf int64
}

func (e *endpoints) init(s store.Interface, opts []cache.Option, tell func(string)) {
	e.store, e.opts, e.tell = s, opts, tell
	e.prefixes, e.apps = map[string]*below{}, map[string]map[string]int{}
	e.add(v1.DefaultAnnouncePrefix) // permanent: endpoints announced by hand are there
}

// follow adds and drops prefixes as revisions come and go.
func (e *endpoints) follow(revisions *cache.Collection[v1.Revision]) {
	prefixOf := func(o *cache.Object[v1.Revision]) string {
		if o == nil || o.Err != nil || o.Value.Spec.Announce == nil {
			return ""
		}
		return o.Value.Spec.Announce.Prefix
	}
	revisions.OnChange(func(events []cache.Event[v1.Revision]) {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, event := range events {
			app, _, _ := keyspace.Split(event.Name)
			before, after := prefixOf(event.Old), prefixOf(event.New)
			if before == after {
				continue
			}
			e.count(app, after, 1) // first add, so that a prefix named by both is not restarted
			e.count(app, before, -1)
		}
	})
}

// count records that one more, or one fewer, revision of an app names a prefix.
func (e *endpoints) count(app, prefix string, by int) {
	if prefix == "" {
		return
	}
	if e.apps[app] == nil {
		e.apps[app] = map[string]int{}
	}
	e.apps[app][prefix] += by
	if e.apps[app][prefix] == 0 {
		delete(e.apps[app], prefix)
	}
	if len(e.apps[app]) == 0 {
		delete(e.apps, app)
	}
	if by > 0 {
		e.add(prefix)
		return
	}
	b := e.prefixes[prefix]
	if b.revisions--; b.revisions == 0 {
		delete(e.prefixes, prefix)
		if b.cancel != nil {
			b.cancel()
		}
	}
}

// add counts one more revision for a prefix, and starts tracking the prefix if it is the first.
func (e *endpoints) add(prefix string) {
	b := e.prefixes[prefix]
	if b == nil {
		b = &below{}
		opts := append(slices.Clone(e.opts), cache.OnRelist(func(int64) { e.known(prefix, b) }))
		row := keyspace.Endpoints(prefix)
		b.reflector = cache.NewReflector(e.store, row.Prefix(), opts...)
		b.collection = cache.Register(b.reflector, row)
		Follow(b.collection, e.tell, func(name string, _, _ *cache.Object[string]) []string { return firstPart(name) })
		e.prefixes[prefix] = b
		e.start(b)
	}
	b.revisions++
}

// start runs a reflector, if run was called already.
func (e *endpoints) start(b *below) {
	if e.ctx == nil || e.ended {
		return
	}
	ctx, cancel := context.WithCancel(e.ctx)
	b.cancel = cancel
	e.running.Go(func() { _ = b.reflector.Run(ctx) })
}

func (e *endpoints) run(ctx context.Context) {
	e.mu.Lock()
	e.ctx = ctx
	for _, b := range e.prefixes {
		e.start(b)
	}
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	e.ended = true
	e.mu.Unlock()
	e.running.Wait()
}

// known enqueues the apps that waited for the first listing.
func (e *endpoints) known(prefix string, b *below) {
	b.mu.Lock()
	first := !b.synced
	b.synced = true
	b.mu.Unlock()
	if !first {
		return
	}
	for _, app := range e.appsOf(prefix) {
		e.tell(app)
	}
}

func (e *endpoints) appsOf(prefix string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var apps []string
	for app, prefixes := range e.apps {
		if prefixes[prefix] > 0 {
			apps = append(apps, app)
		}
	}
	slices.Sort(apps)
	return apps
}

// of returns what is known of a prefix, or nil.
func (e *endpoints) of(prefix string) *below {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.prefixes[prefix]
}

// prefixesOf returns the prefixes that an app's revisions name, sorted.
func (e *endpoints) prefixesOf(app string) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Sorted(maps.Keys(e.apps[app]))
}

func (b *below) known() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.synced
}

func (b *below) endpointsOf(app string) map[string]int64 {
	endpoints := map[string]int64{}
	for _, o := range b.collection.ListPrefix(app + "/") {
		endpoints[o.Name] = o.ModRevision
	}
	return endpoints
}

// set is the state of the endpoints. The digest is computed once for each change.
func (b *below) set(prefix string, digest bool) v1.EndpointSet {
	b.mu.Lock()
	defer b.mu.Unlock()
	revision := b.reflector.LastChange() // read before the listing, which is then at least as new
	set := v1.EndpointSet{Prefix: prefix, Revision: revision}
	if !digest {
		return set
	}
	if b.digest == "" || b.digestOf != revision {
		b.digestOf, b.digest = revision, v1.SortedEndpointsDigest(func(yield func(key, value string) bool) {
			for _, o := range b.collection.List() { // names of one prefix have the order of their keys
				if !yield(o.Key, o.Value) {
					return
				}
			}
		})
	}
	set.Digest = b.digest
	return set
}

// WaitForEndpoints waits until the cache has every endpoint of a prefix as of that revision, which is one of a change below it. A
// prefix that no revision names is not waited for.
func (c *Cluster) WaitForEndpoints(ctx context.Context, prefix string, revision int64) error {
	b := c.endpoints.of(prefix)
	if b == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	if err := b.reflector.WaitForSync(ctx); err != nil {
		return err
	}
	return b.reflector.WaitForRevision(ctx, revision)
}

// AnnouncePrefixes returns the prefixes below which instances are announced, sorted.
func (c *Cluster) AnnouncePrefixes() []string {
	c.endpoints.mu.Lock()
	defer c.endpoints.mu.Unlock()
	return slices.Sorted(maps.Keys(c.endpoints.prefixes))
}

// EndpointOf returns the value of one endpoint; "" if it is not announced.
func (c *Cluster) EndpointOf(prefix, name string) string {
	b := c.endpoints.of(prefix)
	if b == nil {
		return ""
	}
	o, ok := b.collection.Get(name)
	if !ok {
		return ""
	}
	return o.Value
}

// AnnouncePrefix is where an app's instances are announced: as in its last accepted revision, or the default.
func (c *Cluster) AnnouncePrefix(app string) string {
	if latest := c.LatestRevision(app); latest != nil && latest.Spec.Announce != nil && latest.Spec.Announce.Prefix != "" {
		return latest.Spec.Announce.Prefix
	}
	return v1.DefaultAnnouncePrefix
}

// KnowsEndpoints reports whether all endpoints of an app are known. The first listing of a new prefix takes a moment; OnApp
// calls again when it is complete.
func (c *Cluster) KnowsEndpoints(app string) bool {
	for _, prefix := range c.announcePrefixes(app) {
		if b := c.endpoints.of(prefix); b == nil || !b.known() {
			return false
		}
	}
	return true
}

// EndpointsOf returns the revisions of an app's endpoints below its announce prefix, named as by v1.EndpointName and
// v1.GlobalEndpointName.
func (c *Cluster) EndpointsOf(app string) map[string]int64 {
	return c.EndpointsBelow(c.AnnouncePrefix(app), app)
}

// EndpointsBelow returns an app's endpoints below a prefix.
func (c *Cluster) EndpointsBelow(prefix, app string) map[string]int64 {
	b := c.endpoints.of(prefix)
	if b == nil {
		return map[string]int64{}
	}
	return b.endpointsOf(app)
}

// FormerEndpointsOf returns an app's endpoints below the prefixes that earlier revisions name. Instances that are not
// replaced yet are announced there.
func (c *Cluster) FormerEndpointsOf(app string) map[string]int64 {
	former := map[string]int64{}
	for _, prefix := range c.endpoints.prefixesOf(app) {
		if prefix != c.AnnouncePrefix(app) {
			maps.Copy(former, c.EndpointsBelow(prefix, app))
		}
	}
	return former
}

// EndpointSetsOf returns the state of the endpoints below each prefix that the app's instances are or were announced below,
// with its digest if requested. Read the endpoints first: the result is then at least as new.
func (c *Cluster) EndpointSetsOf(app string, digest bool) []v1.EndpointSet {
	var sets []v1.EndpointSet
	for _, prefix := range c.announcePrefixes(app) {
		if b := c.endpoints.of(prefix); b != nil {
			sets = append(sets, b.set(prefix, digest))
		}
	}
	return sets
}

// announcePrefixes are all prefixes that matter to an app, sorted.
func (c *Cluster) announcePrefixes(app string) []string {
	prefixes := append(c.endpoints.prefixesOf(app), c.AnnouncePrefix(app))
	slices.Sort(prefixes)
	return slices.Compact(prefixes)
}
