package status

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/store"
)

// Options set up a Controller.
type Options struct {
	Store store.Interface
	// Cluster is what is known; the controller adds its handlers to it, so make it before Cluster.Run.
	Cluster *cluster.Cluster
	// Fence is the leader key that every write depends on.
	Fence   store.Fence
	Log     logr.Logger
	Metrics *controller.Metrics
	// Delay gathers changes of an app, so that 1,000 instances that start are not 1,000 writes. Default 50 ms.
	Delay time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Controller keeps the status of all apps.
type Controller struct {
	opts    Options
	cluster *cluster.Cluster
	loop    *controller.Controller[string]
	waiting *cluster.Waiting
}

// New returns a controller. Nothing happens before Run.
func New(opts Options) *Controller {
	if opts.Delay == 0 {
		opts.Delay = 50 * time.Millisecond
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Controller{opts: opts, cluster: opts.Cluster}
	c.loop = controller.New("status", controller.Func[string](c.Reconcile), controller.Options{
		Workers: 2, Log: opts.Log, Metrics: opts.Metrics, Rest: 9, // of one large app's change at most a tenth of the time
		Fatal: func(err error) bool { return errors.Is(err, store.ErrFenced) },
	})
	enqueue := func(app string) { c.loop.EnqueueAfter(app, opts.Delay) }
	c.cluster.OnApp(enqueue)
	c.cluster.OnPlacement(enqueue)
	c.waiting = c.cluster.OnRouter(enqueue)
	cluster.Follow(c.cluster.Routers, enqueue, c.refusals)
	cluster.Follow(c.cluster.Status, enqueue, func(name string, _, _ *cache.Object[v1.AppStatus]) []string { return []string{name} })
	return c
}

// refusals are the apps of which, or of an endpoint of which, a router says something else than before. It may name keys that
// are of no app, too.
func (c *Controller) refusals(_ string, before, after *cache.Object[v1.Router]) (apps []string) {
	was, is := leftOut(before), leftOut(after)
	for n, said := range [][]v1.RouteRefusal{was, is} {
		other := [][]v1.RouteRefusal{is, was}[n]
		for _, r := range said {
			if _, ok := c.cluster.Apps.Get(r.App); ok && !slices.Contains(other, r) {
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

// Run works until ctx ends, or until a write is refused because somebody else leads: store.ErrFenced.
func (c *Controller) Run(ctx context.Context) error {
	err := c.cluster.WaitForSync(ctx)
	return errors.Join(err, c.loop.Run(ctx)) // where ctx has ended already, this ends the queue
}

// Reconcile writes one app's status where it has changed.
func (c *Controller) Reconcile(ctx context.Context, app string) (controller.Result, error) {
	if !c.cluster.KnowsEndpoints(app) {
		return controller.Result{}, nil // OnApp tells once more
	}
	c.waiting.Set(app, true) // before looking: a router that answers meanwhile is not missed
	plan := Plan(c.observe(app))
	c.waiting.Set(app, plan.Waiting)
	err := c.apply(ctx, app, plan)
	return controller.Result{RequeueAfter: plan.After}, err
}
