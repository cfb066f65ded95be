// Package schedule decides which machine runs which unit, and says why one that runs nowhere fits nowhere.
//
// The decision is Plan: pure, over an index (Cluster) that is told of every change at a cost in proportion to that
// change. Reconcile feeds the index from the caches, plans, writes, and returns when it has seen its writes: so nothing
// is planned twice.
package schedule

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
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
	// Limits say how careful plans are. The zero value is fine.
	Limits Limits
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Controller places units. It is made anew for each term of leadership.
type Controller struct {
	Options
	loop    *controller.Controller[controller.Singleton]
	changes changes
	files   files
	index   *index.Index

	frozenSince time.Time
	due         time.Time // when to plan although nothing has changed; zero: never
	behind      bool      // what is known may lack what was written: a write went wrong, or was not seen yet

	looked chan struct{} // closed after the first look
	once   sync.Once
}

// New returns a controller. Nothing happens before Run.
func New(opts Options) *Controller {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Log.GetSink() == nil {
		opts.Log = logr.Discard()
	}
	c := &Controller{Options: opts, index: NewIndex(), files: files{}, looked: make(chan struct{})}
	c.loop = controller.New("schedule", controller.Func[controller.Singleton](c.Reconcile), controller.Options{
		Log: opts.Log, Metrics: opts.Metrics,
		Fatal: func(err error) bool { return errors.Is(err, store.ErrFenced) },
	})
	c.follow()
	return c
}

// Run works until ctx ends, or until a write is refused because somebody else leads: store.ErrFenced.
func (c *Controller) Run(ctx context.Context) error {
	err := c.Cluster.WaitForSync(ctx)
	c.loop.Enqueue(controller.Singleton{})
	return errors.Join(err, c.loop.Run(ctx)) // where ctx has ended already, this ends the queue
}

// Looked is closed when all that there was in the beginning has been decided, once: what may have happened while nobody led
// is more urgent than anything that the other controllers do.
func (c *Controller) Looked() <-chan struct{} { return c.looked }

// Reconcile decides for all that has changed, and writes it.
func (c *Controller) Reconcile(ctx context.Context, _ controller.Singleton) (controller.Result, error) {
	now := c.Now()
	if wait := c.changes.burst(now); wait > 0 {
		return controller.Result{RequeueAfter: wait}, nil
	}
	defer c.once.Do(func() { close(c.looked) })
	if c.behind { // a write whose answer was lost may have been made: a plan that does not know of it would contradict it
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
	c.due = time.Time{}
	if plan.After > 0 {
		c.due = now.Add(plan.After)
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
