package status

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// apply writes what has changed, and returns when the cache has seen it.
func (c *Controller) apply(ctx context.Context, app string, plan Decision) error {
	log := logr.FromContextOrDiscard(ctx)
	row := c.Cluster.Keys.Status()
	op := store.Op{Key: row.Key(app), If: store.Absent()}
	if plan.If != 0 {
		op.If = store.Unchanged(plan.If)
	}
	switch {
	case plan.Delete:
		log.Info("Deleting status", "reason", plan.Reason)
	case plan.Put != nil:
		ready := v1.FindCondition(plan.Put.Conditions, v1.Ready)
		log.V(1).Info("Writing status", "reason", plan.Reason, "ready", ready.Status, "message", ready.Message)
		value, err := row.Encode(*plan.Put)
		if err != nil {
			return fmt.Errorf("status of app %s: %w", app, err)
		}
		op.Value = value
	default:
		return nil
	}
	revision, err := c.Store.Commit(ctx, store.Txn{Ops: []store.Op{op}, Fence: c.Fence})
	if err != nil {
		return fmt.Errorf("status of app %s: %w", app, err)
	}
	return c.Cluster.WaitForRevision(ctx, revision)
}
