package route

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Drain tells a machine's nginx whether people drain the machine: load balancers ask for that. It is not a part of what is
// routed: a drained machine serves as before, and what it serves may fail to be applied while a drain must not.
type Drain struct {
	Store   store.Interface
	Keys    keyspace.Keys
	Machine string
	// Set is called when the answer changes, and with the first one. An error has it called again.
	Set func(draining bool) error
	Log logr.Logger
}

// Run follows the machine's configuration until ctx ends. While etcd is away, or what it has cannot be read, the last answer
// stays.
func (d Drain) Run(ctx context.Context) {
	key := d.Keys.MachineConfigs().Key(d.Machine)
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	var set *bool
	for ctx.Err() == nil {
		kv, there, revision, err := d.Store.Get(ctx, key)
		if err == nil {
			err = d.apply(kv.Value, there, &set)
		}
		if err == nil {
			_, err = store.WaitEvent(ctx, d.Store, store.SeenKey{Key: key, There: there, Revision: revision}, nil, nil)
		}
		if err == nil {
			retry.Reset()
			continue
		}
		d.Log.V(1).Info("Following whether this machine is drained failed", "key", key, "error", err.Error())
		store.Sleep(ctx, retry.Next())
	}
}

// apply sets what a configuration says, if that is new.
func (d Drain) apply(value []byte, there bool, set **bool) error {
	draining := false
	if there {
		config, err := d.Keys.MachineConfigs().Decode(value)
		if err != nil {
			d.Log.Error(err, "This machine's configuration is unreadable, health stays as it is", "machine", d.Machine)
			return nil // until it is written again
		}
		draining = config.Drain
	}
	if *set != nil && **set == draining {
		return nil
	}
	d.Log.Info("Health for load balancers", "reason", reasonDrain, "draining", draining)
	if err := d.Set(draining); err != nil {
		return err
	}
	*set = &draining
	return nil
}
