package daemon

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// explainer explains placements by the scheduler's own plans, on a copy of what etcd holds: any fleetd can, also without a leader.
type explainer struct {
	store store.Interface
	keys  keyspace.Keys
	now   func() time.Time
	turn  chan struct{} // one copy at a time: that of a large cluster takes some hundred MB
}

// NewExplainer returns what api.Options.Explain is.
func NewExplainer(s store.Interface, keys keyspace.Keys, now func() time.Time) func(ctx context.Context, units []string, machine string) ([]v1.Explanation, error) {
	e := &explainer{store: s, keys: keys, now: now, turn: make(chan struct{}, 1)}
	return e.explain
}

func (e *explainer) explain(ctx context.Context, units []string, machine string) ([]v1.Explanation, error) {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-e.turn }()
	known := cluster.New(e.store, e.keys, logr.Discard())
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = known.Run(running) }() // its error is that of the context
	defer func() { stop(); <-done }()
	if err := known.WaitForSync(ctx); err != nil {
		return nil, err
	}
	// Machines that are missed count as lost: the grace of a new leader says nothing about where units belong.
	why := schedule.NewExplainer(schedule.Input{Now: e.now(), Index: schedule.Snapshot(known), Limits: schedule.Limits{Grace: -1}})
	var list []v1.Explanation
	for _, unit := range units {
		if x, ok := why.Explain(unit, machine); ok {
			list = append(list, x)
		}
	}
	return list, nil
}
