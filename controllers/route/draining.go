package route

import (
	"context"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/store"
)

// drainInterval is how often the requests under way to withdrawn endpoints are counted, while there are any. It costs a look at
// memory.
const drainInterval = 20 * time.Millisecond

// drainSoon is how long the router waits before it publishes that requests are under way to a withdrawn endpoint: most have
// ended by then, and one record says all.
const drainSoon = 50 * time.Millisecond

// watchDraining triggers the loop when a withdrawn endpoint has no requests under way any more: roll-outs wait for that.
func (c *Controller) watchDraining(ctx context.Context) {
	for {
		select {
		case <-c.drains:
		case <-ctx.Done():
			return
		}
		for before := c.opts.Nginx.Draining(); ; {
			now := c.opts.Nginx.Draining()
			if !sameEndpoints(before, now) || len(now) == 0 {
				c.loop.Enqueue(controller.Singleton{})
				before = now
			}
			if len(now) == 0 || !store.Sleep(ctx, drainInterval) {
				break
			}
		}
	}
}

// awaitDrained gives the requests under way to withdrawn endpoints a moment to end.
func (c *Controller) awaitDrained(ctx context.Context, draining []v1.Draining) []v1.Draining {
	for end := time.Now().Add(drainSoon); len(draining) > 0 && time.Now().Before(end); {
		if !store.Sleep(ctx, drainInterval) {
			break
		}
		draining = c.opts.Nginx.Draining()
	}
	if len(draining) > 0 {
		select {
		case c.drains <- struct{}{}:
		default:
		}
	}
	return draining
}

// sameEndpoints reports whether both are of the same endpoints: their counts change all the time.
func sameEndpoints(a, b []v1.Draining) bool {
	return slices.EqualFunc(a, b, func(a, b v1.Draining) bool { return a.Endpoint == b.Endpoint && a.Address == b.Address })
}
