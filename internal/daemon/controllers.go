package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/leader"
	"github.com/fleet-starter/fleet/internal/store"
)

// election is the name of the one election that there is: whoever leads runs all elected controllers.
const election = "engine"

// electedFor is what elected controllers get, new with each term.
type electedFor struct {
	Store   store.Interface
	Keys    keyspace.Keys
	Fence   store.Fence
	Log     logr.Logger
	Events  *events.Recorder
	Metrics *controller.Metrics
}

// electedController is one row of the list.
type electedController struct {
	name string
	// run works until ctx ends. An error, such as that of a fenced write, ends the term.
	run func(ctx context.Context, e electedFor) error
}

// elected lists the controllers that one machine of the cluster runs. The others, node here and announce and route in
// their own processes, run on every machine.
var elected = []electedController{}

// campaign runs the elected controllers whenever this machine leads.
func campaign(ctx context.Context, machine string, ttl time.Duration, e electedFor, leading func(bool)) error {
	ctx = logr.NewContext(ctx, e.Log)
	return leader.Run(ctx, e.Store, e.Keys, election, machine, ttl, func(ctx context.Context, fence store.Fence) error {
		e := e
		e.Fence = fence
		leading(true)
		defer leading(false)
		p := newParts(e.Log)
		defer p.stop()
		for _, c := range elected {
			of := e
			of.Log, of.Events = e.Log.WithValues("controller", c.name), e.Events.WithSource(c.name)
			p.start(ctx, c.name, func(ctx context.Context) error { return c.run(ctx, of) })
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-p.failed:
			return fmt.Errorf("controller %w", err)
		}
	})
}
