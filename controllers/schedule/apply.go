package schedule

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// manyActions is how many actions are still logged and recorded one by one.
const manyActions = 200

// apply writes what was decided, each transaction of the plan as one, and returns when the caches have it.
func (c *Controller) apply(ctx context.Context, actions []Action) error {
	groups, units, err := c.groups(actions)
	if err != nil {
		return err
	}
	c.tell(actions)
	if len(groups) == 0 {
		return nil
	}
	results := store.Write(ctx, c.Store, groups, c.Fence)
	for i, r := range results {
		if r.Err != nil {
			for _, unit := range units[i] {
				c.index.Retry(unit)
			}
		}
	}
	revision, err := store.LastRevision(results)
	if wait := c.Cluster.WaitForRevision(ctx, revision); wait != nil {
		return errors.Join(wait, brief(results))
	}
	if err != nil {
		return brief(results)
	}
	return nil
}

// brief is the first error, and how many there are.
func brief(results []store.Result) error {
	var first error
	n := 0
	for _, r := range results {
		if r.Err != nil {
			if n++; first == nil || errors.Is(r.Err, store.ErrFenced) {
				first = r.Err
			}
		}
	}
	if first == nil {
		return nil
	}
	return fmt.Errorf("%d of %d decisions were not written: %w", n, len(results), first)
}

// groups are the operations of each transaction, and the units that it is for.
func (c *Controller) groups(actions []Action) (groups []store.Group, units [][]string, err error) {
	of := make(map[int]int, len(actions))
	for _, a := range actions {
		ops, err := c.ops(a)
		if err != nil {
			return nil, nil, err
		}
		if len(ops) == 0 {
			continue
		}
		g, ok := of[a.Txn]
		if !ok {
			g = len(groups)
			of[a.Txn] = g
			groups, units = append(groups, nil), append(units, nil)
		}
		groups[g], units[g] = append(groups[g], ops...), append(units[g], a.Unit)
	}
	return groups, units, nil
}

// ops are what an action writes.
func (c *Controller) ops(a Action) ([]store.Op, error) {
	placements, unplaced := c.Cluster.Keys.Placements(), c.Cluster.Keys.Unplaced()
	key := func(machine string) string { return placements.Key(keyspace.Join(machine, a.Unit)) }
	var value []byte
	var err error
	switch a.Kind {
	case Place, Move, Update:
		value, err = placements.Encode(a.Placement)
	case SetUnplaced:
		value, err = unplaced.Encode(*a.Unplaced)
	}
	if err != nil {
		return nil, fmt.Errorf("unit %s: %w", a.Unit, err)
	}
	was := store.Unchanged(a.Revision)
	switch a.Kind {
	case Place:
		return []store.Op{{Key: key(a.Machine), Value: value, If: store.Absent()}}, nil
	case Move:
		return []store.Op{{Key: key(a.From), If: was}, {Key: key(a.Machine), Value: value, If: store.Absent()}}, nil
	case Update:
		return []store.Op{{Key: key(a.Machine), Value: value, If: was}}, nil
	case Unplace:
		return []store.Op{{Key: key(a.Machine), If: was}}, nil
	case SetUnplaced:
		return []store.Op{{Key: unplaced.Key(a.Unit), Value: value}}, nil
	case ClearUnplaced:
		return []store.Op{{Key: unplaced.Key(a.Unit)}}, nil
	case DeleteStray:
		return []store.Op{{Key: placements.Key(a.Unit), If: was}}, nil
	}
	return nil, nil
}

// tell logs and records what is about to be done, a multitude in one line.
func (c *Controller) tell(actions []Action) {
	level, counts := 0, map[Kind]int{}
	for _, a := range actions {
		counts[a.Kind]++
	}
	if len(actions) > manyActions {
		level = 1
		c.Log.Info("Placing many units", "reason", "Plan", "place", counts[Place], "move", counts[Move], "update", counts[Update],
			"unplace", counts[Unplace], "unplaced", counts[SetUnplaced])
	}
	for _, a := range actions {
		warn := a.Kind == SetUnplaced || a.Kind == FreezeMoves || a.Kind == DeleteStray
		if log := c.Log.V(level); log.Enabled() {
			log.Info("Placing unit", "action", a.Kind, "unit", a.Unit, "machine", a.Machine, "from", a.From, "reason", a.Reason, "message", a.Message)
		}
		switch {
		case a.Kind == FreezeMoves || a.Kind == UnfreezeMoves:
			c.record("Cluster", "schedule", eventType(warn), a.Reason, a.Message)
		case a.Kind == ClearUnplaced || a.Kind == Update:
		case level > 0 && (a.Kind == Place || a.Kind == Unplace):
		default:
			c.record(v1.KindUnit, a.Unit, eventType(warn), a.Reason, a.sentence())
		}
	}
}

func eventType(warn bool) string {
	if warn {
		return v1.EventWarning
	}
	return v1.EventNormal
}

func (c *Controller) record(kind, name, eventType, reason, message string) {
	if c.Events != nil {
		c.Events.Record(kind, name, eventType, reason, message)
	}
}

// sentence is the action for people who know the unit already.
func (a Action) sentence() string {
	switch a.Kind {
	case Place:
		return "placed on " + a.Machine + ": " + a.Message
	case Move:
		return "moved from " + a.From + " to " + a.Machine + ": " + a.Message
	case Unplace:
		return "taken off " + a.Machine + ": " + a.Message
	}
	return a.Message
}
