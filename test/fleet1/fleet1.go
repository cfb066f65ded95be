//go:build tools

// Package fleet1 builds the original fleet 1.0, which the tests of what is compatible with it run: its fleetctl against our
// fleetd, ours against its. It is a module of its own, because the original needs its own old versions of other modules.
package fleet1

import (
	_ "github.com/coreos/fleet"
	_ "github.com/coreos/fleet/fleetctl"
)
