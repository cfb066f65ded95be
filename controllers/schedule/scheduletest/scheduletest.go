// Package scheduletest makes clusters and units of any size, to measure placement.
package scheduletest

import (
	"fmt"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Kinds are the workloads that Units makes, named after their option. "mixed" contains all others.
var Kinds = []string{"plain", "metadata", "conflicts", "ports", "resources", "pairs", "spread", "mixed"}

const (
	zones     = 10
	templates = 20
)

// Machines returns n machines in 10 zones, with unordered IDs.
func Machines(n int) []index.MachineSpec {
	machines := make([]index.MachineSpec, n)
	for i := range machines {
		machines[i] = index.MachineSpec{
			ID:       fmt.Sprintf("%032x", i*7919%n),
			Metadata: map[string]string{"zone": fmt.Sprint("z", i%zones), "disk": "ssd"},
			Capacity: v1.Capacity{CPU: 64000, Memory: 256 << 30},
		}
	}
	return machines
}

// NewCluster returns a cluster of the machines.
func NewCluster(machines []index.MachineSpec) *index.Index {
	c := schedule.NewIndex()
	for _, m := range machines {
		c.SetMachine(m)
	}
	return c
}

// Units returns n units of a kind, instances of 20 templates. In pairs, half of the units follow the other half.
func Units(kind string, n int) []index.UnitSpec {
	var units []index.UnitSpec
	per := max(n/templates, 1)
	for t := range templates {
		k := kind
		if kind == "mixed" {
			k = Kinds[t%(len(Kinds)-1)]
		}
		for i := 0; i < per && len(units) < n; i++ {
			app := fmt.Sprintf("app%02d", t)
			u := unit(app, i)
			u.Fleet = options(k, app, t)
			units = append(units, u)
			if k == "pairs" && len(units) < n {
				i++
				follower := unit(app+"-discovery", i)
				follower.Fleet.MachineOf = []string{u.Name}
				units = append(units, follower)
			}
		}
	}
	return units
}

func unit(app string, i int) index.UnitSpec {
	return index.UnitSpec{Name: fmt.Sprintf("%s@%d.service", app, i), Template: app + "@.service", Hash: "h", DesiredState: v1.Launched}
}

var threeZones = map[string][]string{"zone": {"z1", "z2", "z3"}, "disk": {"ssd"}}

func options(kind, app string, template int) (f unitfile.Fleet) {
	switch kind {
	case "metadata":
		f.MachineMetadata = threeZones
	case "conflicts", "pairs":
		f.Conflicts = []string{app + "@*.service"}
	case "ports":
		f.Ports = []int{3000 + template}
	case "spread":
		f.SpreadOver = "zone"
	case "resources":
		f.CPU, f.Memory = 500, 1<<30
	}
	return f
}

// Settle plans and applies until nothing is left to do, and returns the actions.
func Settle(c *index.Index) (done []schedule.Action) {
	for {
		d := schedule.Plan(schedule.Input{Index: c, Now: time.Unix(0, 0)})
		schedule.Commit(c, d)
		if len(d.Actions) == 0 {
			return done
		}
		for i, a := range d.Actions {
			placed := index.Placed{MachineName: a.Machine, UnitName: a.Unit, Value: a.Placement, Mod: int64(i + 1), Create: 1}
			switch a.Kind {
			case schedule.Place, schedule.Update:
				c.SetPlacement(placed)
			case schedule.Move:
				c.DeletePlacement(a.From, a.Unit)
				c.SetPlacement(placed)
			case schedule.Unplace:
				c.DeletePlacement(a.Machine, a.Unit)
			case schedule.SetUnplaced:
				c.SetUnplaced(a.Unit, *a.Unplaced, 1)
			case schedule.ClearUnplaced:
				c.DeleteUnplaced(a.Unit)
			}
		}
		done = append(done, d.Actions...)
	}
}

// Placed returns a cluster with all units of a kind placed, and the actions.
func Placed(machines []index.MachineSpec, units []index.UnitSpec) (*index.Index, []schedule.Action) {
	c := NewCluster(machines)
	for _, u := range units {
		c.SetUnit(u)
	}
	return c, Settle(c)
}
