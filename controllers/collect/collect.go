package collect

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/store"
)

// Options set up a Controller.
type Options struct {
	Store store.Interface
	// Cluster is what is known; the controller adds its handlers to it, so make it before Cluster.Run.
	Cluster *cluster.Cluster
	// Fence is the leader key that every write depends on.
	Fence   store.Fence
	Events  *events.Recorder
	Log     logr.Logger
	Metrics *controller.Metrics
	// Grace is how long something has to be unused before it is deleted. Default 5 min.
	Grace time.Duration
	// Delay gathers changes: looking at the whole world is for now and then. Default 1 min.
	Delay time.Duration
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Controller collects garbage.
type Controller struct {
	opts    Options
	cluster *cluster.Cluster
	loop    *controller.Controller[controller.Singleton]
	unused  map[Candidate]time.Time // the loop's own
}

// New returns a controller. Nothing happens before Run.
func New(opts Options) *Controller {
	if opts.Grace == 0 {
		opts.Grace = 5 * time.Minute
	}
	if opts.Delay == 0 {
		opts.Delay = time.Minute
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	c := &Controller{opts: opts, cluster: opts.Cluster}
	c.loop = controller.New("collect", controller.Func[controller.Singleton](c.Reconcile), controller.Options{
		Log: opts.Log, Metrics: opts.Metrics, Fatal: func(err error) bool { return errors.Is(err, store.ErrFenced) },
	})
	c.watch()
	return c
}

// watch looks again when something may have become unused. A state that changes stays as used as it was.
func (c *Controller) watch() {
	follow(c, c.cluster.Apps, existence)
	follow(c, c.cluster.Machines, existence)
	follow(c, c.cluster.Units, func(e cache.Event[v1.Unit]) bool {
		return existence(e) || e.Old.Value.Spec.Hash != e.New.Value.Spec.Hash || e.Old.Value.Spec.Contents != e.New.Value.Spec.Contents
	})
	follow(c, c.cluster.Placements, func(e cache.Event[v1.Placement]) bool {
		return existence(e) || e.Old.Value.Hash != e.New.Value.Hash
	})
	follow(c, c.cluster.Revisions, existence)
	follow(c, c.cluster.UnitFiles, existence)
	follow(c, c.cluster.Overrides, existence)
	follow(c, c.cluster.Status, existence)
	follow(c, c.cluster.States, existence)
}

func existence[T any](e cache.Event[T]) bool { return (e.Old == nil) != (e.New == nil) }

func follow[T any](c *Controller, collection *cache.Collection[T], matters func(cache.Event[T]) bool) {
	collection.OnChange(func(events []cache.Event[T]) {
		for _, e := range events {
			if matters(e) {
				c.loop.EnqueueAfter(controller.Singleton{}, c.opts.Delay)
				return
			}
		}
	})
}

// Run works until ctx ends, or until a write is refused because somebody else leads: store.ErrFenced.
func (c *Controller) Run(ctx context.Context) error {
	err := c.cluster.WaitForSync(ctx)
	c.loop.EnqueueAfter(controller.Singleton{}, c.opts.Delay)
	return errors.Join(err, c.loop.Run(ctx)) // where ctx has ended already, this ends the queue
}

// Reconcile deletes what has been unused for long enough.
func (c *Controller) Reconcile(ctx context.Context, _ controller.Singleton) (controller.Result, error) {
	plan := Plan(c.observe())
	c.unused = plan.Unused
	err := c.apply(ctx, plan)
	return controller.Result{RequeueAfter: plan.After}, err
}
