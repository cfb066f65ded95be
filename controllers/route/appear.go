package route

import (
	"context"
	"errors"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/store"
)

// appear has etcd know of this router before it takes over anything, and reports whether it does.
//
// A router that is cut off is waited for until its lease ends. What is withdrawn after that may stop at once, while the router,
// when it is back, may see what was announced just before: it would send requests to what has stopped. So the record comes
// first, and what is taken over is at least as new as the record: whatever was not waited for is gone from it.
func (c *Controller) appear(ctx context.Context) (bool, error) {
	c.mu.Lock()
	lease, there, sure, leaseless := c.lease, c.published != nil, time.Now().Before(c.sure), c.leaseless
	c.mu.Unlock()
	switch {
	case leaseless: // an etcd that is full grants none; what is withdrawn has to go all the same
		return true, nil
	case lease == 0, !sure: // onAsked wakes us
		return false, nil
	case there:
		return true, nil
	}
	revision, err := c.put(ctx, c.nothing(), lease)
	if err != nil {
		return false, err
	}
	for _, r := range c.reflectors() {
		if err := r.WaitForRevision(ctx, revision); err != nil {
			return false, err
		}
	}
	return true, nil
}

// nothing is the record of a router that has taken over nothing so far.
func (c *Controller) nothing() v1.Router {
	record := v1.Router{Prefixes: c.opts.Prefixes, Served: map[string]v1.Served{}}
	for _, prefix := range c.opts.Prefixes {
		record.Served[prefix] = v1.Served{}
	}
	return record
}

// onAsked notes until when the lease is sure to live, or that etcd answers and grants none.
func (c *Controller) onAsked(until time.Time, err error) {
	c.mu.Lock()
	doubtful := !time.Now().Before(c.sure) || c.leaseless
	if err == nil {
		c.sure, c.leaseless = until, false
	} else if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, context.Canceled) {
		c.leaseless = true
	}
	c.mu.Unlock()
	if doubtful {
		c.loop.Enqueue(controller.Singleton{})
	}
}
