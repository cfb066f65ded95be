package route

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/fleet-starter/fleet/internal/layout"
)

// restore has nginx serve what was served before the machine lost its power: etcd may be away still. What
// is saved is the input, not nginx's file, which is full of paths that were lost with the power.
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
	var in Input
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	c.opts.Log.Info("Serving what was served last", "reason", reasonRestored, "endpoints", len(in.Endpoints), "revision", in.Revision)
	return c.apply(ctx, in, Plan(in)) // publishes nothing: there is no lease yet
}

// save keeps the input that is served, for restore.
func (c *Controller) save(in Input) error {
	if c.opts.StateFile == "" {
		return nil
	}
	in.Published = nil
	data, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.opts.StateFile), 0o755); err != nil {
		return err
	}
	return layout.Replace(c.opts.StateFile, data, 0o644, layout.Power)
}
