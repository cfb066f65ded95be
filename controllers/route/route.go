// Package route keeps one machine's nginx routing to the endpoints in etcd, and publishes which revision is served.
package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/store"
)

// Nginx is what the controller needs of nginx; *nginx.Server implements it.
type Nginx interface {
	// Apply makes nginx serve the configuration and returns when it does.
	Apply(ctx context.Context, c nginx.Configuration) (nginx.Result, error)
	// Draining returns the withdrawn endpoints to which requests are under way now.
	Draining() []v1.Draining
	// Exited is closed when nginx ended unexpectedly.
	Exited() <-chan struct{}
}

// Options configure a Controller.
type Options struct {
	Store  store.Interface
	Keys   keyspace.Keys
	Nginx  Nginx
	Events events.Interface
	Log    logr.Logger
	// Machine is the ID of the machine that the router runs on.
	Machine string
	// Prefixes are the directories of the endpoints. Default v1.DefaultAnnouncePrefix.
	Prefixes []string
	// All also serves endpoints that belong to no app or unit.
	All bool
	// Template: Nginx renders a template of the operator.
	Template bool
	// Address is the machine's address.
	Address netip.Addr
	// Allowed are networks outside the cluster in which endpoints are allowed.
	Allowed []netip.Prefix
	// Reserved are ports to which no requests are sent, in addition to v1.ReservedPorts, with their owners.
	Reserved map[int]string
	// Settings are passed to nginx.
	Settings nginx.Settings
	// StateFile stores what is served across reboots; empty for none.
	StateFile string
	// TTL is how long roll-outs wait for a vanished router.
	TTL time.Duration
	// Caches are further options of the caches.
	Caches []cache.Option
	// Debounce is how long changes are gathered before nginx gets them, at once.
	Debounce time.Duration
}

// CheckPrefix returns an error if a directory of endpoints is not valid.
func CheckPrefix(prefix string) error {
	if !v1.IsPrefix(prefix) {
		return fmt.Errorf("prefix %s is not a valid etcd directory: use an absolute path such as %s, without a trailing /", routing.Quote(prefix), v1.DefaultAnnouncePrefix)
	}
	return nil
}

// Defaults of Options.
const (
	DefaultTTL      = 15 * time.Second
	DefaultDebounce = 20 * time.Millisecond
	// DictionaryDebounce is for an nginx that is not reloaded for endpoints.
	DictionaryDebounce = 2 * time.Millisecond
)

// Controller keeps one nginx up to date.
type Controller struct {
	opts      Options
	row       keyspace.Collection[v1.Router]
	endpoints map[string]watched[string] // by prefix
	routes    watched[v1.AppRoute]
	machines  watched[v1.MachineAddress]
	loop      *controller.Controller[controller.Singleton]
	drains    chan struct{} // wakes watchDraining

	// Only used by restore and the loop.
	refused []v1.RouteRefusal    // reported refusals
	failing time.Time            // since when nginx cannot be updated
	serving *nginx.Configuration // what nginx accepted last
	unsaved bool                 // the state file does not have that yet
	vouched map[string]string    // the endpoints that the digests of the record stand for; nil: it has none

	mu        sync.Mutex
	lease     store.LeaseID
	published *v1.Router // nil: not under the lease
	sure      time.Time  // until when the lease lives at least
	leaseless bool       // etcd answers, and grants no lease
	// The addresses of machines, see machines.go.
	departed       map[netip.Addr]time.Time
	apiPorts       map[int]bool
	trusted        map[string]string
	untrusted      bool // some endpoint is
	machineChanges int
}

// watched is a row with the reflector that keeps it up to date.
type watched[T any] struct {
	cache.Lister[T]
	reflector *cache.Reflector
}

func watch[T any](c *Controller, row keyspace.Collection[T], changed func([]cache.Event[T])) watched[T] {
	r := cache.NewReflector(c.opts.Store, row.Prefix(), append([]cache.Option{cache.WithLogger(c.opts.Log)}, c.opts.Caches...)...)
	collection := cache.Register(r, row)
	collection.OnChange(changed)
	return watched[T]{collection, r}
}

// New returns a controller. It does nothing until Run.
func New(opts Options) *Controller {
	if len(opts.Prefixes) == 0 {
		opts.Prefixes = []string{v1.DefaultAnnouncePrefix}
	}
	opts.Prefixes = slices.Compact(slices.Sorted(slices.Values(opts.Prefixes)))
	c := &Controller{opts: opts, row: opts.Keys.Routers(), endpoints: map[string]watched[string]{}, departed: map[netip.Addr]time.Time{}, apiPorts: map[int]bool{}, drains: make(chan struct{}, 1)}
	c.loop = controller.New("route", controller.Func[controller.Singleton](c.Reconcile), controller.Options{Log: opts.Log, MaxBackoff: 5 * time.Second})
	for _, prefix := range opts.Prefixes {
		c.endpoints[prefix] = watch(c, keyspace.Endpoints(prefix), func([]cache.Event[string]) { c.changed() })
	}
	c.routes = watch(c, opts.Keys.Routes(), func([]cache.Event[v1.AppRoute]) { c.changed() })
	c.machines = watch(c, opts.Keys.MachineAddresses(), c.machinesChanged)
	return c
}

// reflectors are all watches.
func (c *Controller) reflectors() []*cache.Reflector {
	all := []*cache.Reflector{c.routes.reflector, c.machines.reflector}
	for _, endpoints := range c.endpoints {
		all = append(all, endpoints.reflector)
	}
	return all
}

// changed triggers the loop after a moment, in which further changes are gathered.
func (c *Controller) changed() { c.loop.EnqueueAfter(controller.Singleton{}, c.opts.Debounce) }

// Run routes until ctx ends. It does not stop nginx.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var parts sync.WaitGroup
	defer parts.Wait()
	defer cancel()
	for _, r := range c.reflectors() {
		parts.Go(func() { _ = r.Run(ctx) })
	}
	// Until everything is known, nginx keeps its configuration: an empty cache is not an empty cluster.
	if err := c.restore(ctx); err != nil {
		c.opts.Log.Error(err, "Serving what was served last failed, waiting for etcd", "file", c.opts.StateFile)
	}
	parts.Go(func() { c.watchNginx(ctx) })
	parts.Go(func() { c.watchDraining(ctx) })
	parts.Go(func() { c.appearWhenKnown(ctx) })
	return c.loop.Run(ctx)
}

// appearWhenKnown waits until everything is known, and keeps the lease from then on: without one nothing is taken over.
func (c *Controller) appearWhenKnown(ctx context.Context) {
	for _, r := range c.reflectors() {
		if r.WaitForSync(ctx) != nil {
			return // ctx has ended
		}
	}
	if c.awaitRoutes(ctx) != nil {
		return
	}
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { c.watchOwn(ctx) })
	c.loop.Enqueue(controller.Singleton{})
	_ = store.KeepLease(ctx, c.opts.Store, store.KeptLease{TTL: c.opts.TTL, OnLease: c.onLease, OnAsked: c.onAsked, Log: c.opts.Log})
}

// Resign deletes the record of a router that is stopped permanently: roll-outs must not wait for it.
func (c *Controller) Resign(ctx context.Context) error {
	c.mu.Lock()
	lease := c.lease
	c.lease, c.published = 0, nil
	c.mu.Unlock()
	if lease == 0 {
		return nil
	}
	return c.opts.Store.Revoke(ctx, lease)
}

func (c *Controller) onLease(id store.LeaseID, _ bool) {
	c.mu.Lock()
	c.lease, c.published = id, nil
	c.mu.Unlock()
	c.loop.Enqueue(controller.Singleton{})
}

// watchNginx triggers the loop when nginx ends by itself; Apply restarts it, also while etcd is away.
func (c *Controller) watchNginx(ctx context.Context) {
	for {
		exited := c.opts.Nginx.Exited()
		select {
		case <-exited:
			c.loop.Enqueue(controller.Singleton{})
			if !store.Sleep(ctx, time.Second) {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// Reconcile makes nginx serve the current endpoints.
func (c *Controller) Reconcile(ctx context.Context, _ controller.Singleton) (controller.Result, error) {
	if there, err := c.appear(ctx); err != nil || !there {
		return controller.Result{}, errors.Join(err, c.revive(ctx))
	}
	seen := c.seen()
	in := c.observe()
	plan := Plan(in)
	if c.trusts(plan, seen) {
		c.changed()
	}
	err := c.apply(ctx, in, plan)
	return controller.Result{RequeueAfter: countAgain(plan)}, err
}
