package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-starter/fleet/internal/dev"
	"github.com/fleet-starter/fleet/test/change"
	"github.com/fleet-starter/fleet/test/load"
)

// TestChangesLoseNothing changes an app in each way while requests are sent to it.
func TestChangesLoseNothing(t *testing.T) {
	c := &change.Cluster{
		Fleetctl: func(args ...string) (string, error) { return try("fleetctl %s", strings.Join(args, " ")) },
		Write: func(manifest string) (string, error) {
			path := filepath.Join(t.TempDir(), "greeter.yaml")
			return path, os.WriteFile(path, []byte(manifest), 0o644)
		},
		Program: "%t/fleet/bin/example-app", Key: "name", Host: "greeter.localhost", Patience: patience,
	}
	for _, m := range allMachines {
		c.Machines = append(c.Machines, fmt.Sprintf("m%d", m))
		c.Routers = append(c.Routers, load.Target{Name: fmt.Sprintf("m%d", m), Address: dev.Address(m) + ":8080"})
	}
	c.Test(t)
}
