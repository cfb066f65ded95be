package route

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
)

// Why something is done.
const (
	reasonEndpointsChanged = "EndpointsChanged"
	reasonServed           = "Served"
	reasonRestored         = "Restored"
)

// apply has nginx serve the plan, and says so once it does.
func (c *Controller) apply(ctx context.Context, in Input, plan Decision) error {
	refused := map[string]string{}
	for _, key := range plan.Stray {
		refused[key] = "the key is not " + in.Prefix + "/<app>/<instance>"
	}
	configuration, err := nginx.Plan(nginx.Input{Settings: c.opts.Settings, Routes: nginxRoutes(plan.Routes), Revision: in.Revision})
	if err != nil {
		return err
	}
	result, err := c.opts.Nginx.Apply(ctx, configuration)
	if err != nil {
		return err
	}
	if result.Changed {
		c.opts.Log.Info("nginx serves a new configuration", "reason", reasonEndpointsChanged,
			"apps", len(plan.Routes), "endpoints", len(in.Endpoints), "revision", in.Revision, "generation", result.Generation)
		if err := c.save(in); err != nil {
			c.opts.Log.Error(err, "Saving what is served failed", "file", c.opts.StateFile)
		}
	}
	for _, r := range result.Refused {
		subject := r.Key
		if subject == "" {
			subject = r.App
		}
		refused[subject] = r.Reason + ": " + r.Message
	}
	refused = some(refused)
	c.warn(refused)
	return c.publish(ctx, v1.Router{Revision: in.Revision, Digest: plan.Digest, Refused: refused}, plan.Publish)
}

func nginxRoutes(routes []Route) []nginx.Route {
	list := make([]nginx.Route, 0, len(routes))
	for _, r := range routes {
		n := nginx.Route{App: r.App, Hosts: r.Hosts, Since: r.Since}
		for key, address := range r.Endpoints {
			n.Upstreams = append(n.Upstreams, nginx.Upstream{Key: key, Instance: path.Base(key), Address: address})
		}
		list = append(list, n)
	}
	return list
}

// maxRefused is how much is said of what is left out. Strangers can put more than etcd takes in one value: a router that
// could not say what it serves would hold up every roll-out.
const maxRefused = 100

// some returns the first of what is refused, and how much more there is.
func some(refused map[string]string) map[string]string {
	if len(refused) <= maxRefused {
		return refused
	}
	few := make(map[string]string, maxRefused+1)
	for _, subject := range slices.Sorted(maps.Keys(refused))[:maxRefused] {
		few[subject] = refused[subject]
	}
	few["..."] = fmt.Sprintf("and %d more", len(refused)-maxRefused)
	return few
}

// warn records what is refused for the first time.
func (c *Controller) warn(refused map[string]string) {
	for subject, message := range refused {
		if c.refused[subject] == message {
			continue
		}
		app, _, _ := strings.Cut(strings.TrimPrefix(subject, c.opts.Prefix+"/"), "/")
		c.opts.Log.Info("Not serving", "subject", subject, "reason", message)
		c.opts.Events.Record(v1.KindApp, app, v1.EventWarning, "NotRouted", subject+": "+message)
	}
	c.refused = refused
}

// publish says what is served, under the router's lease, where that differs from what was said before.
func (c *Controller) publish(ctx context.Context, served v1.Router, changed bool) error {
	c.mu.Lock()
	lease := c.lease
	changed = changed || c.published == nil || !maps.Equal(c.published.Refused, served.Refused)
	c.mu.Unlock()
	if lease == 0 || !changed {
		return nil // without a lease yet: whoever gets it wakes us
	}
	value, err := c.row.Encode(served)
	if err != nil {
		return err
	}
	c.opts.Log.V(1).Info("Publishing what is served", "reason", reasonServed, "revision", served.Revision)
	op := store.Op{Key: c.row.Key(c.opts.Machine), Value: value, Lease: lease}
	if _, err := c.opts.Store.Commit(ctx, store.Txn{Ops: []store.Op{op}}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == lease {
		c.published = &served
	}
	return nil
}
