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
