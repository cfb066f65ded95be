package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/controllers/schedule/scheduletest"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// smallSize is the size at which counts are compared.
var smallSize = dimensions{50, 1000}

// counts are what does not depend on a computer's speed: allocations, puts and messages per unit, by name.
func counts(ctx context.Context, dir string) (map[string]float64, error) {
	list := map[string]float64{}
	for _, kind := range scheduletest.Kinds {
		list[fmt.Sprintf("placement/%s/%s/allocs-per-unit", smallSize, kind)] = planAllocs(kind)
	}
	return list, clusterCounts(ctx, dir, list)
}

func planAllocs(kind string) float64 {
	c := scheduletest.NewCluster(scheduletest.Machines(smallSize.machines))
	for _, u := range scheduletest.Units(kind, smallSize.units) {
		c.SetUnit(u)
	}
	return testing.AllocsPerRun(5, func() { schedule.Plan(schedule.Input{Index: c, Now: time.Unix(0, 0)}) }) / float64(smallSize.units)
}

// clusterCounts applies an app to a cluster over the model of etcd, and counts what is written and what machines receive.
func clusterCounts(ctx context.Context, dir string, list map[string]float64) error {
	s := memstore.New(memstore.Options{})
	ms, err := startMachines(machinesConfig{Dir: dir, Machines: smallSize.machines, TTL: machineTTL}, func() (store.Interface, error) { return s, nil })
	if err != nil {
		return err
	}
	defer ms.stop()
	active := ms.aim(newGoal(keys.States().Prefix(), smallSize.units, isActive))
	placed := newGoal(keys.Placements().Prefix(), smallSize.units, nil)
	leader, err := lead(s, placed)
	if err != nil {
		return err
	}
	defer leader.stop()
	app := store.Op{Key: keys.Apps().Key("web"), Value: fmt.Appendf(nil, manifest, "web", smallSize.units, "")}
	if _, err := s.Commit(ctx, store.Txn{Ops: []store.Op{app}}); err != nil {
		return err
	}
	for _, g := range []*goal{placed, active} {
		if _, err := g.wait(ctx); err != nil {
			return err
		}
	}
	l, m, n := leader.store.traffic(), ms.traffic(), float64(smallSize.units)
	name := func(what string) string { return fmt.Sprintf("controlplane/%s/%s", smallSize, what) }
	list[name("unit-puts-per-unit")] = float64(l.Puts["units"]) / n
	list[name("placement-puts-per-unit")] = float64(l.Puts["placements"]) / n
	list[name("placement-bytes-per-unit")] = float64(l.PutBytes["placements"]) / n
	list[name("state-puts-per-unit")] = float64(m.Puts["states"]) / n
	list[name("machine-events-per-unit")] = float64(m.Events["placements"]) / n
	list[name("machine-reads-per-machine")] = float64(m.Gets+m.Lists) / float64(smallSize.machines)
	return nil
}
