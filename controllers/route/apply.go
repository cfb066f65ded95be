package route

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
)

// Why something is done.
const (
	reasonChanged   = "Changed"     // endpoints, routes or the template changed what nginx is to serve
	reasonServed    = "Served"      // nginx serves this revision: roll-outs that wait for it go on
	reasonRestored  = "Restored"    // after a boot without etcd: what was served before is in the state file
	reasonNotRouted = "NotRouted"   // an event of the app: this endpoint, host or app is not served, the message says why
	reasonOlder     = "OlderLeader" // the leader's fleetd is older than the router: it writes no routes/, so the router changes nothing
)

// apply has nginx serve the plan, and says so once it does; or that it cannot.
func (c *Controller) apply(ctx context.Context, in Input, plan Decision) error {
	result, err := c.serve(ctx, in, plan)
	if err != nil {
		return errors.Join(err, c.publishFailure(ctx, err))
	}
	c.failing = time.Time{}
	if result.Changed {
		c.opts.Log.Info("nginx serves a new configuration", "reason", reasonChanged,
			"apps", len(plan.Routes), "endpoints", len(in.Endpoints), "revisions", in.Revisions, "routes", in.RoutesRevision, "generation", result.Generation)
		if err := c.save(plan); err != nil {
			c.opts.Log.Error(err, "Saving what is served failed", "file", c.opts.StateFile)
		}
	}
	refusals := c.refusals(plan, result.Refused)
	said := refusals[:min(len(refusals), maxRefused)]
	more := len(refusals) - len(said)
	c.warn(said)
	first, ok := plan.Served[v1.DefaultAnnouncePrefix]
	if !ok {
		first = plan.Served[in.Prefixes[0]]
	}
	return c.publish(ctx, v1.Router{
		Revision: first.Revision, Digest: first.Digest, Prefixes: in.Prefixes, Served: plan.Served, Routes: plan.RoutesRevision,
		Refusals: said, MoreRefusals: more, Refused: v1.RefusalTexts(said, more),
	}, plan.Publish)
}

// serve has nginx serve the plan.
func (c *Controller) serve(ctx context.Context, in Input, plan Decision) (nginx.Result, error) {
	revision := in.RoutesRevision
	for _, r := range in.Revisions {
		revision = max(revision, r)
	}
	configuration, err := nginx.Plan(nginx.Input{Settings: c.opts.Settings, Routes: nginxRoutes(plan.Routes), Keys: plan.Keys, Revision: revision})
	if err != nil {
		return nginx.Result{}, err
	}
	return c.opts.Nginx.Apply(ctx, configuration)
}

// maxUnaccepted is how many directories without an app are named: what lies there is no concern of this router.
const maxUnaccepted = 3

// refusals is what is left out, and why, sorted. Of one key or app the last word counts, which is nginx's.
func (c *Controller) refusals(plan Decision, byNginx []nginx.Refused) []v1.RouteRefusal {
	bySubject := map[string]v1.RouteRefusal{}
	for _, key := range plan.Stray {
		bySubject[key] = v1.RouteRefusal{App: c.appOf(key), Key: key, Reason: reasonInvalidKey, Message: "the key is not <prefix>/<app>/<instance>"}
	}
	for key, r := range plan.Untrusted {
		bySubject[key] = r
	}
	for _, directory := range plan.Unaccepted[:min(len(plan.Unaccepted), maxUnaccepted)] {
		bySubject[directory] = v1.RouteRefusal{App: c.appOf(directory), Key: directory, Reason: reasonNoApp,
			Message: "no App of that name is announced there, and no unit has the name of the instance: it is served with the router's --all-endpoints only"}
	}
	for _, r := range byNginx {
		refusal := v1.RouteRefusal{App: r.App, Key: r.Key, Reason: r.Reason, Message: r.Message}
		if r.Key != "" {
			refusal.App = c.appOf(r.Key)
		}
		bySubject[refusal.Subject()] = refusal
	}
	return slices.SortedFunc(maps.Values(bySubject), v1.CompareRefusals)
}

func nginxRoutes(routes []Route) []nginx.Route {
	list := make([]nginx.Route, 0, len(routes))
	for _, r := range routes {
		n := nginx.Route{App: r.App, Prefix: r.Prefix, Hosts: r.Hosts, Since: r.Since}
		if r.Options != nil {
			n.Timeout, n.BodySize = r.Options.Timeout.Std(), r.Options.MaxBody()
		}
		for key, address := range r.Endpoints {
			n.Upstreams = append(n.Upstreams, nginx.Upstream{Key: key, Instance: path.Base(key), Address: address})
		}
		list = append(list, n)
	}
	return list
}

// maxRefused is how much is said of what is left out. Keys of others can be more than etcd takes in one value: a router that
// could not say what it serves would hold up every roll-out.
const maxRefused = 100

// warn records what is refused for the first time.
func (c *Controller) warn(refusals []v1.RouteRefusal) {
	for _, r := range refusals {
		if slices.Contains(c.refused, r) {
			continue
		}
		c.opts.Log.Info("Not serving", "subject", r.Subject(), "reason", r.String())
		c.opts.Events.Record(v1.KindApp, r.App, v1.EventWarning, reasonNotRouted, r.Subject()+": "+r.String())
	}
	c.refused = refusals
}

// appOf is the app that a key speaks of.
func (c *Controller) appOf(subject string) string {
	for _, prefix := range c.opts.Prefixes {
		if rest, below := strings.CutPrefix(subject, prefix+"/"); below {
			subject = rest
		}
	}
	app, _, _ := strings.Cut(subject, "/")
	return app
}

// publishFailure says that what was published last is still served, for nginx cannot be brought to what is known.
func (c *Controller) publishFailure(ctx context.Context, failure error) error {
	if ctx.Err() != nil {
		return nil // asked to stop
	}
	c.mu.Lock()
	is := c.nothing()
	if c.published != nil {
		is = *c.published
	}
	c.mu.Unlock()
	message := failure.Error()
	if len(message) > maxFailure {
		message = message[:maxFailure] + "..."
	}
	was := is.Failing
	is.Failing = &v1.RouterFailure{Since: c.failingSince(), Message: strings.ToValidUTF8(message, "?")}
	return c.publish(ctx, is, was == nil || *was != *is.Failing)
}

// maxFailure cuts a reason: nginx's may hold what was put into etcd.
const maxFailure = 500

// failingSince is when the router began to fail.
func (c *Controller) failingSince() time.Time {
	if c.failing.IsZero() {
		c.failing = time.Now().UTC()
	}
	return c.failing
}

// publish says what is served, under the router's lease, where that differs from what was said before.
func (c *Controller) publish(ctx context.Context, served v1.Router, changed bool) error {
	c.mu.Lock()
	lease := c.lease
	was := c.published
	changed = changed || was == nil || !slices.Equal(was.Refusals, served.Refusals) || was.MoreRefusals != served.MoreRefusals || was.Failing != nil && served.Failing == nil
	c.mu.Unlock()
	if lease == 0 || !changed {
		return nil // without a lease yet: getting one wakes the loop
	}
	_, err := c.put(ctx, served, lease)
	return err
}

// put writes the router's record and returns the revision of that.
func (c *Controller) put(ctx context.Context, served v1.Router, lease store.LeaseID) (int64, error) {
	value, err := c.row.Encode(served)
	if err != nil {
		return 0, err
	}
	c.opts.Log.V(1).Info("Publishing what is served", "reason", reasonServed, "revision", served.Revision, "failing", served.Failing)
	op := store.Op{Key: c.row.Key(c.opts.Machine), Value: value, Lease: lease}
	revision, err := c.opts.Store.Commit(ctx, store.Txn{Ops: []store.Op{op}})
	if err != nil {
		return 0, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == lease {
		c.published = &served
	}
	return revision, nil
}
