package route

import (
	"context"
	"errors"
	"time"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// awaitInterval is how often to check for routes/ while the leader is of an older version.
const awaitInterval = 5 * time.Second

// awaitRoutes waits until a leader of this version has written routes/: before that, no app seems to be announced. Meanwhile
// nginx keeps its configuration. It never waits if fleetd is upgraded before the routers.
func (c *Controller) awaitRoutes(ctx context.Context) error {
	for told := false; c.routes.Len() == 0; {
		older, err := c.leaderIsOlder(ctx)
		switch {
		case errors.Is(err, store.ErrDenied) || err == nil && !older:
			return nil
		case err != nil:
			c.opts.Log.V(1).Info("Looking for accepted apps failed", "error", err.Error())
		case !told:
			told = true
			c.opts.Log.Info("Waiting for a leader that writes routes/: upgrade fleetd on all machines before the routers", "reason", reasonOlder)
		}
		if !store.Sleep(ctx, awaitInterval) {
			return ctx.Err()
		}
	}
	return nil
}

var errFound = errors.New("found")

// leaderIsOlder reports whether an app that announces its instances was accepted but has no route, which this version's
// leader writes together with the revision. A revision of a deleted app of the same name does not count: it has no route.
func (c *Controller) leaderIsOlder(ctx context.Context) (bool, error) {
	row := c.opts.Keys.Revisions()
	_, err := store.ListAll(ctx, c.opts.Store, row.Prefix(), store.ListOptions{}, func(kv store.KV) error {
		name, _ := row.Name(kv.Key)
		app, _, ok := keyspace.ParseRevisionName(name)
		revision, err := row.Decode(kv.Value)
		if !ok || err != nil || revision.Spec.Announce == nil {
			return nil
		}
		manifest, there, _, err := c.opts.Store.Get(ctx, c.opts.Keys.Apps().Key(app))
		if err == nil && there && revision.Of(manifest.CreateRevision) {
			return errFound
		}
		return err
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}
