package app

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// manyActions is the number of actions up to which each one is logged at Info.
const manyActions = 200

// apply carries out a plan: first, in one transaction, the revision, the route and the files that units refer to; then the
// units, those of one instance together. What an event reports is written before the event. It returns when the cache has
// seen the writes.
func (c *Controller) apply(ctx context.Context, app string, plan Decision) error {
	log := logr.FromContextOrDiscard(ctx)
	keys := c.Cluster.Keys
	unitLog := log
	if len(plan.Actions) > manyActions {
		unitLog = log.V(1)
		log.Info("Changing many units", "reason", plan.Actions[len(plan.Actions)-1].Reason, "actions", len(plan.Actions))
	}
	var base store.Group
	var reports [stages][]Action
	instances := make([]store.Group, 0, len(plan.Actions))
	groupOf := make(map[int32]int, len(plan.Actions))
	for _, a := range plan.Actions {
		op, err := operation(keys, app, a)
		switch {
		case err != nil:
			return err
		case a.Kind == Report:
			reports[a.tellsOf()] = append(reports[a.tellsOf()], a)
			continue
		case a.Kind == PutRevision || a.Kind == PutUnitFile || a.Kind == PutRoute || a.Kind == DeleteRoute:
			log.Info("Writing", "reason", a.Reason, "key", op.Key)
			base = append(base, op)
			continue
		}
		if unitLog.Enabled() { // formatting 100,000 lines costs time even if they are dropped
			values := []any{"reason", a.Reason, "unit", a.Name, "action", a.Kind, "desiredState", a.spec().DesiredState, "hash", a.spec().Hash}
			if a.Why != "" {
				values = append(values, "inPlace", a.Why)
			}
			unitLog.Info("Changing unit", values...)
		}
		group, begun := groupOf[a.Instance]
		if !begun {
			group = len(instances)
			groupOf[a.Instance] = group
			instances = append(instances, nil)
		}
		instances[group] = append(instances[group], op)
	}
	revision := int64(0)
	for stage, groups := range [stages][]store.Group{nothing: nil, theBase: nonEmptyGroup(base), theInstances: instances} {
		if len(groups) > 0 {
			written, err := store.LastRevision(store.Write(ctx, c.Store, groups, c.Fence))
			revision = max(revision, written)
			if err != nil {
				return fmt.Errorf("app %s: %w", app, err)
			}
		}
		c.tell(log, reports[stage])
	}
	if revision == 0 {
		return nil
	}
	return c.Cluster.WaitForRevision(ctx, revision)
}

// What is written, in this order, and what an event may report.
const (
	nothing = iota
	theBase
	theInstances
	stages
)

// tellsOf returns what has to be written before an event is true.
func (a Action) tellsOf() int {
	switch a.Reason {
	case Accepted, Reworded, DoubtfulManifest, RevisionRejected, Released, CanaryFollowed:
		return theBase
	case RolloutComplete, MoveComplete:
		return theInstances
	}
	return nothing
}

func (c *Controller) tell(log logr.Logger, reports []Action) {
	for _, a := range reports {
		log.V(1).Info("Reporting", "reason", a.Reason, "message", a.Event.Message)
		c.Events.Record(a.Event.Kind, a.Event.Name, a.Event.Type, a.Event.Reason, a.Event.Message)
	}
}

func nonEmptyGroup(g store.Group) []store.Group {
	if len(g) == 0 {
		return nil
	}
	return []store.Group{g}
}

// operation returns the write that carries out an action.
func operation(keys keyspace.Keys, app string, a Action) (store.Op, error) {
	switch a.Kind {
	case PutRevision:
		value, err := keys.Revisions().Encode(*a.NewRevision)
		return store.Op{Key: keys.Revisions().Key(keyspace.RevisionName(app, a.NewRevision.Number)), Value: value, If: unchanged(a.If)}, err
	case PutRoute:
		value, err := keys.Routes().Encode(*a.Route)
		return store.Op{Key: keys.Routes().Key(app), Value: value, If: unchanged(a.If)}, err
	case DeleteRoute:
		return store.Op{Key: keys.Routes().Key(app), If: unchanged(a.If)}, nil
	case PutUnitFile: // the same hash is the same text
		value, err := keys.UnitFiles().Encode(a.Text)
		return store.Op{Key: keys.UnitFiles().Key(a.Name), Value: value}, err
	case PutUnit:
		value, err := keys.Units().Encode(*a.Unit)
		return store.Op{Key: keys.Units().Key(a.Name), Value: value, If: unchanged(a.If)}, err
	case DeleteUnit:
		return store.Op{Key: keys.Units().Key(a.Name), If: unchanged(a.If)}, nil
	}
	return store.Op{}, nil
}

// spec is the unit spec that an action writes; empty if it deletes the unit.
func (a Action) spec() v1.UnitSpec {
	if a.Unit == nil {
		return v1.UnitSpec{}
	}
	return a.Unit.Spec
}

func unchanged(revision int64) store.Condition {
	if revision == 0 {
		return store.Absent()
	}
	return store.Unchanged(revision)
}
