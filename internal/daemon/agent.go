package daemon

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/node"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/daemon/presence"
	"github.com/fleet-starter/fleet/internal/forecast"
	"github.com/fleet-starter/fleet/internal/layout"
	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/systemd"
)

// AgentOptions are the dependencies of an Agent.
type AgentOptions struct {
	// ElectedFor is what the elected controllers get if the machine leads; the other parts use it too.
	ElectedFor
	Machine v1.Machine
	Systemd systemd.Manager
	Layout  layout.Layout
	// Output reads the last lines that a unit logged, and whether its failure is among what was logged. nil: there is no journal.
	Output func(ctx context.Context, unit string, since time.Time) (text string, ended bool, err error)
	// Runtimes are the machine's container runtimes. nil: no container is looked for.
	Runtimes map[string]node.ContainerRuntime
	// Puller pulls the images of units. nil: units pull by themselves.
	Puller node.Puller
	// DisableEngine keeps the machine from becoming the leader.
	DisableEngine bool
}

// Agent is what a fleetd does for its cluster: all parts that deal with etcd, without the process around them. The simulation
// runs it, too.
type Agent struct {
	AgentOptions
	presence *presence.Presence
	node     *node.Node
	term     atomic.Pointer[Term] // nil: the machine does not lead

	mu      sync.Mutex
	machine v1.Machine // as published in its presence
}

// NewAgent assembles the parts. It writes nothing before they are started.
func NewAgent(o AgentOptions) (*Agent, error) {
	a := &Agent{AgentOptions: o, machine: o.Machine}
	id := o.Machine.Metadata.Name
	own := o.of("presence")
	a.presence = presence.New(presence.Options{
		Store: own.Store, Keys: o.Keys, Machine: o.Machine, TTL: o.AgentTTL, LeaseFile: o.Layout.Lease(),
		OnReturn: func() { a.node.Returned() }, Log: own.Log,
	})
	own = o.of("node")
	var err error
	a.node, err = node.New(node.Options{
		Machine: id, Keys: o.Keys, Store: own.Store, Systemd: o.Systemd, Layout: o.Layout, Log: own.Log, Metrics: o.Metrics,
		Alone: a.presence.Alone(), WasAway: a.presence.WasAway, CutOffAt: a.presence.CutOffAt, Events: own.Events, Ignored: own.Events.Ignored, Output: o.Output, Runtimes: o.Runtimes, Puller: o.Puller,
		Caches: append([]cache.Option{cache.RecordDiffers(own.Events)}, o.Caches...),
	})
	return a, err
}

// Run runs all parts until ctx ends or one of them gives up.
func (a *Agent) Run(ctx context.Context) error {
	p := newParts(a.Log)
	defer p.stop()
	a.start(ctx, p)
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failed:
		return err
	}
}

// start starts all parts in order of dependency.
func (a *Agent) start(ctx context.Context, p *parts) {
	p.start(ctx, "events", a.Events.Run)
	p.start(ctx, "presence", a.presence.Run)
	p.start(ctx, "node", a.node.Run)
	p.start(ctx, "watch", a.watchControllers)
	if !a.DisableEngine {
		p.start(ctx, "engine", func(ctx context.Context) error {
			return Campaign(ctx, a.Machine.Metadata.Name, a.AgentTTL, a.ElectedFor, a.term.Store)
		})
	}
}

// Leading returns what the leader knows, if this machine leads; nil if it does not.
func (a *Agent) Leading() *forecast.Memory {
	if t := a.term.Load(); t != nil {
		return t.memory()
	}
	return nil
}

// Committed returns the manifests of the commit that a source has applied. Only the leader knows them.
func (a *Agent) Committed(ctx context.Context, name string) (*repository.Manifests, error) {
	t := a.term.Load()
	if t == nil {
		return nil, errors.New("this machine does not lead any more: ask again")
	}
	return t.source.Committed(ctx, name)
}

// SetMetadata publishes new metadata in the machine's presence.
func (a *Agent) SetMetadata(metadata map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.machine.Spec.Metadata = metadata
	a.presence.Update(a.machine)
}

// told is what the machine's presence says.
func (a *Agent) told() v1.Machine {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.machine
}
