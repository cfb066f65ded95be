package app

import (
	"context"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/keyspace"
)

// Options set up a Controller.
type Options struct {
	cluster.Env
	// Workers is how many apps are reconciled at once. Default 4.
	Workers int
	// AgentTTL is how long machines may take to report after etcd was unreachable.
	AgentTTL time.Duration
	// Began is when this leader started. Default: when the controller was made.
	Began time.Time
	// Generate writes unit files. The default is generate.Units; tests replace it to act as a fleetd of another version.
	Generate func(name string, spec *v1.AppSpec) (generate.Files, error)
	// Decided is called with each plan before it is applied. nil: it is not.
	Decided func(app string, plan Decision)
}

// Controller maintains the units of all apps.
type Controller struct {
	Options
	*cluster.Loop[string]
	waiting *cluster.Waiting
}

// New returns a controller. It does nothing until Run.
func New(opts Options) *Controller {
	opts.Env = opts.WithDefaults()
	if opts.Workers == 0 {
		opts.Workers = 4
	}
	if opts.Began.IsZero() {
		opts.Began = opts.Now()
	}
	c := &Controller{Options: opts}
	c.Loop = cluster.NewLoop(c.Env, "app", c.Reconcile, controller.Options{
		Workers: opts.Workers, Rest: 4, // so that not each of 10,000 starting instances costs a plan
	})
	c.Cluster.OnApp(c.Enqueue)
	c.Cluster.OnLeaving(c.Enqueue)
	c.waiting = c.Cluster.OnRouter(c.Enqueue)
	cluster.Follow(c.Cluster.Preparations, c.Enqueue, func(name string, _, _ *cache.Object[v1.Next]) []string {
		_, unit, _ := keyspace.Split(name)
		return c.Cluster.AppsOf(unit)
	})
	cluster.Follow(c.Cluster.Unplaced, c.Enqueue, func(unit string, _, _ *cache.Object[v1.Unplaced]) []string { return c.Cluster.AppsOf(unit) })
	return c
}

// Reconcile reconciles one app.
func (c *Controller) Reconcile(ctx context.Context, app string) (controller.Result, error) {
	c.waiting.Set(app, true) // set before observing, so that a router's answer in between is not missed
	plan := Plan(c.observe(app))
	c.waiting.Set(app, plan.Waiting)
	if c.Decided != nil {
		c.Decided(app, plan)
	}
	err := c.apply(ctx, app, plan)
	return controller.Result{RequeueAfter: plan.After}, err
}
