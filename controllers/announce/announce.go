// Package announce keeps one endpoint in etcd while one instance is healthy. It runs next to the instance as its own
// process and talks to etcd directly, so that a stopped fleetd withdraws nothing.
package announce

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Options configure a Controller.
type Options struct {
	Store store.Interface
	Log   logr.Logger
	// Prefix, App and Instance form the key: <prefix>/<app>/<instance>.
	Prefix, App, Instance string
	// Address is the value: ip:port.
	Address string
	// TTL is how long the key survives its machine's failure.
	TTL time.Duration
	// Probe checks the instance, every Interval, for at most Timeout.
	Probe             Probe
	Interval, Timeout time.Duration
	Thresholds        Thresholds
}

// validate returns an error for the first invalid option.
func (o Options) validate() error {
	for name, value := range map[string]string{"app": o.App, "instance": o.Instance} {
		if value == "" || strings.ContainsAny(value, "/\x00\n") {
			return fmt.Errorf("%s %q: needs a name without slashes", name, value)
		}
	}
	if _, err := v1.ParseEndpoint(o.Address); err != nil {
		return fmt.Errorf("address: %w", err) // no router would accept it
	}
	if o.Interval <= 0 || o.Timeout <= 0 || o.TTL < time.Second {
		return fmt.Errorf("interval %s, timeout %s, ttl %s: must be positive, ttl at least a second", o.Interval, o.Timeout, o.TTL)
	}
	return nil
}

// stopTimeout limits a withdrawal while etcd is slow, to less than systemd's stop timeout.
const stopTimeout = 5 * time.Second

// Controller announces one instance.
type Controller struct {
	opts     Options
	health   Health
	told     string // why the instance is not announced, as logged last
	endpoint endpoint
}

// New returns a Controller, or an error for an invalid option.
func New(opts Options) (*Controller, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	return &Controller{opts: opts, endpoint: endpoint{
		store: opts.Store,
		key:   keyspace.Endpoints(opts.Prefix).Key(keyspace.Join(opts.App, opts.Instance)),
		value: opts.Address,
		ttl:   opts.TTL,
		log:   opts.Log,
	}}, nil
}

// Run probes and announces until ctx ends, then withdraws and returns ctx's error. It uses a timer rather than the queue
// of the other controllers, as there is only one key: that keeps the process small.
func (c *Controller) Run(ctx context.Context) error {
	for {
		stopping := ctx.Err() != nil
		after := c.Reconcile(ctx)
		if stopping {
			return ctx.Err()
		}
		store.Sleep(ctx, after)
	}
}

// Reconcile probes once and acts on the result. It returns the delay until the next probe.
func (c *Controller) Reconcile(ctx context.Context) time.Duration {
	plan := Plan(c.observe(ctx))
	c.apply(ctx, plan)
	return plan.After
}

// apply executes a decision; all effects are here.
func (c *Controller) apply(ctx context.Context, plan Decision) {
	log := c.opts.Log.WithValues("reason", plan.Reason, "key", c.endpoint.key, "value", c.endpoint.value)
	switch plan.Action {
	case Keep:
		if plan.Reason == ReasonUnhealthy && plan.Message != c.told {
			log.Info("Not announcing the instance", "message", plan.Message)
			c.told = plan.Message
		}
	case Announce:
		log.Info("Announcing the instance")
		c.told = ""
		c.endpoint.announce(context.WithoutCancel(ctx)) // only withdraw ends it, together with the lease
	case Withdraw:
		log.Info("Withdrawing the instance", "message", plan.Message)
		c.told = plan.Message
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if err := c.endpoint.withdraw(ctx); err != nil {
			log.Error(err, "Withdrawing failed, the key expires with its lease", "ttl", c.opts.TTL)
		}
	}
}
