package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/scheduletest"
)

type dimensions struct{ machines, units int }

func (d dimensions) String() string { return fmt.Sprintf("%dx%d", d.machines, d.units) }

func (b *bench) placementSizes() []dimensions {
	if b.small {
		return []dimensions{{50, 1000}, {1000, 1000}, {1000, 10000}}
	}
	var sizes []dimensions
	for _, machines := range []int{1000, 5000} {
		for _, units := range []int{1000, 10000, 100000} {
			sizes = append(sizes, dimensions{machines, units})
		}
	}
	return sizes
}

// placement measures Plan: placing all units at once, in an index that already contains them.
func placement(ctx context.Context, b *bench) error {
	for _, size := range b.placementSizes() {
		for _, kind := range scheduletest.Kinds {
			name := fmt.Sprintf("placement/%s/%s", size, kind)
			if !b.wants(name) || ctx.Err() != nil {
				continue
			}
			c := scheduletest.NewCluster(scheduletest.Machines(size.machines))
			for _, u := range scheduletest.Units(kind, size.units) {
				c.SetUnit(u)
			}
			took := median(runs(size), func() { schedule.Plan(schedule.Input{Index: c, Now: time.Unix(0, 0)}) })
			placed := placements(schedule.Plan(schedule.Input{Index: c, Now: time.Unix(0, 0)}))
			b.report(name, float64(placed)/took.Seconds(), "units/s", placed)
		}
	}
	return ctx.Err()
}

// autoPorts measures placing the same units with and without a port that the scheduler assigns, in turns.
func autoPorts(ctx context.Context, b *bench) error {
	for _, size := range b.placementSizes() {
		name := fmt.Sprintf("placement/%s/auto-ports", size)
		if !b.wants(name) || ctx.Err() != nil {
			continue
		}
		machines, units := scheduletest.Machines(size.machines), scheduletest.Units("plain", size.units)
		for i := range machines {
			machines[i].PortRange = v1.DefaultPortRange
		}
		without, with := scheduletest.NewCluster(machines), scheduletest.NewCluster(machines)
		for _, u := range units {
			without.SetUnit(u)
			u.Fleet.AutoPorts = []string{"http"}
			with.SetUnit(u)
		}
		var took [2][]time.Duration
		placed := 0
		for range runs(size) {
			for i, c := range []*index.Index{without, with} {
				start := time.Now()
				d := schedule.Plan(schedule.Input{Index: c, Now: time.Unix(0, 0)})
				took[i] = append(took[i], time.Since(start))
				placed = placements(d)
			}
		}
		plain, auto := middle(took[0]), middle(took[1])
		b.report(name, float64(placed)/auto.Seconds(), "units/s", placed)
		b.report(name+"-vs-none", auto.Seconds()/plain.Seconds(), "ratio", len(took[0]))
	}
	return ctx.Err()
}

// runs is how often a size is measured: garbage collections distort single plans, small ones most.
func runs(size dimensions) int { return max(15, 200_000/size.units|1) }

func placements(d schedule.Decision) (n int) {
	for _, a := range d.Actions {
		if a.Kind == schedule.Place {
			n++
		}
	}
	return n
}

// incremental measures one change in a placed cluster, until nothing is left to do.
func incremental(ctx context.Context, b *bench) error {
	sizes := []dimensions{{1000, 10000}, {5000, 100000}}
	if b.small {
		sizes = sizes[:1]
	}
	for _, size := range sizes {
		name := fmt.Sprintf("incremental/%s/", size)
		if ctx.Err() != nil || !b.wantsAny([]string{name}) {
			continue
		}
		machines := scheduletest.Machines(size.machines)
		full, _ := scheduletest.Placed(machines, scheduletest.Units("mixed", size.units))
		roomy, _ := scheduletest.Placed(machines, scheduletest.Units("spread", size.units))
		lost := changes(roomy, machines)[1]
		inFull := changes(full, machines)
		inFull[1].name = "lost-machine-full" // some of its units fit nowhere, and each gets an explanation
		for _, change := range append(inFull, lost) {
			const n = 20
			total := 0
			took := median(n, func() { total += len(change.make()) }, change.undo)
			b.report(name+change.name, float64(took.Nanoseconds())/1e3, "µs", n)
			b.report(name+change.name+"/actions", float64(total)/n, "actions", n)
		}
	}
	return ctx.Err()
}

// change is a change that can be made and undone repeatedly.
type change struct {
	name string
	make func() []schedule.Action
	undo func()
}

func changes(c *index.Index, machines []index.MachineSpec) []change {
	next := 0 // a different machine each time
	one := func() index.MachineSpec {
		next = (next + 101) % len(machines)
		return machines[next]
	}
	var lost index.MachineSpec
	edits := 0
	return []change{
		{"new-unit", func() []schedule.Action {
			c.SetUnit(index.UnitSpec{Name: "new.service", Hash: "h", DesiredState: "launched"})
			return scheduletest.Settle(c)
		}, func() {
			c.DeleteUnit("new.service")
			scheduletest.Settle(c)
		}},
		{"lost-machine", func() []schedule.Action {
			lost = one()
			c.DeleteMachine(lost.ID)
			return scheduletest.Settle(c)
		}, func() {
			c.SetMachine(lost)
			scheduletest.Settle(c)
		}},
		{"changed-metadata", func() []schedule.Action {
			m := one()
			edits++
			m.Metadata = map[string]string{"zone": m.Metadata["zone"], "disk": "ssd", "edit": fmt.Sprint(edits)}
			c.SetMachine(m)
			return scheduletest.Settle(c)
		}, func() {}},
	}
}

// median runs f n times, each after a garbage collection, and returns the median duration.
func median(n int, f func(), between ...func()) time.Duration {
	runtime.GC()
	took := make([]time.Duration, n)
	for i := range took {
		start := time.Now()
		f()
		took[i] = time.Since(start)
		for _, g := range between {
			g()
		}
	}
	return middle(took)
}

func middle[T int64 | float64 | time.Duration](list []T) T {
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}
