package collect

import (
	"context"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
)

// Options set up a Controller.
type Options struct {
	cluster.Env
	// Grace is how long something has to be unused before it is deleted. Default 5 min.
	Grace time.Duration
	// Delay gathers changes, because each pass reads everything. Default 1 min.
	Delay time.Duration
}

// Controller collects garbage.
type Controller struct {
	Options
	*cluster.Loop[controller.Singleton]
	unused map[Candidate]time.Time // only used by the loop
}

// New returns a controller. It does nothing until Run.
func New(opts Options) *Controller {
	opts.Env = opts.WithDefaults()
	if opts.Grace == 0 {
		opts.Grace = 5 * time.Minute
	}
	if opts.Delay == 0 {
		opts.Delay = time.Minute
	}
	c := &Controller{Options: opts}
	c.Loop = cluster.NewLoop(c.Env, "collect", c.Reconcile, controller.Options{})
	c.watch()
	return c
}

// watch triggers a pass when something may have become unused; the first listing counts as a change of everything. A state
// that only changes stays in use.
func (c *Controller) watch() {
	follow(c, c.Cluster.Apps, existence)
	follow(c, c.Cluster.Machines, existence)
	follow(c, c.Cluster.Units, func(e cache.Event[v1.Unit]) bool {
		return existence(e) || e.Old.Value.Spec.Hash != e.New.Value.Spec.Hash || e.Old.Value.Spec.Contents != e.New.Value.Spec.Contents
	})
	follow(c, c.Cluster.Placements, func(e cache.Event[v1.Placement]) bool {
		return existence(e) || e.Old.Value.Hash != e.New.Value.Hash
	})
	follow(c, c.Cluster.Revisions, existence)
	follow(c, c.Cluster.Applies, existence)
	follow(c, c.Cluster.UnitFiles, existence)
	follow(c, c.Cluster.Overrides, existence)
	follow(c, c.Cluster.Status, existence)
	follow(c, c.Cluster.Sources, existence)
	follow(c, c.Cluster.SourceWishes, existence)
	follow(c, c.Cluster.States, existence)
}

func existence[T any](e cache.Event[T]) bool { return (e.Old == nil) != (e.New == nil) }

func follow[T any](c *Controller, collection *cache.Collection[T], matters func(cache.Event[T]) bool) {
	collection.OnChange(func(events []cache.Event[T]) {
		for _, e := range events {
			if matters(e) {
				c.EnqueueAfter(controller.Singleton{}, c.Delay)
				return
			}
		}
	})
}

// Reconcile deletes what has been unused for long enough.
func (c *Controller) Reconcile(ctx context.Context, _ controller.Singleton) (controller.Result, error) {
	plan := Plan(c.observe())
	c.unused = plan.Unused
	err := c.apply(ctx, plan)
	return controller.Result{RequeueAfter: plan.After}, err
}
