// Package schedule decides which machine runs which unit, and explains why a unit fits nowhere.
//
// The decision is Plan: pure, over an index that is updated with every change, at a cost in proportion to that change.
// Reconcile updates the index from the caches, plans, writes, and returns when it has seen its writes, so that nothing is
// planned twice.
package schedule

import (
	"context"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
)

// Options configure a Controller.
type Options struct {
	cluster.Env
	// Limits say how careful plans are. The zero value is usable.
	Limits Limits
	// Recalled is what another scheduler knows, which this one continues.
	Recalled Absences
	// Decided is called with each plan before it is applied. nil: it is not.
	Decided func(plan Decision)
}

// Controller places units. It is created for each term of leadership.
type Controller struct {
	Options
	*cluster.Loop[controller.Singleton]
	changes changes
	files   files
	index   *index.Index

	frozenSince time.Time
	due         time.Time // when to plan even if nothing has changed; zero: never
	behind      bool      // the caches may lack a write: it failed, or was not seen yet

	remembered sync.Mutex
	absences   Absences

	firstPass chan struct{} // closed after the first pass
	once      sync.Once
}

// New returns a controller. It does nothing until Run.
func New(opts Options) *Controller {
	opts.Env = opts.WithDefaults()
	c := &Controller{Options: opts, index: NewIndex(), files: files{}, frozenSince: opts.Recalled.FrozenSince, firstPass: make(chan struct{})}
	c.Loop = cluster.NewLoop(c.Env, "schedule", c.Reconcile, controller.Options{})
	c.follow()
	return c
}

// Run runs the loop, with a first pass even if nothing is stored.
func (c *Controller) Run(ctx context.Context) error {
	_ = c.Cluster.WaitForSync(ctx) // the loop returns the error, too
	c.Enqueue(controller.Singleton{})
	return c.Loop.Run(ctx)
}

// FirstPass is closed when everything that existed at the start has been decided once: what may have happened without a
// leader is more urgent than the work of the other controllers.
func (c *Controller) FirstPass() <-chan struct{} { return c.firstPass }

// Reconcile plans for everything that has changed, and writes the decisions.
func (c *Controller) Reconcile(ctx context.Context, _ controller.Singleton) (controller.Result, error) {
	now := c.Now()
	if wait := c.changes.burst(now); wait > 0 {
		return controller.Result{RequeueAfter: wait}, nil
	}
	defer c.once.Do(func() { close(c.firstPass) })
	if c.behind { // a write whose answer was lost may have been made: a plan that does not know it would contradict it
		if err := c.Cluster.CatchUp(ctx); err != nil {
			return controller.Result{}, err
		}
		c.behind = false
	}
	c.observe()
	if c.index.Idle() && (c.due.IsZero() || now.Before(c.due)) {
		return c.again(now), nil
	}
	plan := Plan(Input{Now: now, Index: c.index, Limits: c.Limits, FrozenSince: c.frozenSince})
	Commit(c.index, plan)
	switch {
	case !plan.Missed:
		c.frozenSince = time.Time{}
	case c.frozenSince.IsZero():
		c.frozenSince = now
	}
	c.remember()
	c.due = time.Time{}
	if plan.After > 0 {
		c.due = now.Add(plan.After)
	}
	if c.Decided != nil {
		c.Decided(plan)
	}
	err := c.apply(ctx, plan.Actions)
	c.behind = err != nil
	return c.again(now), err
}

func (c *Controller) again(now time.Time) controller.Result {
	if c.due.IsZero() {
		return controller.Result{}
	}
	return controller.Result{RequeueAfter: max(c.due.Sub(now), time.Millisecond)}
}
