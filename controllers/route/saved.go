package route

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/atomicfile"
)

// saved is what is kept across reboots: hosts and addresses, and the keys that the operator's template reads. It is not
// nginx's configuration, which is full of paths that a reboot clears.
type saved struct {
	Endpoints map[string]string      `json:"endpoints"`
	Routes    map[string]v1.AppRoute `json:"routes"`
}

// savedBefore is what versions before routes/ saved: whole specs, including the environment, readable by every user.
type savedBefore struct {
	Specs []v1.Revision
	Apps  map[string]int64
}

// readSaved reads the state file. old: an older version wrote it.
func readSaved(data []byte) (s saved, old bool, err error) {
	var before savedBefore
	if err := errors.Join(json.Unmarshal(data, &s), json.Unmarshal(data, &before)); err != nil {
		return saved{}, false, err
	}
	if s.Routes != nil {
		return s, false, nil
	}
	s.Routes = map[string]v1.AppRoute{}
	for _, spec := range before.Specs {
		if route := v1.RouteOf(&spec, before.Apps[spec.Metadata.Name]); route != nil {
			s.Routes[spec.Metadata.Name] = *route
		}
	}
	return s, true, nil
}

// restore makes nginx serve what was served before a power cut: etcd may still be unreachable.
func (c *Controller) restore(ctx context.Context) error {
	if c.opts.StateFile == "" {
		return nil
	}
	data, err := os.ReadFile(c.opts.StateFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	s, old, err := readSaved(data)
	if err != nil {
		return err
	}
	// All that was saved had been served. Older versions did not know which endpoints belong to an app or a unit.
	in := Input{Prefixes: c.opts.Prefixes, All: true, Template: c.opts.Template, Domain: c.opts.Settings.Domain, Endpoints: s.Endpoints, Routes: s.Routes, Trust: c.trust()}
	in.Trust.Served = s.Endpoints
	plan := Plan(in)
	if !old { // which trusted all endpoints
		c.trusts(plan, 0)
	}
	c.opts.Log.Info("Serving what was served last", "reason", reasonRestored, "endpoints", len(s.Endpoints), "apps", len(s.Routes))
	if old {
		err = c.save(plan) // at once: it contains secrets
	}
	return errors.Join(err, c.apply(ctx, in, plan)) // publishes nothing: there is no lease yet
}

// saveChanges saves what is served if that has changed since it was saved. The loop tries again what failed: a machine that starts
// without etcd would serve what was served before.
func (c *Controller) saveChanges(plan Decision) error {
	if !c.unsaved {
		return nil
	}
	if err := c.save(plan); err != nil {
		return fmt.Errorf("saving what is served: %w", err)
	}
	c.unsaved = false
	return nil
}

// save stores what is served, for restore.
func (c *Controller) save(plan Decision) error {
	if c.opts.StateFile == "" {
		return nil
	}
	s := saved{Endpoints: maps.Clone(plan.Endpoints), Routes: plan.Apps}
	maps.Copy(s.Endpoints, plan.Table.Keys)
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.opts.StateFile), 0o755); err != nil {
		return err
	}
	return atomicfile.Replace(c.opts.StateFile, data, 0o600, atomicfile.Power)
}
