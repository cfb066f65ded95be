package route

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/nginx"
	"github.com/fleet-starter/fleet/internal/store"
)

// Why something is done.
const (
	reasonChanged   = "Changed"     // endpoints, routes or the template changed nginx's configuration
	reasonServed    = "Served"      // nginx serves this revision: roll-outs that wait for it continue
	reasonExited    = "Exited"      // nginx ended by itself while etcd is away: it is restarted with what it served last
	reasonRestored  = "Restored"    // after a boot without etcd: the state file has what was served before
	reasonNotRouted = "NotRouted"   // an event of the app: this endpoint, host or app is not served, the message says why
	reasonDrain     = "Drain"       // load balancers are told whether this machine is drained: see /-/healthz of the router
	reasonOlder     = "OlderLeader" // the leader's fleetd is older than the router and does not write routes/, so the router changes nothing
)

// apply makes nginx serve the plan, and publishes that it does, or that it cannot.
func (c *Controller) apply(ctx context.Context, in Input, plan Decision) error {
	if err := c.takeBack(ctx, plan); err != nil {
		return errors.Join(err, c.revive(ctx))
	}
	configuration := nginx.Configuration{Settings: c.opts.Settings, Table: plan.Table}
	result, err := c.opts.Nginx.Apply(ctx, configuration)
	draining := c.awaitDrained(ctx, result.Draining)
	if err != nil {
		served, stands := c.lastPublished(), c.vouched
		if result.Endpoints { // which need no configuration
			served.Revision, served.Digest, served.Served, served.Draining = first(in, plan).Revision, first(in, plan).Digest, plan.Served, draining
			stands = in.Endpoints
		}
		return errors.Join(err, c.publishFailure(ctx, served, stands, err))
	}
	c.serving, c.failing = &configuration, time.Time{}
	if result.Changed {
		c.opts.Log.Info("nginx serves a new configuration", "reason", reasonChanged,
			"apps", len(plan.Apps), "endpoints", len(in.Endpoints), "revisions", in.Revisions, "routes", in.RoutesRevision, "generation", result.Generation)
		c.unsaved = true
	}
	unsaved := c.saveChanges(plan)
	said, more := firstRefusals(result.Refused)
	more += plan.MoreRefused
	c.warn(said)
	served := first(in, plan)
	return errors.Join(unsaved, c.publish(ctx, v1.Router{
		Revision: served.Revision, Digest: served.Digest, Prefixes: in.Prefixes, Served: plan.Served, Routes: plan.RoutesRevision,
		Draining: draining, Counts: result.Counts, Reloads: result.Reloads,
		Refusals: said, MoreRefusals: more, Refused: v1.RefusalTexts(said, more),
	}, in.Endpoints, plan.Publish))
}

// first is what older versions of fleetd read.
func first(in Input, plan Decision) v1.Served {
	served, ok := plan.Served[v1.DefaultAnnouncePrefix]
	if !ok {
		served = plan.Served[in.Prefixes[0]]
	}
	return served
}

// revive restarts an nginx that ended by itself, with what it served last, while this router may not take over anything newer.
func (c *Controller) revive(ctx context.Context) error {
	select {
	case <-c.opts.Nginx.Exited():
	default:
		return nil
	}
	if c.serving == nil {
		return nil
	}
	c.opts.Log.Info("Restarting nginx", "reason", reasonExited)
	_, err := c.opts.Nginx.Apply(ctx, *c.serving)
	return err
}

// warn logs and records refusals that are new.
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

// lastPublished is what nginx serves if it took nothing since.
func (c *Controller) lastPublished() v1.Router {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.published == nil {
		return c.nothing()
	}
	return *c.published
}

// publishFailure publishes what is served although nginx cannot be updated.
func (c *Controller) publishFailure(ctx context.Context, is v1.Router, stands map[string]string, failure error) error {
	if ctx.Err() != nil {
		return nil // asked to stop
	}
	message := failure.Error()
	if len(message) > maxFailure {
		message = message[:maxFailure] + "..."
	}
	was := is.Failing
	is.Failing = &v1.RouterFailure{Since: c.failingSince(), Message: strings.ToValidUTF8(message, "?")}
	return c.publish(ctx, is, stands, was == nil || *was != *is.Failing)
}

// maxFailure truncates a failure: nginx's message may contain values from etcd.
const maxFailure = 500

// failingSince is when the router began to fail.
func (c *Controller) failingSince() time.Time {
	if c.failing.IsZero() {
		c.failing = time.Now().UTC()
	}
	return c.failing
}

// publish writes what is served, under the router's lease, if that differs from the last record. Its digests are those of stands.
func (c *Controller) publish(ctx context.Context, served v1.Router, stands map[string]string, changed bool) error {
	c.mu.Lock()
	lease := c.lease
	was := c.published
	changed = changed || was == nil || !maps.Equal(was.Served, served.Served) || !slices.Equal(was.Refusals, served.Refusals) || was.MoreRefusals != served.MoreRefusals || was.Reloads != served.Reloads || !sameCounts(was.Counts, served.Counts) || !sameEndpoints(was.Draining, served.Draining) || was.Failing != nil && served.Failing == nil
	c.mu.Unlock()
	if lease == 0 || !changed {
		return nil // no lease yet: getting one triggers the loop
	}
	_, err := c.put(ctx, served, stands, lease)
	return err
}

// put writes the router's record and returns its revision. Its digests are those of stands; nil: it has none.
func (c *Controller) put(ctx context.Context, served v1.Router, stands map[string]string, lease store.LeaseID) (int64, error) {
	value, err := c.row.Encode(served)
	if err != nil {
		return 0, err
	}
	c.opts.Log.V(1).Info("Publishing what is served", "reason", reasonServed, "revision", served.Revision, "failing", served.Failing)
	op := store.Op{Key: c.row.Key(c.opts.Machine), Value: value, Lease: lease}
	c.vouched = map[string]string{} // it may be written even if the answer is lost
	revision, err := c.opts.Store.Commit(ctx, store.Txn{Ops: []store.Op{op}})
	if err != nil {
		return 0, err
	}
	c.vouched = stands
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == lease {
		c.published = &served
	}
	return revision, nil
}
