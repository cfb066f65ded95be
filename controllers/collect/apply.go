package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// apply deletes. A key written since it was found unused is a conflict, and is left for a later pass.
func (c *Controller) apply(ctx context.Context, plan Decision) error {
	if len(plan.Actions) == 0 {
		return nil
	}
	log := logr.FromContextOrDiscard(ctx)
	groups := make([]store.Group, len(plan.Actions))
	for i, a := range plan.Actions {
		log.V(1).Info("Deleting", "reason", a.Reason, "row", a.Kind, "name", a.Name)
		groups[i] = store.Group{{Key: c.key(a.Candidate), If: store.Unchanged(a.Revision)}}
	}
	log.Info("Deleting what is unused", "reason", plan.Actions[0].Reason, "count", len(groups), "first", groups[0][0].Key)
	revision, deleted := int64(0), make([]Action, 0, len(groups))
	var failed error // report what was deleted even if something else failed
	for i, result := range store.Write(ctx, c.Store, groups, c.Fence) {
		revision = max(revision, result.Revision)
		if result.Err != nil && !errors.Is(result.Err, store.ErrConflict) {
			failed = cmp.Or(failed, fmt.Errorf("collecting: %w", result.Err))
		}
		if result.Err == nil {
			deleted = append(deleted, plan.Actions[i])
		}
	}
	for _, n := range Notices(deleted, c.Grace) {
		c.Events.Record(v1.KindKey, c.key(n.First), n.Type, n.Reason, n.Message)
	}
	if failed != nil || revision == 0 {
		return failed
	}
	return c.Cluster.WaitForRevision(ctx, revision)
}

func (c *Controller) key(o Candidate) string {
	keys := c.Cluster.Keys
	switch o.Kind {
	case UnitFiles:
		return keys.UnitFiles().Key(o.Name)
	case Revisions:
		return keys.Revisions().Key(o.Name)
	case Applies:
		return keys.Applies().Key(o.Name)
	case Overrides:
		return keys.Overrides().Key(o.Name)
	case Rollouts:
		return keys.Rollouts().Key(o.Name)
	case Wishes:
		return keys.SourceWishes().Key(o.Name)
	case Status:
		return keys.Status().Key(o.Name)
	}
	return keys.States().Key(o.Name)
}
