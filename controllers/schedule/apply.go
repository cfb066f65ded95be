package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/instance"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// manyActions is the number of actions up to which each one is logged and recorded.
const manyActions = 200

// apply writes the decisions, each transaction of the plan atomically, and returns when the caches have seen them. Files go
// first: what names a file that could not be written is not written either.
func (c *Controller) apply(ctx context.Context, actions []Action) error {
	c.log(actions)
	files := 0
	for files < len(actions) && actions[files].Kind == StoreFile {
		files++
	}
	revision, missing, err := c.write(ctx, actions[:files])
	rest := actions[files:]
	if len(missing) > 0 {
		rest = c.without(rest, missing)
	}
	last, _, errRest := c.write(ctx, rest)
	revision = max(revision, last)
	if err = errors.Join(err, errRest); revision > 0 {
		err = controller.Partial(err) // the rest was written
	}
	if waited := c.Cluster.WaitForRevision(ctx, revision); waited != nil {
		return errors.Join(waited, err)
	}
	return err
}

// without drops actions that name a file that could not be written, with everything in their transactions, and plans those
// again.
func (c *Controller) without(actions, missing []Action) []Action {
	absent, left := map[string]bool{}, map[int]bool{}
	for _, a := range missing {
		absent[a.File.Hash] = true
	}
	for _, a := range actions {
		if absent[a.Placement.Hash] {
			left[a.Txn] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(actions), func(a Action) bool {
		if left[a.Txn] {
			c.index.Retry(a.Unit)
		}
		return left[a.Txn]
	})
}

// write writes actions and records them. It returns those that failed, which are planned again.
func (c *Controller) write(ctx context.Context, actions []Action) (revision int64, failed []Action, err error) {
	if len(actions) == 0 {
		return 0, nil, nil
	}
	groups, of, err := c.groups(actions)
	if err != nil {
		c.retry(actions)
		return 0, actions, err
	}
	results := c.byMachine(ctx, groups)
	var done []Action
	for i, a := range actions {
		if g := of[i]; g < 0 || results[g].Err == nil {
			done = append(done, a)
		} else {
			failed = append(failed, a)
			c.tellRefused(a, results[g].Err)
		}
	}
	c.tell(done)
	c.retry(failed)
	revision, _ = store.LastRevision(results)
	return revision, failed, brief(results)
}

func (c *Controller) retry(actions []Action) {
	for _, a := range actions {
		c.index.Retry(a.Unit)
	}
}

// byMachine writes transactions in the order of their keys: those of one machine go into one transaction of etcd, so that the
// machine receives them together. They are independent of each other: dependent actions are in one transaction already.
func (c *Controller) byMachine(ctx context.Context, groups []store.Group) []store.Result {
	order := make([]int, len(groups))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(last(groups[a]), last(groups[b])) })
	sorted := make([]store.Group, len(groups))
	for to, from := range order {
		sorted[to] = groups[from]
	}
	results := make([]store.Result, len(groups))
	for i, r := range store.Write(ctx, c.Store, sorted, c.Fence) {
		results[order[i]] = r
	}
	return results
}

// last returns the last key that a group writes: for a move the one on the new machine.
func last(g store.Group) string {
	for i := len(g) - 1; i > 0; i-- {
		if !g[i].Check {
			return g[i].Key
		}
	}
	return g[0].Key
}

// brief is the first error, and their number.
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

// groups returns the operations of each transaction, and the transaction of each action; -1: it writes nothing.
func (c *Controller) groups(actions []Action) (groups []store.Group, of []int, err error) {
	byTxn := make(map[int]int, len(actions))
	of = make([]int, len(actions))
	for i, a := range actions {
		ops, err := c.ops(a)
		if err != nil {
			return nil, nil, err
		}
		of[i] = -1
		if len(ops) == 0 {
			continue
		}
		g, ok := byTxn[a.Txn]
		if !ok {
			g = len(groups)
			byTxn[a.Txn] = g
			groups = append(groups, nil)
		}
		groups[g], of[i] = c.given(append(groups[g], ops...), a.gone()), g
	}
	return groups, of, nil
}

// given has a group written only if a machine is still gone. One that returned after the plan looked keeps what it runs: else its
// units would be stopped while routers serve them.
func (c *Controller) given(group store.Group, gone string) store.Group {
	if gone == "" {
		return group
	}
	machines := c.Cluster.Keys.Machines()
	check := store.Op{Key: machines.Key(gone), If: store.Unleased(), Check: true} // what has no lease counts as absent, see cache
	if _, named := machines.Name(check.Key); !named || slices.ContainsFunc(group, func(op store.Op) bool { return op.Check && op.Key == check.Key }) {
		return group
	}
	return append(group, check)
}

// gone is the machine whose absence is why a placement is taken off it; "" if there is another reason.
func (a Action) gone() string {
	switch {
	case a.Reason != ReasonMachineGone:
	case a.Kind == Move:
		return a.From
	case a.Kind == Unplace:
		return a.Machine
	}
	return ""
}

// ops returns an action's writes.
func (c *Controller) ops(a Action) ([]store.Op, error) {
	placements, unplaced := c.Cluster.Keys.Placements(), c.Cluster.Keys.Unplaced()
	key := func(machine string) string { return placements.Key(keyspace.Join(machine, a.Unit)) }
	preparations := c.Cluster.Keys.Preparations()
	preparation := preparations.Key(keyspace.Join(a.Machine, a.Unit))
	var value []byte
	var err error
	switch a.Kind {
	case Place, Move, Update:
		value, err = placements.Encode(a.Placement)
	case Prepare:
		value, err = preparations.Encode(a.Next)
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
		ops := []store.Op{{Key: key(a.From), If: was}}
		if a.IfDown {
			ops = append(ops, c.isDown(a))
		}
		return append(ops, store.Op{Key: key(a.Machine), Value: value, If: store.Absent()}), nil
	case Update:
		return []store.Op{{Key: key(a.Machine), Value: value, If: was}}, nil
	case Unplace:
		return []store.Op{{Key: key(a.Machine), If: was}}, nil
	case Prepare:
		return []store.Op{{Key: preparation, Value: value}}, nil
	case PrepareNoMore:
		return []store.Op{{Key: preparation, If: was}}, nil
	case SetUnplaced:
		return []store.Op{{Key: unplaced.Key(a.Unit), Value: value}}, nil
	case ClearUnplaced:
		return []store.Op{{Key: unplaced.Key(a.Unit)}}, nil
	case StoreFile: // even if it exists: it may be collected at this moment
		return []store.Op{{Key: c.Cluster.Keys.UnitFiles().Key(a.File.Hash), Value: []byte(a.File.Text)}}, nil
	case DeleteStray:
		return []store.Op{{Key: placements.Key(a.Unit), If: was}}, nil
	}
	return nil, nil
}

// isDown holds while From does not report that a unit runs there. Where it does by now, the plan did not know yet.
func (c *Controller) isDown(a Action) store.Op {
	name := keyspace.Join(a.From, a.Unit)
	check := store.Op{Key: c.Cluster.Keys.States().Key(name), If: store.Absent(), Check: true}
	if o, told := c.Cluster.States.Get(name); told && !instance.IsActive(&o.Value) {
		check.If = store.Unchanged(o.ModRevision)
	}
	return check
}

// log logs the actions before they are done, many of them in one line.
func (c *Controller) log(actions []Action) {
	level := 0
	if len(actions) > manyActions {
		level = 1
		counts := map[Kind]int{}
		for _, a := range actions {
			counts[a.Kind]++
		}
		c.Log.Info("Placing many units", "reason", "Plan", "place", counts[Place], "move", counts[Move], "update", counts[Update],
			"unplace", counts[Unplace], "unplaced", counts[SetUnplaced])
	}
	log := c.Log.V(level)
	if !log.Enabled() {
		return
	}
	for _, a := range actions {
		log.Info("Placing unit", "action", a.Kind, "unit", a.Unit, "machine", a.Machine, "from", a.From, "reason", a.Reason, "message", a.Message)
	}
}

// tell records events for the actions; if there are many, only for unusual ones.
func (c *Controller) tell(actions []Action) {
	for _, a := range actions {
		switch a.Kind {
		case FreezeMoves:
			c.Events.Record("Cluster", "schedule", v1.EventWarning, a.Reason, a.Message)
		case UnfreezeMoves:
			c.Events.Record("Cluster", "schedule", v1.EventNormal, a.Reason, a.Message)
		case ClearUnplaced, Update, Prepare, PrepareNoMore, StoreFile:
		case Place, Unplace:
			if len(actions) <= manyActions {
				c.Events.Record(v1.KindUnit, a.Unit, v1.EventNormal, a.Reason, a.sentence())
			}
		case SetUnplaced, DeleteStray:
			c.Events.Record(v1.KindUnit, a.Unit, v1.EventWarning, a.Reason, a.sentence())
		default:
			c.Events.Record(v1.KindUnit, a.Unit, v1.EventNormal, a.Reason, a.sentence())
		}
	}
}

// of an event: etcd refuses what was decided for the unit, such as a value that is too large
const reasonNotWritten = "NotWritten"

// tellRefused records that etcd refuses a write for a unit. A conflict does not count: it is planned again.
func (c *Controller) tellRefused(a Action, err error) {
	if errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrDenied) {
		c.Events.Record(v1.KindUnit, a.Unit, v1.EventWarning, reasonNotWritten, fmt.Sprintf("what was decided for it (%s) could not be written: %v", a.Kind, err))
	}
}

// sentence describes the action to people who know the unit already.
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
