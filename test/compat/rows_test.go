package compat

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestRows are the rows of the original's commands, [X-Fleet] and fleetd that TestCommands has not, on two machines of ours.
func TestRows(t *testing.T) {
	c := newCluster(t, ours, 2)
	for name, test := range map[string]func(s *session){
		"exit codes": exitCodes, "replace": replaceRuns, "not placed": notPlaced, "Install": installs, "Replaces in a circle": circle, "tolerated": tolerated,
	} {
		t.Run(name, func(t *testing.T) {
			s := &session{T: t, c: c, client: ours, dir: t.TempDir()}
			test(s)
			for _, unit := range strings.Fields(s.run("list-unit-files", "--no-legend", "--fields=unit")) {
				s.run("destroy", "--block-attempts=15", unit)
			}
		})
	}
	t.Run("signals", func(t *testing.T) { signals(t, c) })
}

const sleeps = "[Service]\nExecStart=/bin/sleep 1001\n"

// exits runs a command and checks its exit code.
func (s *session) exits(code int, args ...string) string {
	s.Helper()
	out, err := s.c.fleetctl(s.client, s.c.nodes[0], args...)
	got := 0
	if err != nil {
		exit, ok := err.(*exec.ExitError)
		require.True(s, ok, "%v: %s", err, out)
		got = exit.ExitCode()
	}
	require.Equal(s, code, got, "fleetctl %s: %s", strings.Join(args, " "), out)
	return out
}

func exitCodes(s *session) {
	for _, command := range []string{"submit", "load", "start", "stop", "unload", "restart", "destroy"} {
		require.Contains(s, s.exits(0, command), "No units given")
	}
	for _, command := range []string{"stop", "unload", "destroy"} {
		require.Contains(s, s.exits(0, command, "unheard.service"), "unheard.service does not exist")
	}
	for _, command := range []string{"load", "start", "cat"} {
		s.exits(1, command, "unheard.service")
	}
	for _, command := range []string{"list-units", "list-unit-files", "list-machines"} {
		s.exits(0, command, "extra")
	}
	h := s.file("h.service", sleeps)
	require.Contains(s, s.run("start", h), "Unit h.service launched on ")
	require.Contains(s, s.run("stop", h), "Successfully stopped units [h.service].")
	require.Contains(s, s.run("start", "--no-block", h), "Triggered unit h.service start")
	require.Contains(s, s.run("unload", h), "Successfully unloaded units [h.service].")
	require.Contains(s, s.exits(1, "stop", h), "Unable to stop unit h.service in state inactive")
	require.Contains(s, s.run("destroy", "--no-block", h), "Destroyed h.service")
}

// replaceRuns: submit --replace leaves alone what runs, start --replace restarts it in its place.
func replaceRuns(s *session) {
	h := s.file("h.service", sleeps)
	s.run("start", h)
	before := s.invocation("h.service")
	s.file("h.service", "# a comment\n"+sleeps)
	require.Contains(s, s.run("start", "--replace", h), "Found same Unit(h.service) in Registry, nothing to do")
	s.file("h.service", "[Service]\nExecStart=/bin/sleep 1002\n")
	require.Contains(s, s.run("submit", "--replace", h), "Warning: can not replace Unit(h.service) in state 'launched'")
	require.Equal(s, sleeps, s.run("cat", h))
	require.Equal(s, before, s.invocation("h.service"))
	s.run("start", "--replace", h)
	require.NotEqual(s, before, s.invocation("h.service"))
	require.Contains(s, s.run("cat", "h"), "1002")
}

// notPlaced: start returns with the reasons, and scripts see no row.
func notPlaced(s *session) {
	out := s.exits(1, "start", s.file("mars.service", sleeps+"[X-Fleet]\nMachineMetadata=planet=mars\n"))
	require.Contains(s, out, "0 of 2 machines fit: 2 have no metadata planet=mars")
	require.NotContains(s, s.run("list-units", "--no-legend"), "mars.service")
	require.Contains(s, s.run("list-units", "-o", "wide"), "2 have no metadata planet=mars")
}

// installs: a sidekick that is WantedBy= its target comes and goes with it, although only the target is started.
func installs(s *session) {
	h := s.file("hello.service", sleeps)
	side := s.file("side.service", "[Unit]\nBindsTo=hello.service\n[Service]\nExecStart=/bin/sleep 1001\n[Install]\nWantedBy=hello.service\n[X-Fleet]\nMachineOf=hello.service\n")
	s.run("load", h, side)
	s.units("hello.service inactive", "side.service inactive")
	for range 2 {
		s.run("start", h)
		s.units("hello.service active", "side.service active")
		s.run("stop", h)
		s.units("hello.service inactive", "side.service inactive")
	}
}

// circle: of two units that replace each other one runs, and the other follows when that is gone.
func circle(s *session) {
	a := s.file("a.service", sleeps+"[X-Fleet]\nReplaces=b.service\n")
	b := s.file("b.service", sleeps+"[X-Fleet]\nReplaces=a.service\n")
	s.run("start", a)
	require.Contains(s, s.exits(1, "start", b), "each of the two replaces the other (Replaces=)")
	s.units("a.service active")
	s.run("destroy", a)
	s.units("b.service active")
}

// tolerated: what the original ignores has no effect and is told, with its line.
func tolerated(s *session) {
	u := s.file("u.service", "Description=above\n"+sleeps+"[X-Fleet]\nUnheard=1\nGlobal=maybe\nX-Conflicts=v.service\n")
	out := s.run("start", u)
	for _, line := range []string{"u.service:1: warning:", "u.service:5: [X-Fleet] Unheard: warning:", "u.service:6: [X-Fleet] Global: warning:", "u.service:7: [X-Fleet] X-Conflicts: warning:"} {
		require.Contains(s, out, line)
	}
	require.Contains(s, s.run("list-unit-files", "--no-legend", "--fields=unit,global"), "false")
	one := strings.Fields(s.run("list-units", "--no-legend", "--fields=hash", "--full"))
	require.Equal(s, one, strings.Fields(s.run("list-unit-files", "--no-legend", "--fields=hash", "--full")))
	theirUnits, err := s.c.fleetctl(theirs, s.c.nodes[0], "list-unit-files", "--no-legend", "--fields=hash", "--full")
	require.NoError(s, err)
	require.Equal(s, one, strings.Fields(theirUnits), "the original's fleetctl shows the same")
}

// signals: SIGHUP reloads, SIGUSR1 dumps the state, SIGTERM ends fleetd with exit code 0.
func signals(t *testing.T, c *cluster) {
	n := c.nodes[1]
	for s, word := range map[os.Signal]string{syscall.SIGHUP: "Reloading configuration", syscall.SIGUSR1: `"config":{`} {
		require.NoError(t, n.fleetd.Process.Signal(s))
		eventually(t, 15*time.Second, func() error {
			if !strings.Contains(n.log.String(), word) {
				return fmt.Errorf("the log has no %q", word)
			}
			return nil
		})
	}
	require.NoError(t, n.fleetd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, n.fleetd.Wait())
	n.fleetd = nil
}
