// Package controller runs reconcilers: a queue of keys, workers, and a single place that decides when a key is
// reconciled again. It is independent of etcd.
package controller

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/client-go/util/workqueue"
)

// Result says when a successful reconciler wants to run again.
type Result struct {
	// RequeueAfter is when time alone may require a change. 0 means only when the key is enqueued.
	RequeueAfter time.Duration
}

// Reconciler brings the actual state closer to the desired state, for one key.
type Reconciler[K comparable] interface {
	// Reconcile returns nil when everything is done or waits for an event, an error to be called again with backoff,
	// and Partial(err) if only some items failed. A key is never reconciled by two workers at once.
	Reconcile(ctx context.Context, key K) (Result, error)
}

// Func is a function that implements Reconciler.
type Func[K comparable] func(ctx context.Context, key K) (Result, error)

// Reconcile implements Reconciler.
func (f Func[K]) Reconcile(ctx context.Context, key K) (Result, error) { return f(ctx, key) }

// Singleton is the key of controllers that reconcile everything at once.
type Singleton = struct{}

// Partial marks the error of a reconciliation that did everything possible but failed for some items. It is retried
// like any other error, or after RequeueAfter if that is sooner. The controller counts as healthy: a failing item is
// reported where it belongs and does not take the machine out of service.
func Partial(err error) error {
	if err == nil {
		return nil
	}
	return &partialError{err}
}

type partialError struct{ err error }

func (e *partialError) Error() string { return e.err.Error() }
func (e *partialError) Unwrap() error { return e.err }

// Options configure a Controller. The zero value is usable.
type Options struct {
	// Workers is the number of concurrent reconciliations. Default 1.
	Workers int
	Log     logr.Logger
	// MinBackoff is the pause after a key's first error, doubled with each further one up to MaxBackoff. Default 5 ms
	// and 30 s.
	MinBackoff, MaxBackoff time.Duration
	// Rest delays a key after a slow reconciliation by this multiple of its duration, so that frequent changes are
	// handled in batches. Reconciliations of less than 10 ms cause no delay. 0 means no delay.
	Rest float64
	// RestAtMost is the longest such delay. 0 means no limit.
	RestAtMost time.Duration
	// Fatal reports whether an error ends Run, such as the loss of leadership.
	Fatal func(error) bool
	// Metrics counts reconciliations. nil disables it.
	Metrics *Metrics
	// Stepped: nothing is reconciled but by Step, by whose clock time passes. Run is not called then.
	Stepped bool
}

func (o Options) withDefaults() Options {
	if o.Workers <= 0 {
		o.Workers = 1
	}
	if o.Log.GetSink() == nil {
		o.Log = logr.Discard()
	}
	if o.MinBackoff <= 0 {
		o.MinBackoff = 5 * time.Millisecond
	}
	if o.MaxBackoff <= 0 {
		o.MaxBackoff = 30 * time.Second
	}
	if o.Fatal == nil {
		o.Fatal = func(error) bool { return false }
	}
	return o
}

// Controller calls a Reconciler for the keys in its queue.
type Controller[K comparable] struct {
	name       string
	reconciler Reconciler[K]
	opts       Options
	queue      workqueue.TypedRateLimitingInterface[K] // nil: see steps
	steps      *steps[K]                               // nil unless Stepped
	meter      meter

	mu      sync.Mutex
	resting map[K]time.Time // until when, see Options.Rest
}

// restFrom is the shortest duration that Options.Rest applies to.
const restFrom = 10 * time.Millisecond

// New returns a controller. Keys may be enqueued at once; Run starts the reconciliation.
func New[K comparable](name string, r Reconciler[K], opts Options) *Controller[K] {
	opts = opts.withDefaults()
	if opts.Stepped {
		return &Controller[K]{name: name, reconciler: r, opts: opts, steps: &steps[K]{due: map[K]time.Time{}}, meter: opts.Metrics.of(name)}
	}
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[K](opts.MinBackoff, opts.MaxBackoff)
	return &Controller[K]{
		name:       name,
		reconciler: r,
		opts:       opts,
		queue:      workqueue.NewTypedRateLimitingQueue(limiter),
		meter:      opts.Metrics.of(name),
		resting:    map[K]time.Time{},
	}
}

// Soon is the delay of Enqueue: none. A simulation sets a short one before anything runs, so that everything that
// happens at the same time has arrived.
var Soon time.Duration

// Enqueue requests a reconciliation of key. A queued key is reconciled once; one being reconciled is reconciled again
// afterwards.
func (c *Controller[K]) Enqueue(key K) {
	if c.steps != nil {
		c.steps.add(key)
		return
	}
	c.queue.AddAfter(key, Soon)
	c.meter.depth(c.queue.Len())
}

// EnqueueAfter requests a reconciliation of key after d.
func (c *Controller[K]) EnqueueAfter(key K, d time.Duration) { c.queue.AddAfter(key, d) }

// Run reconciles until ctx ends, waits for running reconciliations, and returns nil, or the first Fatal error. Queued
// keys are dropped. A controller runs once.
func (c *Controller[K]) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, c.queue.ShutDown)
	defer stop()
	var workers sync.WaitGroup
	for range c.opts.Workers {
		workers.Go(func() {
			for c.next(ctx, cancel) {
			}
		})
	}
	workers.Wait()
	c.meter.left()
	var fatal *fatalError
	if errors.As(context.Cause(ctx), &fatal) {
		return fmt.Errorf("controller %s: %w", c.name, fatal.err)
	}
	return nil
}

// fatalError distinguishes the end by Fatal from other reasons.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }

// next reconciles one key and reports whether to continue.
func (c *Controller[K]) next(ctx context.Context, cancel context.CancelCauseFunc) bool {
	key, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(key)
	if ctx.Err() != nil {
		return true
	}
	c.meter.depth(c.queue.Len())
	if wait := c.rests(key); wait > 0 {
		c.queue.AddAfter(key, wait)
		return true
	}
	log := c.opts.Log.WithValues("key", key)
	start := time.Now()
	ended := c.meter.looking(key)
	result, err := c.reconcile(logr.NewContext(ctx, log), key)
	took := time.Since(start)
	c.rest(key, took)

	_, partial := err.(*partialError) // joined with another error it is not partial
	failed := err
	switch {
	case err == nil && result.RequeueAfter > 0:
		c.queue.Forget(key)
		c.queue.AddAfter(key, result.RequeueAfter)
		c.meter.done(resultRequeueAfter, took)
	case err == nil:
		c.queue.Forget(key)
		c.meter.done(resultSuccess, took)
	case c.opts.Fatal(err):
		log.Info("Reconciling ends", "reason", "Fatal", "error", err.Error())
		cancel(&fatalError{err})
		c.meter.done(resultFatal, took)
	case ctx.Err() != nil:
		log.V(1).Info("Reconciling interrupted", "reason", "Stopping", "error", err.Error())
		c.meter.done(resultError, took)
	case partial:
		log.Error(err, "Failed to reconcile some items, will retry", "attempt", c.queue.NumRequeues(key)+1)
		c.queue.AddRateLimited(key)
		if result.RequeueAfter > 0 {
			c.queue.AddAfter(key, result.RequeueAfter)
		}
		c.meter.done(resultPartial, took)
		failed = nil
	default:
		log.Error(err, "Failed to reconcile, will retry", "attempt", c.queue.NumRequeues(key)+1)
		c.queue.AddRateLimited(key)
		c.meter.done(resultError, took)
	}
	ended(failed)
	return true
}

// rests returns the remaining delay of a key.
func (c *Controller[K]) rests(key K) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := time.Until(c.resting[key])
	if wait <= 0 {
		delete(c.resting, key)
	}
	return wait
}

// rest delays a key after a slow reconciliation.
func (c *Controller[K]) rest(key K, took time.Duration) {
	if c.opts.Rest <= 0 || took < restFrom {
		return
	}
	pause := time.Duration(float64(took) * c.opts.Rest)
	if most := c.opts.RestAtMost; most > 0 {
		pause = min(pause, most)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resting[key] = time.Now().Add(pause)
}

// reconcile turns a panic into an error: one bad key must not end the process that handles all of them.
func (c *Controller[K]) reconcile(ctx context.Context, key K) (result Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			c.meter.panicked()
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return c.reconciler.Reconcile(ctx, key)
}
