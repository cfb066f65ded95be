package schedule_test

import (
	"fmt"
	"testing"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/scheduletest"
)

// test/bench measures placements per second, and the cost of one change in a placed cluster. Here is the rest.

var benchSizes = []struct{ machines, units int }{{1000, 10000}, {5000, 100000}}

// BenchmarkIndex: a new leader reads everything stored, and plans all of it.
func BenchmarkIndex(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dx%d", size.machines, size.units), func(b *testing.B) {
			machines, units := scheduletest.Machines(size.machines), scheduletest.Units("mixed", size.units)
			_, placed := scheduletest.Placed(machines, units)
			for b.Loop() {
				c := scheduletest.NewCluster(machines)
				for _, u := range units {
					c.SetUnit(u)
				}
				for _, a := range placed {
					c.SetPlacement(index.Placed{MachineName: a.Machine, UnitName: a.Unit, Value: a.Placement, Mod: 1, Create: 1})
				}
				if d := schedule.Plan(schedule.Input{Index: c}); len(d.Actions) > 0 {
					b.Fatal(d.Actions[0])
				}
			}
		})
	}
}

// BenchmarkNewMachine: a machine joins, and leaves again.
func BenchmarkNewMachine(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dx%d", size.machines, size.units), func(b *testing.B) {
			c, _ := scheduletest.Placed(scheduletest.Machines(size.machines), scheduletest.Units("mixed", size.units))
			n := 0
			for b.Loop() {
				n++
				m := index.MachineSpec{ID: fmt.Sprintf("%032x", n*104729%size.machines) + "x"}
				c.SetMachine(m)
				scheduletest.Settle(c)
				c.DeleteMachine(m.ID)
			}
		})
	}
}

// BenchmarkRefusals: many more units than fit, each with its explanation.
func BenchmarkRefusals(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dx%d", size.machines, size.units), func(b *testing.B) {
			c := scheduletest.NewCluster(scheduletest.Machines(size.machines))
			for i := range size.units {
				u := index.UnitSpec{Name: fmt.Sprintf("app@%d.service", i), Template: "app@.service", Hash: "h", DesiredState: v1.Launched}
				u.Fleet.Conflicts = []string{"app@*.service"}
				c.SetUnit(u)
			}
			refused := 0
			for b.Loop() {
				refused = 0
				for _, a := range schedule.Plan(schedule.Input{Index: c, Now: time.Unix(0, 0)}).Actions {
					if a.Kind == schedule.SetUnplaced {
						refused++
					}
				}
			}
			b.ReportMetric(float64(refused), "refused")
		})
	}
}
