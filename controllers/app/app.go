package app

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/store"
)

// Recorder records events; *events.Recorder does it.
type Recorder interface {
	Record(kind, name, eventType, reason, message string)
}

// Options set up a Controller.
type Options struct {
	Store store.Interface
	// Cluster is what is known; the controller adds its handlers to it, so make it before Cluster.Run.
	Cluster *cluster.Cluster
	// Fence is the leader key that every write depends on.
	Fence   store.Fence
	Events  Recorder
	Log     logr.Logger
	Metrics *controller.Metrics
	// Workers is how many apps are looked after at once. Default 4.
	Workers int
	// AgentTTL is how long machines may take to report after etcd was away.
	AgentTTL time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Generate writes unit files. Default generate.Units; another one is that of a fleetd of another version.
	Generate func(name string, spec *v1.AppSpec) (generate.Files, error)
}

// Controller keeps the units of all apps.
type Controller struct {
	opts    Options
	cluster *cluster.Cluster
	loop    *controller.Controller[string]
	waiting *cluster.Waiting
	began   time.Time // when this leader did
}

// New returns a controller. Nothing happens before Run.
func New(opts Options) *Controller {
	if opts.Workers == 0 {
		opts.Workers = 4
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Controller{opts: opts, cluster: opts.Cluster, began: opts.Now()}
	c.loop = controller.New("app", controller.Func[string](c.Reconcile), controller.Options{
		Workers: opts.Workers, Log: opts.Log, Metrics: opts.Metrics, Rest: 4, // each of 10,000 instances that start does not cost a plan
		Fatal: func(err error) bool { return errors.Is(err, store.ErrFenced) },
	})
	c.cluster.OnApp(c.loop.Enqueue)
	c.cluster.OnLeaving(c.loop.Enqueue)
	c.waiting = c.cluster.OnRouter(c.loop.Enqueue)
	cluster.Follow(c.cluster.Unplaced, c.loop.Enqueue, func(unit string, _, _ *cache.Object[v1.Unplaced]) []string { return c.cluster.AppsOf(unit) })
	return c
}

// Run works until ctx ends, or until a write is refused because somebody else leads: store.ErrFenced.
func (c *Controller) Run(ctx context.Context) error {
	err := c.cluster.WaitForSync(ctx)
	return errors.Join(err, c.loop.Run(ctx)) // where ctx has ended already, this ends the queue
}

// Reconcile looks after one app.
func (c *Controller) Reconcile(ctx context.Context, app string) (controller.Result, error) {
	c.waiting.Set(app, true) // before looking: a router that answers meanwhile is not missed
	plan := Plan(c.observe(app))
	c.waiting.Set(app, plan.Waiting)
	err := c.apply(ctx, app, plan)
	return controller.Result{RequeueAfter: plan.After}, err
}
