package schedule

import (
	"fmt"
	"testing"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// benchCluster has m machines in 10 zones.
func benchCluster(m int) *Cluster {
	c := NewCluster()
	for i := range m {
		c.SetMachine(Machine{ID: fmt.Sprintf("%032x", i*7919%m), Metadata: map[string]string{"zone": fmt.Sprint("z", i%10), "disk": "ssd"},
			Capacity: v1.Capacity{CPU: 64000, Memory: 256 << 30}})
	}
	return c
}

// instances are units of 20 templates, n in all, of one kind.
func instances(kind string, n, machines int) []Unit {
	var units []Unit
	per := max(n/20, 1)
	for t := range 20 {
		k := kind
		if kind == "mixed" {
			k = []string{"plain", "metadata", "conflicts", "ports", "pairs", "spread", "resources"}[t%7]
		}
		for i := 0; i < per && len(units) < n; i++ {
			app := fmt.Sprintf("app%02d", t)
			u := Unit{Name: fmt.Sprintf("%s@%d.service", app, i), Family: app + "@.service", Hash: "h", DesiredState: v1.Launched}
			u.Fleet = benchFleet(k, app, t, i)
			units = append(units, u)
			if k == "pairs" && len(units) < n {
				s := Unit{Name: fmt.Sprintf("%s-discovery@%d.service", app, i), Family: app + "-discovery@.service", Hash: "h", DesiredState: v1.Launched}
				s.Fleet.MachineOf = []string{u.Name}
				units = append(units, s)
				i++
			}
		}
	}
	return units
}

var zone3 = map[string][]string{"zone": {"z1", "z2", "z3"}, "disk": {"ssd"}}

func benchFleet(kind, app string, t, i int) (f unitfile.Fleet) {
	switch kind {
	case "metadata":
		f.MachineMetadata = zone3
	case "conflicts", "pairs":
		f.Conflicts = []string{app + "@*.service"}
	case "ports":
		f.Ports = []int{3000 + t}
	case "spread":
		f.SpreadOver = "zone"
	case "resources":
		f.CPU, f.Memory = 500, 1<<30
	}
	return f
}

var benchSizes = []struct{ machines, units int }{{1000, 10000}, {5000, 100000}}

func BenchmarkPlan(b *testing.B) {
	for _, size := range benchSizes {
		for _, kind := range []string{"plain", "metadata", "conflicts", "ports", "resources", "pairs", "spread", "mixed"} {
			b.Run(fmt.Sprintf("%dx%d/%s", size.machines, size.units, kind), func(b *testing.B) {
				c := benchCluster(size.machines)
				for _, u := range instances(kind, size.units, size.machines) {
					c.SetUnit(u)
				}
				placed := 0
				b.ReportAllocs()
				for b.Loop() {
					d := Plan(Input{Cluster: c, Now: time.Unix(0, 0)})
					placed = 0
					for _, a := range d.Actions {
						if a.Kind == Place {
							placed++
						}
					}
				}
				b.ReportMetric(float64(placed)*float64(b.N)/b.Elapsed().Seconds(), "placements/s")
				b.ReportMetric(float64(placed), "placed")
			})
		}
	}
}

// placedCluster has all units of a kind placed and committed.
func placedCluster(machines, units int, kind string) (*Cluster, []Unit) {
	c := benchCluster(machines)
	list := instances(kind, units, machines)
	for _, u := range list {
		c.SetUnit(u)
	}
	settle(c)
	return c, list
}

// settle plans and carries out until nothing is left to do.
func settle(c *Cluster) (actions int) {
	for {
		d := Plan(Input{Cluster: c, Now: time.Unix(0, 0)})
		c.Commit(d)
		if len(d.Actions) == 0 {
			return actions
		}
		for i, a := range d.Actions {
			switch a.Kind {
			case Place, Update:
				c.SetPlacement(Placed{Machine: a.Machine, Unit: a.Unit, Value: a.Placement, Mod: int64(i + 1), Create: 1})
			case Move:
				c.DeletePlacement(a.From, a.Unit)
				c.SetPlacement(Placed{Machine: a.Machine, Unit: a.Unit, Value: a.Placement, Mod: int64(i + 1), Create: 1})
			case Unplace:
				c.DeletePlacement(a.Machine, a.Unit)
			case SetUnplaced:
				c.SetUnplaced(a.Unit, *a.Unplaced, 1)
			case ClearUnplaced:
				c.DeleteUnplaced(a.Unit)
			}
		}
		actions += len(d.Actions)
	}
}

// BenchmarkIncremental: one change in a cluster that is placed, from the change to nothing left to do.
func BenchmarkIncremental(b *testing.B) {
	for _, size := range benchSizes {
		name := func(what string) string { return fmt.Sprintf("%dx%d/%s", size.machines, size.units, what) }
		c, _ := placedCluster(size.machines, size.units, "mixed")
		id := c.sorted[size.machines/2].ID
		b.Run(name("new-unit"), func(b *testing.B) {
			for b.Loop() {
				c.SetUnit(Unit{Name: "new.service", Hash: "h", DesiredState: v1.Launched})
				settle(c)
				c.DeleteUnit("new.service")
				settle(c)
			}
		})
		b.Run(name("lost-machine"), func(b *testing.B) {
			moved := 0
			for b.Loop() {
				lost := c.machines[id].Machine
				if len(c.machines[id].places) == 0 {
					id = c.sorted[(c.machines[id].slot+1)%size.machines].ID
					lost = c.machines[id].Machine
				}
				c.DeleteMachine(id)
				moved += settle(c)
				c.SetMachine(lost)
				settle(c)
			}
			b.ReportMetric(float64(moved)/float64(b.N), "moves")
		})
		b.Run(name("metadata"), func(b *testing.B) {
			n := 0
			for b.Loop() {
				n++
				m := c.machines[id].Machine
				m.Metadata = map[string]string{"zone": "z1", "disk": "ssd", "n": fmt.Sprint(n)}
				c.SetMachine(m)
				settle(c)
			}
		})
		b.Run(name("new-machine"), func(b *testing.B) {
			n := 0
			for b.Loop() {
				n++
				m := Machine{ID: fmt.Sprintf("%032x", n*104729%size.machines) + "x"}
				c.SetMachine(m)
				settle(c)
				c.DeleteMachine(m.ID)
			}
		})
	}
}

// BenchmarkIndex: a new leader is told of all that is stored, and looks at all of it.
func BenchmarkIndex(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dx%d", size.machines, size.units), func(b *testing.B) {
			placed, units := placedCluster(size.machines, size.units, "mixed")
			for b.Loop() {
				c := benchCluster(size.machines)
				for _, u := range units {
					c.SetUnit(u)
				}
				for _, u := range placed.units {
					for _, p := range u.places {
						c.SetPlacement(p.Placed)
					}
				}
				if d := Plan(Input{Cluster: c}); len(d.Actions) > 0 {
					b.Fatal(d.Actions[0])
				}
			}
		})
	}
}

// BenchmarkRefusals: many more units than fit, each with its reason.
func BenchmarkRefusals(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dx%d", size.machines, size.units), func(b *testing.B) {
			c := benchCluster(size.machines)
			for i := range size.units {
				u := Unit{Name: fmt.Sprintf("app@%d.service", i), Family: "app@.service", Hash: "h", DesiredState: v1.Launched}
				u.Fleet.Conflicts = []string{"app@*.service"}
				c.SetUnit(u)
			}
			refused := 0
			for b.Loop() {
				refused = 0
				for _, a := range Plan(Input{Cluster: c}).Actions {
					if a.Kind == SetUnplaced {
						refused++
					}
				}
			}
			b.ReportMetric(float64(refused), "refused")
		})
	}
}
