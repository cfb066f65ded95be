package lab

import (
	"context"
	"testing"

	"github.com/fleet-starter/fleet/test/change"
	"github.com/fleet-starter/fleet/test/load"
)

// TestChangesLoseNothing changes an app in each way while requests are sent to it.
func TestChangesLoseNothing(t *testing.T) {
	l := withLab(t)
	first := l.Machines[0]
	c := &change.Cluster{
		Fleetctl: func(args ...string) (string, error) {
			return first.Exec(context.Background(), append([]string{"fleetctl"}, args...)...)
		},
		Write: func(manifest string) (string, error) {
			return "/root/greeter.yaml", first.Write("root/greeter.yaml", manifest)
		},
		Program: "/usr/bin/example-app", Key: "machine", Host: "greeter.lab.example",
	}
	for _, m := range l.Machines {
		c.Machines = append(c.Machines, m.Name)
		c.Routers = append(c.Routers, load.Target{Name: m.Name, Address: m.Address + ":80"})
	}
	c.Test(t)
}
