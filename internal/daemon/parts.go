package daemon

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
)

// parts are what a daemon runs: started in order, stopped in reverse, each one waited for.
type parts struct {
	log    logr.Logger
	failed chan error
	stops  []func()
}

func newParts(log logr.Logger) *parts { return &parts{log: log, failed: make(chan error, 1)} }

// start runs a part until stop. If run returns an error before that, it is sent to failed.
func (p *parts) start(ctx context.Context, name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			select {
			case p.failed <- fmt.Errorf("%s: %w", name, err):
			default: // another one failed first
			}
		}
	}()
	p.stops = append(p.stops, func() {
		p.log.V(1).Info("Stopping part", "part", name)
		cancel()
		<-done
	})
}

// closing registers a function to call when its turn comes.
func (p *parts) closing(f func()) { p.stops = append(p.stops, f) }

func (p *parts) stop() {
	for i := len(p.stops) - 1; i >= 0; i-- {
		p.stops[i]()
	}
	p.stops = nil
}
