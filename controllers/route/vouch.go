package route

import (
	"context"
	"errors"
	"maps"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// A digest in the record vouches for what nginx serves also at later revisions: who finds the same endpoints announced does not wait for
// this router. That is wrong as soon as nginx has another endpoint, or may take one late, after the wait for it has ended: it came and
// went, and the digest is right again. So nginx gets no such endpoint before the digests are taken back, and they return when nginx has
// answered that it serves what the router knows.

// takeBack takes the digests of the record back, if nginx is to get an endpoint that they do not stand for.
func (c *Controller) takeBack(ctx context.Context, plan Decision) error {
	c.mu.Lock()
	lease, was := c.lease, c.published
	c.mu.Unlock()
	if lease == 0 || was == nil || c.vouched == nil || isWithin(plan.Endpoints, c.vouched) && isWithin(plan.Table.Keys, c.vouched) {
		return nil
	}
	_, err := c.put(ctx, withoutDigests(*was), nil, lease)
	if errors.Is(err, store.ErrNoSpace) { // withdrawn endpoints have to go anyway
		c.opts.Log.V(1).Info("Taking back what is served failed", "reason", reasonServed, "error", err.Error())
		return nil
	}
	return err
}

// withoutDigests is a record that says only up to which revision changes are served.
func withoutDigests(r v1.Router) v1.Router {
	r.Digest, r.Served = "", maps.Clone(r.Served)
	for prefix, served := range r.Served {
		r.Served[prefix] = v1.Served{Revision: served.Revision}
	}
	return r
}

// isWithin reports whether all has each of the endpoints, with its value.
func isWithin(endpoints, all map[string]string) bool {
	for key, value := range endpoints {
		if other, there := all[key]; !there || other != value {
			return false
		}
	}
	return true
}
