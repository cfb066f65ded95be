package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/store"
)

// Env is what every elected controller gets, created for each term of leadership.
type Env struct {
	Store store.Interface
	// Cluster is the shared cache. Controllers add their handlers to it, so they are created before Cluster.Run.
	Cluster *Cluster
	// Fence is the leader key that every write depends on.
	Fence store.Fence
	// Events records what happens. Default: nothing is recorded.
	Events events.Interface
	// Log is the controller's logger. Default: nothing is logged.
	Log     logr.Logger
	Metrics *controller.Metrics
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Stepped: the controller does nothing by itself, see controller.Options.
	Stepped bool
}

// WithDefaults fills in what is not set.
func (e Env) WithDefaults() Env {
	if e.Events == nil {
		e.Events = (*events.Recorder)(nil)
	}
	if e.Log.GetSink() == nil {
		e.Log = logr.Discard()
	}
	if e.Now == nil {
		e.Now = time.Now
	}
	return e
}

// Loop is the loop of an elected controller.
type Loop[K comparable] struct {
	*controller.Controller[K]
	cluster *Cluster
}

// NewLoop returns a loop that is idle until Run. It takes Log, Metrics and Fatal from the environment.
func NewLoop[K comparable](e Env, name string, reconcile controller.Func[K], opts controller.Options) *Loop[K] {
	opts.Log, opts.Metrics, opts.Stepped = e.Log, e.Metrics, e.Stepped
	opts.Fatal = func(err error) bool { return errors.Is(err, store.ErrFenced) }
	return &Loop[K]{Controller: controller.New(name, reconcile, opts), cluster: e.Cluster}
}

// Run works until ctx ends, or until a write fails because another process leads: store.ErrFenced.
func (l *Loop[K]) Run(ctx context.Context) error {
	err := l.cluster.WaitForSync(ctx)
	return errors.Join(err, l.Controller.Run(ctx)) // if ctx has ended already, this shuts the queue down
}
