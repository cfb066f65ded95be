package compat

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestCommands runs the commands of either fleetctl against either fleetd: the same commands lead to the same states, and none waits
// for ever. COMPAT=all also runs the original's fleetctl against its own fleetd.
func TestCommands(t *testing.T) {
	for _, server := range []which{ours, theirs} {
		t.Run(string(server)+" fleetd", func(t *testing.T) {
			c := newCluster(t, server, 2)
			for _, client := range []which{theirs, ours} {
				if client == theirs && server == theirs && os.Getenv("COMPAT") != "all" {
					continue // a minute that tells of this test, and nothing of our programs
				}
				t.Run(string(client)+" fleetctl", func(t *testing.T) { commands(t, c, client) })
			}
		})
	}
}

// session is one fleetctl at one fleetd, with files of units.
type session struct {
	*testing.T
	c      *cluster
	client which
	dir    string
}

func (s *session) file(name, format string, args ...any) string {
	path := filepath.Join(s.dir, name)
	require.NoError(s, os.WriteFile(path, fmt.Appendf(nil, format, args...), 0o600))
	return path
}

// run runs a command that must succeed.
func (s *session) run(args ...string) string {
	s.Helper()
	out, err := s.c.fleetctl(s.client, s.c.nodes[0], args...)
	require.NoError(s, err, "fleetctl %s: %s", strings.Join(args, " "), out)
	return out
}

// files waits for the rows of list-unit-files: unit, desired state, state.
func (s *session) files(rows ...string) { s.list("list-unit-files", "unit,dstate,state", rows) }

// units waits for the rows of list-units: unit, active state.
func (s *session) units(rows ...string) { s.list("list-units", "unit,active", rows) }

var blanks = regexp.MustCompile(`[\t ]+`)

func (s *session) list(command, fields string, want []string) {
	s.Helper()
	eventually(s.T, 15*time.Second, func() error {
		out := strings.TrimSpace(blanks.ReplaceAllString(s.run(command, "--no-legend", "--fields="+fields), " "))
		rows := strings.Split(out, "\n")
		slices.Sort(rows)
		if got := strings.Join(rows, "; "); got != strings.Join(want, "; ") {
			return fmt.Errorf("%s: %q instead of %q", command, got, strings.Join(want, "; "))
		}
		return nil
	})
}

// invocation is the run of a unit, by systemd: it changes with each start.
func (s *session) invocation(unit string) string {
	for _, n := range s.c.nodes {
		out, err := n.Command("systemctl", "--user", "show", "--value", "-p", "InvocationID", unit).Output()
		if id := strings.TrimSpace(string(out)); err == nil && id != "" {
			return id
		}
	}
	return ""
}

func commands(t *testing.T, c *cluster, client which) {
	s := &session{T: t, c: c, client: client, dir: t.TempDir()}
	h := s.file("h.service", "[Service]\nExecStart=/bin/sleep 1001\n")
	require.Len(t, strings.Split(strings.TrimSpace(s.run("list-machines", "--no-legend")), "\n"), 2)

	// Each command by itself.
	s.run("submit", h)
	s.files("h.service inactive inactive")
	require.Equal(t, "[Service]\nExecStart=/bin/sleep 1001\n", strings.TrimRight(s.run("cat", "h.service"), "\n")+"\n")
	s.run("submit", h)
	s.run("load", "h")
	s.files("h.service loaded loaded")
	s.units("h.service inactive")
	s.run("start", "h.service")
	s.files("h.service launched launched")
	s.units("h.service active")
	before := s.invocation("h.service")
	s.run("restart", "h.service")
	s.files("h.service launched launched")
	s.units("h.service active")
	if s.client == ours || c.kind == ours { // the original's own restart may ask for both states before its fleetd has looked
		require.NotEqual(t, before, s.invocation("h.service"), "it was restarted")
	}
	s.run("stop", "h.service")
	s.files("h.service loaded loaded")
	s.units("h.service inactive")
	s.run("start", "h.service")

	// What is stored differs from the file: only --replace changes it, and each command only up to its own state.
	s.file("h.service", "[Service]\nExecStart=/bin/sleep 1002\n")
	before = s.invocation("h.service")
	s.run("submit", h)
	require.Contains(t, s.run("submit", "--replace", h), "can not replace Unit(h.service) in state 'launched'")
	s.files("h.service launched launched")
	require.Equal(t, before, s.invocation("h.service"), "a submit changes nothing that runs")
	require.Contains(t, s.run("cat", "h"), "1001")
	s.run("start", "--replace", h)
	s.files("h.service launched launched")
	s.units("h.service active")
	require.Contains(t, s.run("cat", "h"), "1002")
	require.NotEqual(t, before, s.invocation("h.service"))
	s.run("stop", "h")
	s.file("h.service", "[Service]\nExecStart=/bin/sleep 1003\n")
	s.run("load", "--replace", h)
	s.files("h.service loaded loaded")
	require.Contains(t, s.run("cat", "h"), "1003")
	s.run("unload", "h")
	s.files("h.service inactive inactive")
	s.units()
	s.run("submit", "--replace", s.file("h.service", "[Service]\nExecStart=/bin/sleep 1004\n"))
	require.Contains(t, s.run("cat", "h"), "1004")
	s.run("destroy", "h.service")
	s.files()

	// Without waiting, and for units on all machines.
	s.run("start", "--no-block", h, s.file("g.service", "[Service]\nExecStart=/bin/sleep 1005\n[X-Fleet]\nGlobal=true\n"))
	s.units("g.service active", "g.service active", "h.service active")
	s.files("g.service launched -", "h.service launched launched")
	s.run("stop", "--no-block", "h.service", "g.service")
	s.units("g.service inactive", "g.service inactive", "h.service inactive")
	s.run("unload", "--no-block", "h.service", "g.service")
	s.units()
	s.run("destroy", "h", "g")
	s.files()

	// Templates: in the cluster, and on disk.
	template := s.file("t@.service", "[Service]\nExecStart=/bin/sleep %%i\n")
	s.run("submit", template)
	s.run("start", "t@1006", "t@1007.service")
	s.units("t@1006.service active", "t@1007.service active")
	s.run("destroy", "t@.service", "t@1006", "t@1007")
	s.files()
	s.run("start", filepath.Join(s.dir, "t@1008.service"))
	s.units("t@1008.service active")
	s.run("destroy", "t@1008.service")
	s.files()
	s.units()

	for _, args := range [][]string{{"start", "nothing.service"}, {"load", "nothing"}, {"cat", "nothing"}} {
		_, err := c.fleetctl(client, c.nodes[0], args...)
		require.Error(t, err, args)
	}
	s.run("stop", "nothing.service")
	s.run("unload", "nothing")
	s.run("destroy", "nothing.service")
}
