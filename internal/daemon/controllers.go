package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/app"
	"github.com/fleet-starter/fleet/controllers/collect"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/controllers/source"
	"github.com/fleet-starter/fleet/controllers/status"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/forecast"
	"github.com/fleet-starter/fleet/internal/generate"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/leader"
	"github.com/fleet-starter/fleet/internal/store"
)

// elected lists the controllers that only the leader runs. The others run on every machine: node in this process, announce
// and route in their own.
var elected = []electedController{
	{"app", func(env cluster.Env, e ElectedFor) runner {
		return app.New(app.Options{Env: env, AgentTTL: e.AgentTTL, Generate: e.Generate})
	}},
	{"schedule", func(env cluster.Env, e ElectedFor) runner {
		return schedule.New(schedule.Options{Env: env, Limits: limits(e.AgentTTL, e.FreezeTimeout)})
	}},
	{"status", func(env cluster.Env, _ ElectedFor) runner { return status.New(status.Options{Env: env}) }},
	{"source", func(env cluster.Env, e ElectedFor) runner {
		return source.New(source.Options{Env: env, Repositories: e.Repositories, Reporter: e.Reporter})
	}},
	{"collect", func(env cluster.Env, _ ElectedFor) runner { return collect.New(collect.Options{Env: env}) }},
}

// limits are the scheduler's.
func limits(agentTTL, freezeTimeout time.Duration) schedule.Limits {
	return schedule.Limits{Grace: agentTTL, FreezeTimeout: freezeTimeout}
}

// electedController is one row of the list.
type electedController struct {
	name string
	new  func(cluster.Env, ElectedFor) runner
}

// runner works until ctx ends. An error, such as a fenced write, ends the term.
type runner interface {
	Run(ctx context.Context) error
}

// ElectedFor is what the environment of elected controllers is made of, plus what some of them need in addition.
type ElectedFor struct {
	Store   store.Interface
	Keys    keyspace.Keys
	Log     logr.Logger
	Events  *events.Recorder
	Metrics *controller.Metrics
	// Caches are options for the cluster's caches.
	Caches []cache.Option
	// AgentTTL is how long machines may take to report. Campaign sets it.
	AgentTTL time.Duration
	// FreezeTimeout is freeze_timeout of the configuration.
	FreezeTimeout time.Duration
	// Connection returns a part's own connection to etcd. nil: all parts share Store.
	Connection func(part string) store.Interface
	// Repositories reads the repositories of sources. nil: sources are not applied.
	Repositories source.Repositories
	// Reporter tells Git servers what became of commits. nil: none is told.
	Reporter source.Reporter
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Generate writes unit files, see app.Options.
	Generate func(name string, spec *v1.AppSpec) (generate.Files, error)
}

// of returns one part's variant: the part's name is in its log, its events and on its connection.
func (e ElectedFor) of(part string) ElectedFor {
	e.Log, e.Events = e.Log.WithName(part), e.Events.WithSource(part)
	if e.Connection != nil {
		e.Store = e.Connection(part)
	}
	return e
}

// env returns the environment of one elected controller in one term.
func (e ElectedFor) env(part string, known *cluster.Cluster, fence store.Fence) cluster.Env {
	own := e.of(part)
	return cluster.Env{Store: own.Store, Cluster: known, Fence: fence, Events: own.Events, Log: own.Log, Metrics: e.Metrics, Now: e.Now}
}

// Term is a term of leadership.
type Term struct {
	began    time.Time
	schedule *schedule.Controller
	source   *source.Controller
}

func (t *Term) memory() *forecast.Memory {
	return &forecast.Memory{Schedule: t.schedule.Absences(), Began: t.began}
}

// Campaign runs the elected controllers whenever this machine leads. It calls leading when a term has begun, and with nil when it ends.
func Campaign(ctx context.Context, machine string, ttl time.Duration, e ElectedFor, leading func(*Term)) error {
	ctx = logr.NewContext(ctx, e.Log)
	return leader.Run(ctx, e.of("leader").Store, e.Keys, keyspace.Election, machine, ttl, func(ctx context.Context, fence store.Fence) error {
		defer leading(nil)
		e := e
		e.AgentTTL = ttl
		return term(ctx, e, fence, leading)
	})
}

// term runs the elected controllers until ctx ends or one of them gives up.
func term(ctx context.Context, e ElectedFor, fence store.Fence, leading func(*Term)) error {
	own := e.of("cluster")
	known := cluster.New(own.Store, e.Keys, e.Log, append([]cache.Option{cache.OnIgnored(own.Events.Ignored), cache.RecordDiffers(own.Events)}, e.Caches...)...)
	p := newParts(e.Log)
	defer p.stop()
	runners, this := make([]runner, len(elected)), &Term{}
	for i, c := range elected { // create all before the cluster runs, so that they miss no change
		env := e.env(c.name, known, fence)
		runners[i] = c.new(env, e)
		switch c := runners[i].(type) {
		case *schedule.Controller:
			this.schedule, this.began = c, env.WithDefaults().Now()
		case *source.Controller:
			this.source = c
		}
	}
	leading(this)
	p.start(ctx, "cluster", known.Run)
	for i, run := range inTurn(runners) {
		p.start(ctx, elected[i].name, run)
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failed:
		return fmt.Errorf("controller %w", err)
	}
}

// firstRunner is the controller whose first pass the others wait for.
type firstRunner interface{ FirstPass() <-chan struct{} }

// inTurn starts the others when the scheduler has made its first pass: machines may have been lost while there was no leader,
// and nothing else is as urgent.
func inTurn(runners []runner) []func(context.Context) error {
	runs := make([]func(context.Context) error, len(runners))
	var firstPass <-chan struct{}
	for i, r := range runners {
		runs[i] = r.Run
		if first, ok := r.(firstRunner); ok {
			firstPass = first.FirstPass()
		}
	}
	for i, r := range runners {
		if _, first := r.(firstRunner); first || firstPass == nil {
			continue
		}
		runs[i] = func(ctx context.Context) error {
			select {
			case <-firstPass:
			case <-ctx.Done():
			}
			return r.Run(ctx)
		}
	}
	return runs
}
