// Package forecast foresees what the elected controllers do after a change. It runs the controllers themselves, app and schedule,
// on a copy of what is stored, with a model of machines on which everything succeeds at once: what they decide there is what they
// would decide. Nothing is written to etcd.
package forecast

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/app"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/controllers/source"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// Options are what forecasts depend on besides what is stored. Keys is required.
type Options struct {
	Keys keyspace.Keys
	// Limits are those of the scheduler.
	Limits schedule.Limits
	// Generate writes unit files, see app.Options.
	Generate func(name string, spec *v1.AppSpec) (generate.Files, error)
	// AgentTTL is that of the elected controllers.
	AgentTTL time.Duration
	// Leader returns what the leader knows, if that is this process; nil if another one leads. Default: another one does.
	Leader func() *Memory
	// Now is when forecasts begin. Default time.Now.
	Now func() time.Time
	// Timeout bounds a forecast. Default 20 s.
	Timeout time.Duration
	// Done is called with the copy as the forecast leaves it, for tests that look at each write. nil: it is not.
	Done func(model *memstore.Store)
}

// Memory is what the leader knows that is stored nowhere.
type Memory struct {
	Schedule schedule.Absences
	// Began is when it began to lead.
	Began time.Time
}

// The bounds of a forecast.
const (
	defaultTimeout = 20 * time.Second
	// horizon is how far a forecast looks ahead: what takes longer, such as forgetting a lost machine's global units after an hour,
	// is not foreseen.
	horizon = 30 * time.Minute
)

// Change is applied to the copy that a forecast is made on.
type Change func(ctx context.Context, s store.Interface) error

// On returns Run for one store.
func On(s store.Interface, o Options) func(context.Context, wire.WhatIf, func(context.Context, store.Interface) error) (*wire.Foreseen, int64, error) {
	return func(ctx context.Context, whatIf wire.WhatIf, change func(context.Context, store.Interface) error) (*wire.Foreseen, int64, error) {
		return Run(ctx, s, o, whatIf, change)
	}
}

// Run foresees what happens after a change, and what else is supposed to happen, to the cluster that s holds.
func Run(ctx context.Context, s store.Interface, o Options, whatIf wire.WhatIf, change Change) (*wire.Foreseen, int64, error) {
	copied, err := Read(ctx, s, o.Keys, whatIf)
	if err != nil {
		return nil, 0, err
	}
	foreseen, err := Of(ctx, copied, o, whatIf, change)
	return foreseen, copied.Revision, err
}

// Of is Run for a copy that was read before.
func Of(ctx context.Context, copied *Copy, o Options, whatIf wire.WhatIf, change Change) (*wire.Foreseen, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, tooMuch("it takes longer than %s: plan fewer changes at once", o.Timeout))
	defer cancel()
	r := newRun(copied, o)
	var parts sync.WaitGroup
	parts.Go(func() { _ = r.known.Run(ctx) })
	defer parts.Wait()
	defer cancel()
	foreseen, err := r.foresee(ctx, whatIf, change)
	if err == nil && o.Done != nil {
		o.Done(r.store)
	}
	var late *wire.Status
	if err != nil && errors.As(context.Cause(ctx), &late) {
		err = late
	}
	return foreseen, err
}

// tooMuch is why a forecast is given up.
func tooMuch(format string, args ...any) error {
	return wire.Fail(wire.ReasonTooMuch, "this cannot be foreseen: "+format, args...)
}

// run is one forecast.
type run struct {
	store    *memstore.Store
	keys     keyspace.Keys
	known    *cluster.Cluster
	app      *app.Controller
	schedule *schedule.Controller
	source   *source.Controller
	machines *machines
	clock    clock
	end      time.Time
	out      *recorder
	// changed and notes are what a source does.
	changed []wire.PlanChange
	notes   []string
}

// clock is the forecast's own time.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) set(at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = at
}

func newRun(copied *Copy, o Options) *run {
	r := &run{keys: o.Keys, out: newRecorder()}
	r.clock.set(o.Now())
	r.end = r.clock.now().Add(horizon)
	r.store = memstore.Load(copied.fewRouters(o.Keys), copied.Revision, memstore.Options{Now: r.clock.now})
	r.known = cluster.New(r.store, o.Keys, logr.Discard())
	r.out.known = r.known
	env := cluster.Env{Store: r.store, Cluster: r.known, Now: r.clock.now, Stepped: true}
	onApp, onSchedule := app.Options{Env: env, Generate: o.Generate, Decided: r.out.app}, schedule.Options{Env: env, Limits: o.Limits, Decided: r.out.schedule}
	var leader *Memory
	if o.Leader != nil {
		leader = o.Leader()
	}
	if leader != nil {
		onApp.AgentTTL, onApp.Began, onSchedule.Recalled = o.AgentTTL, leader.Began, leader.Schedule
	}
	r.app, r.schedule, r.source = app.New(onApp), schedule.New(onSchedule), source.New(source.Options{Env: env})
	r.machines = newMachines(r)
	return r
}

// foresee has the controllers see the cluster as it is first: only then they know what changes.
func (r *run) foresee(ctx context.Context, whatIf wire.WhatIf, change Change) (*wire.Foreseen, error) {
	if err := r.known.WaitForSync(ctx); err != nil {
		return nil, err
	}
	r.machines.look()
	r.schedule.Enqueue(controller.Singleton{})
	if _, err := r.schedule.Step(ctx, r.clock.now()); err != nil {
		return nil, err
	}
	r.out.before()
	missed := r.schedule.Absences().IDs()
	if change != nil {
		if err := change(ctx, r.store); err != nil {
			return nil, err
		}
	}
	if err := r.suppose(ctx, whatIf); err != nil {
		return nil, err
	}
	if err := r.known.CatchUp(ctx); err != nil {
		return nil, err
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	f := r.out.foreseen()
	f.Changes, f.Notes, f.Missed = r.changed, r.notes, missed
	for i, c := range f.Changes {
		if app, is := strings.CutPrefix(c.Object, "app/"); is && c.Reason == source.Pruned {
			f.Changes[i].Ends = f.EndsOf(app)
		}
	}
	return f, nil
}

// settle lets controllers and machines work in turns until nothing is left to do but what is beyond the horizon.
func (r *run) settle(ctx context.Context) error {
	for {
		if err := r.atOnce(ctx); err != nil {
			return err
		}
		at, ok := r.due()
		if !ok || at.After(r.end) {
			return nil
		}
		r.clock.set(at)
	}
}

// atOnce does what takes no time. App looks when units have got or lost their machines, and when all machines have done what they are
// told: each of its plans looks at all instances of an app, and what a machine has done by half changes none of them.
func (r *run) atOnce(ctx context.Context) error {
	for {
		did, err := r.schedule.Step(ctx, r.clock.now())
		if err == nil && r.out.movedUnits() {
			_, err = r.app.Step(ctx, r.clock.now())
		}
		if did == 0 && err == nil {
			did, err = r.machines.step(ctx)
		}
		if did == 0 && err == nil {
			did, err = r.app.Step(ctx, r.clock.now())
		}
		if did == 0 || err != nil {
			return err
		}
	}
}

// due is when the next controller wants to look again.
func (r *run) due() (at time.Time, ok bool) {
	for _, due := range []func() (time.Time, bool){r.schedule.Due, r.app.Due} {
		if next, some := due(); some && (!ok || next.Before(at)) {
			at, ok = next, true
		}
	}
	return at, ok
}

// write commits operations, many in several transactions, and waits until the caches have them.
func (r *run) write(ctx context.Context, ops []store.Op) error {
	groups := make([]store.Group, len(ops))
	for i, op := range ops {
		groups[i] = store.Group{op}
	}
	revision, err := store.LastRevision(store.Write(ctx, r.store, groups, store.Fence{}))
	if err != nil || len(ops) == 0 {
		return err
	}
	return r.known.WaitForRevision(ctx, revision)
}
