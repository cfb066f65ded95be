package route

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/atomicfile"
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
	// StateFile is there while the machine is drained, also across reboots; empty for none.
	StateFile string
	Log       logr.Logger
}

// Restore tells nginx what was known before a reboot; call it before nginx serves. A machine that boots drained while etcd is away
// must take no requests of load balancers. Of one that nothing is known of, the answer is that it is not drained: else no machine
// that boots without etcd would get requests.
func (d Drain) Restore() error {
	if d.StateFile == "" {
		return nil
	}
	_, err := os.Stat(d.StateFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // nginx's directory has it if the router alone was restarted
	case err != nil:
		return err
	}
	d.Log.Info("Health for load balancers", "reason", reasonRestored, "draining", true)
	return d.Set(true)
}

// remember keeps the answer for Restore.
func (d Drain) remember(draining bool) error {
	switch {
	case d.StateFile == "":
		return nil
	case draining:
		if err := os.MkdirAll(filepath.Dir(d.StateFile), 0o755); err != nil {
			return err
		}
		return atomicfile.Replace(d.StateFile, []byte("this machine is drained\n"), 0o644, atomicfile.Power)
	}
	err := os.Remove(d.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
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
	if err := errors.Join(d.Set(draining), d.remember(draining)); err != nil {
		return err
	}
	*set = &draining
	return nil
}
