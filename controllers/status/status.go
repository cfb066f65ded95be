package status

import (
	"context"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
)

// Options set up a Controller.
type Options struct {
	cluster.Env
	// Delay gathers changes of an app, so that 1,000 starting instances are not 1,000 writes. Default 50 ms.
	Delay time.Duration
}

// Controller maintains the status of all apps.
type Controller struct {
	Options
	*cluster.Loop[string]
	waiting *cluster.Waiting
}

// New returns a controller. It does nothing until Run.
func New(opts Options) *Controller {
	opts.Env = opts.WithDefaults()
	if opts.Delay == 0 {
		opts.Delay = 50 * time.Millisecond
	}
	c := &Controller{Options: opts}
	c.Loop = cluster.NewLoop(c.Env, "status", c.Reconcile, controller.Options{
		Workers: 2, Rest: 9, // at most a tenth of the time goes into one large app's changes
	})
	enqueue := func(app string) { c.EnqueueAfter(app, opts.Delay) }
	c.Cluster.OnApp(enqueue)
	c.Cluster.OnPlacement(enqueue)
	c.waiting = c.Cluster.OnRouter(enqueue)
	cluster.Follow(c.Cluster.Routers, enqueue, c.refusals)
	cluster.Follow(c.Cluster.Status, enqueue, func(name string, _, _ *cache.Object[v1.AppStatus]) []string { return []string{name} })
	return c
}

// refusals returns the apps for which, or for an endpoint of which, a router's refusal changed. It may include keys that
// belong to no app.
func (c *Controller) refusals(_ string, before, after *cache.Object[v1.Router]) (apps []string) {
	was, is := leftOut(before), leftOut(after)
	for n, said := range [][]v1.RouteRefusal{was, is} {
		other := [][]v1.RouteRefusal{is, was}[n]
		for _, r := range said {
			if _, ok := c.Cluster.Apps.Get(r.App); ok && !slices.Contains(other, r) {
				apps = append(apps, r.App)
			}
		}
	}
	return apps
}

func leftOut(o *cache.Object[v1.Router]) []v1.RouteRefusal {
	if o == nil {
		return nil
	}
	return o.Value.LeftOut()
}

// Reconcile writes one app's status where it has changed.
func (c *Controller) Reconcile(ctx context.Context, app string) (controller.Result, error) {
	if !c.Cluster.KnowsEndpoints(app) {
		return controller.Result{}, nil // OnApp calls again
	}
	c.waiting.Set(app, true) // set before observing, so that a router's answer in between is not missed
	plan := Plan(c.observe(app))
	c.waiting.Set(app, plan.Waiting)
	err := c.apply(ctx, app, plan)
	return controller.Result{RequeueAfter: plan.After}, err
}
