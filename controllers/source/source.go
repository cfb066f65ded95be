package source

import (
	"context"
	"sync"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
)

// Options set up a Controller.
type Options struct {
	cluster.Env
	// Repositories reads Git. nil: sources are not applied.
	Repositories Repositories
	// Reporter tells Git servers what became of commits. nil: none is told.
	Reporter Reporter
}

// Controller applies sources.
type Controller struct {
	Options
	*cluster.Loop[string]
	fetches *fetches
	reports *reports
}

// New returns a controller. It does nothing until Run.
func New(opts Options) *Controller {
	opts.Env = opts.WithDefaults()
	c := &Controller{Options: opts}
	c.Loop = cluster.NewLoop(c.Env, "source", c.Reconcile, controller.Options{Workers: 1}) // what one source takes, the next one sees
	c.fetches, c.reports = newFetches(opts, c.Enqueue), newReports(opts, c.Enqueue)
	c.watch()
	return c
}

// watch enqueues a source when it changes, or something that it manages or waits for does.
func (c *Controller) watch() {
	known := c.Cluster
	cluster.Follow(known.Sources, c.Enqueue, func(string, *cache.Object[[]byte], *cache.Object[[]byte]) []string { return c.all() })
	cluster.Follow(known.SourceWishes, c.Enqueue, func(name string, _, _ *cache.Object[v1.SourceWish]) []string { return []string{name} })
	cluster.Follow(known.SourceStatus, c.Enqueue, func(string, *cache.Object[v1.SourceStatus], *cache.Object[v1.SourceStatus]) []string { return c.all() })
	cluster.Follow(known.Apps, c.Enqueue, func(app string, _, _ *cache.Object[[]byte]) []string { return known.SourcesOf(app) })
	cluster.Follow(known.Status, c.Enqueue, func(app string, before, after *cache.Object[v1.AppStatus]) []string {
		if before != nil && after != nil && notReady(&before.Value) == notReady(&after.Value) {
			return nil
		}
		return known.SourcesOf(app)
	})
}

// all are the sources that exist, and those whose status does.
func (c *Controller) all() (names []string) {
	for _, o := range c.Cluster.Sources.List() {
		names = append(names, o.Name)
	}
	for _, o := range c.Cluster.SourceStatus.List() {
		names = append(names, o.Name)
	}
	return names
}

// Run works until ctx ends or another machine leads.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() { c.fetches.run(ctx) })
	looking.Go(func() { c.reports.run(ctx) })
	defer looking.Wait()
	defer cancel()
	return c.Loop.Run(ctx)
}

// Reconcile reconciles one source.
func (c *Controller) Reconcile(ctx context.Context, name string) (controller.Result, error) {
	if c.Repositories == nil {
		return controller.Result{}, nil
	}
	in, err := c.observe(ctx, name, c.fetches.of(name))
	if err != nil {
		return controller.Result{}, err
	}
	plan := Plan(in)
	err = c.apply(ctx, in, plan)
	return controller.Result{RequeueAfter: plan.After}, err
}
