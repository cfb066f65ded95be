package route

import (
	"context"
	"errors"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/store"
)

// appear publishes this router in etcd before it takes over anything, and reports whether that is done.
//
// Roll-outs wait for a router that is cut off until its lease ends. What is withdrawn after that may stop at once, while the
// returning router may see an older state and send requests to what has stopped. So it publishes its record first, and then
// takes over only a state at least as new as the record, in which everything that was not waited for is gone.
func (c *Controller) appear(ctx context.Context) (bool, error) {
	c.mu.Lock()
	lease, there, sure, leaseless := c.lease, c.published != nil, time.Now().Before(c.sure), c.leaseless
	c.mu.Unlock()
	switch {
	case leaseless: // a full etcd grants none; withdrawn endpoints have to go anyway
		return true, nil
	case lease == 0, !sure: // onAsked triggers another try
		return false, nil
	case there:
		return true, nil
	}
	revision, err := c.put(ctx, c.nothing(), nil, lease)
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

// nothing is the record of a router that has not taken over anything yet.
func (c *Controller) nothing() v1.Router {
	record := v1.Router{Prefixes: c.opts.Prefixes, Served: map[string]v1.Served{}}
	for _, prefix := range c.opts.Prefixes {
		record.Served[prefix] = v1.Served{}
	}
	return record
}

// onAsked records until when the lease is sure to live, or that etcd answers but grants none.
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
