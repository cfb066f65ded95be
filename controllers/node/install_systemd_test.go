package node_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestInstallSection: a sidekick that its target does not name, but that is WantedBy= it, comes and goes with it, also while
// fleet only has it loaded; and not any more when it is taken away.
func TestInstallSection(t *testing.T) {
	l := newLab(t)
	l.begin()
	target := l.file("[Service]\nExecStart=/bin/sleep infinity\n")
	side := l.file("[Unit]\nBindsTo=hello.service\nAfter=hello.service\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=hello.service\n")
	l.place("hello.service", target, v1.Loaded)
	l.place("side.service", side, v1.Loaded)
	l.awaitInactive("hello.service")
	l.awaitInactive("side.service")
	for range 2 {
		l.place("hello.service", target, v1.Launched)
		l.awaitActive("hello.service")
		l.awaitActive("side.service")
		l.place("hello.service", target, v1.Loaded)
		l.awaitInactive("hello.service")
		l.awaitInactive("side.service")
	}
	require.Contains(t, l.systemctl("show", "-p", "Wants", "hello.service"), "side.service")

	l.commit(placement(t, "side.service", v1.Placement{}))
	l.awaitGone("side.service")
	require.NotContains(t, l.systemctl("show", "-p", "Wants", "hello.service"), "side.service")
	l.place("hello.service", target, v1.Launched)
	l.awaitActive("hello.service")
}
