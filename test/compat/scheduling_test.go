package compat

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// active waits until exactly these units are active, each on one machine, and returns the machines.
func (s *session) active(units ...string) map[string]string {
	s.Helper()
	on := map[string]string{}
	eventually(s.T, 15*time.Second, func() error {
		clear(on)
		var found []string
		out := s.run("list-units", "--no-legend", "--full", "--fields=unit,active,machine")
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 3 && f[1] == "active" {
				found = append(found, f[0])
				on[f[0]], _, _ = strings.Cut(f[2], "/")
			}
		}
		slices.Sort(found)
		if !slices.Equal(found, units) {
			return fmt.Errorf("active are %v instead of %v", found, units)
		}
		return nil
	})
	return on
}

// unit writes a file with options of [X-Fleet].
func (s *session) unit(name string, options ...string) string {
	return s.file(name, "[Service]\nExecStart=/bin/sleep 4001\n[X-Fleet]\n%s\n", strings.Join(options, "\n"))
}

// TestScheduling: where units with options of [X-Fleet] run, as the original's own tests ask for.
func TestScheduling(t *testing.T) {
	c := newCluster(t, ours, 2)
	s := &session{T: t, c: c, client: ours, dir: t.TempDir()}
	clear := func(units ...string) {
		s.run(append([]string{"destroy"}, units...)...)
		s.active()
	}

	s.run("start", "--no-block", s.unit("ping.service"), s.unit("pong.service", "MachineOf=ping.service"))
	on := s.active("ping.service", "pong.service")
	require.Equal(t, on["ping.service"], on["pong.service"])
	clear("ping", "pong")

	// Two that follow each other run nowhere, and say why; until one of them does not.
	s.run("submit", s.unit("ping.service", "MachineOf=pong.service"), s.unit("pong.service", "MachineOf=ping.service"))
	s.files("ping.service inactive inactive", "pong.service inactive inactive")
	require.Contains(t, s.exits(1, "start", "ping", "pong"), "MachineOf= goes in a circle: ping.service -> pong.service -> ping.service")
	s.files("ping.service launched inactive", "pong.service launched inactive")
	s.active()
	s.run("destroy", "ping")
	s.run("start", s.unit("ping.service"))
	s.active("ping.service", "pong.service")
	clear("ping", "pong")

	s.run("start", "--no-block", s.unit("c.0.service", "Conflicts=c.*.service"), s.unit("c.1.service", "Conflicts=c.*.service"))
	on = s.active("c.0.service", "c.1.service")
	require.NotEqual(t, on["c.0.service"], on["c.1.service"])
	s.run("start", "--no-block", s.unit("c.2.service", "Conflicts=c.*.service"))
	s.files("c.0.service launched launched", "c.1.service launched launched", "c.2.service launched inactive")
	s.run("destroy", "c.0")
	s.active("c.1.service", "c.2.service")
	clear("c.1", "c.2")

	here := "MachineID=" + c.nodes[1].ID()
	s.run("start", s.unit("id.service", here))
	require.Equal(t, c.nodes[1].ID(), s.active("id.service")["id.service"])
	clear("id")

	both := "MachineMetadata=hostname=127.0.0.21\nMachineMetadata=hostname=127.0.0.22"
	s.run("start", s.unit("old.service", both))
	before := s.active("old.service")["old.service"]
	s.run("start", s.unit("new.service", "Replaces=old.service"))
	on = s.active("new.service", "old.service")
	require.NotEqual(t, on["new.service"], on["old.service"], "the replaced unit moves to another machine, from %s", before)
	clear("new", "old")

	s.run("start", "--no-block", s.unit("r.0.service", "Replaces=r.1.service"))
	s.active("r.0.service")
	s.run("start", "--no-block", s.unit("r.1.service", "Replaces=r.0.service"))
	s.files("r.0.service launched launched", "r.1.service launched inactive")
	s.active("r.0.service")
	clear("r.0", "r.1")
}
