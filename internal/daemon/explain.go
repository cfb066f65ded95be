package daemon

import (
	"context"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/forecast"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// ExplainOptions are what explanations are made of. Store, Keys and Now are required.
type ExplainOptions struct {
	Store store.Interface
	Keys  keyspace.Keys
	Now   func() time.Time
	// FreezeTimeout is that of the scheduler.
	FreezeTimeout time.Duration
	// Leader is that of forecast.Options.
	Leader func() *forecast.Memory
}

// explainer explains placements by the scheduler's own plans, on a copy of what etcd holds: any fleetd can, also without a leader.
type explainer struct {
	ExplainOptions
	turn chan struct{} // one copy at a time: that of a large cluster takes some hundred MB
}

// NewExplainer returns what api.Options.Explain is.
func NewExplainer(o ExplainOptions) func(ctx context.Context, units []string, machine string) (why []v1.Explanation, missed []string, err error) {
	e := &explainer{ExplainOptions: o, turn: make(chan struct{}, 1)}
	return e.explain
}

func (e *explainer) explain(ctx context.Context, units []string, machine string) (list []v1.Explanation, missed []string, err error) {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	defer func() { <-e.turn }()
	known := cluster.New(e.Store, e.Keys, logr.Discard())
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = known.Run(running) }() // its error is that of the context
	defer func() { stop(); <-done }()
	if err := known.WaitForSync(ctx); err != nil {
		return nil, nil, err
	}
	absences := schedule.Absences{}
	if e.Leader != nil {
		if leader := e.Leader(); leader != nil {
			absences = leader.Schedule
		}
	}
	index, missed := schedule.Snapshot(known, absences)
	// Machines that are missed count as lost: the grace of a new leader says nothing about where units belong.
	why := schedule.NewExplainer(schedule.Input{Now: e.Now(), Index: index, Limits: schedule.Limits{Grace: -1, FreezeTimeout: e.FreezeTimeout}, FrozenSince: absences.FrozenSince})
	for _, unit := range units {
		if x, ok := why.Explain(unit, machine); ok {
			list = append(list, x)
		}
	}
	return list, missed, nil
}
