package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// released writes the manifest of greeter with a release command, which writes down when it starts and ends, and takes that long.
func released(t *testing.T, version, journal, takes, status string) (path string) {
	t.Helper()
	path = greeter(t, version, "")
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	script := fmt.Sprintf(`echo begin %s >> %s; echo migrating to %s; for i in $(seq 30); do echo line $i; done; sleep %s; echo end %s >> %s; exit %s`, version, journal, version, takes, version, journal, status)
	require.NoError(t, os.WriteFile(path, fmt.Appendf(text, "  release:\n    command: [/bin/sh, -c, %q]\n    timeout: 1m\n", script), 0o644))
	return path
}

// A release command runs once, before anything is replaced, also where every fleetd is killed while it runs, and if it fails what ran
// goes on.
func TestReleaseCommand(t *testing.T) {
	journal := filepath.Join(t.TempDir(), "journal")
	said := func() string {
		text, err := os.ReadFile(journal)
		if err != nil {
			return ""
		}
		return string(text)
	}
	run(t, "fleetctl apply -f %s --wait --timeout 1m", released(t, "1", journal, "0", "0"))
	defer run(t, "fleetctl delete app greeter")
	require.Equal(t, "begin 1\nend 1\n", said())
	announced(t, "greeter", "greeter@1")

	t.Run("the leader is killed meanwhile", func(t *testing.T) {
		before := invocations(t)
		nothingLost(t, func() {
			run(t, "fleetctl apply -f %s", released(t, "2", journal, "12", "0"))
			eventually(t, 20*time.Second, "it runs", func() error {
				if !strings.HasSuffix(said(), "begin 2\n") {
					return fmt.Errorf("%s", said())
				}
				return nil
			})
			for _, m := range allMachines { // one of them leads
				run(t, "fleet-dev exec %d systemctl --user kill -s KILL fleetd", m)
			}
			for key, id := range invocations(t) {
				if strings.HasSuffix(key, "/greeter@1.service") {
					require.Equal(t, before[key], id, "nothing is replaced meanwhile")
				}
			}
			eventually(t, 2*time.Minute, "it is rolled out", func() error {
				if out, err := try("fleetctl get app greeter --no-legend"); err != nil || !strings.Contains(out, "Ready") || strings.HasSuffix(said(), "begin 2\n") {
					return fmt.Errorf("%s %v", out, err)
				}
				return nil
			})
		})
		require.Equal(t, "begin 1\nend 1\nbegin 2\nend 2\n", said(), "it ran once")
		greets(t, "2")
	})
	t.Run("it fails", func(t *testing.T) {
		before := invocations(t)
		out, err := try("fleetctl apply -f %s --wait --timeout 1m", released(t, "3", journal, "0", "7"))
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Equal(t, 5, exit.ExitCode(), "%s", out)
		require.Contains(t, out, "exit status 7")
		require.Contains(t, out, "last log lines of greeter-release.service:\nfleetctl:     | line 11\n", "the last 20 of them")
		require.Contains(t, out, "fleetctl:     | line 30\n")
		greets(t, "2")
		for key, id := range invocations(t) {
			if strings.HasSuffix(key, "/greeter@1.service") {
				require.Equal(t, before[key], id, "%s ran on", key)
			}
		}
		require.Contains(t, run(t, "fleetctl logs greeter-release -n 100"), "migrating to 3")
	})
	endless := func(t *testing.T, script, why string) {
		path := greeter(t, "4", "")
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, fmt.Appendf(text, "  release:\n    command: [/bin/sh, -c, %q]\n    timeout: 3s\n", script), 0o644))
		out, err := try("fleetctl apply -f %s --wait --timeout 1m", path)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
		require.Equal(t, 5, exit.ExitCode(), "%s", out)
		require.Contains(t, out, why)
		require.Contains(t, out, "fleetctl:     | waiting\n")
		greets(t, "2")
		eventually(t, 10*time.Second, "the whole process group is gone", func() error {
			if out, err := try("pgrep -af '[s]leep 9876'"); err == nil {
				return fmt.Errorf("%s", out)
			}
			return nil
		})
	}
	t.Run("it never ends", func(t *testing.T) {
		endless(t, "echo waiting; sleep 98761 & sleep 98762; sleep 98763", "result timeout")
	})
	t.Run("it never ends, and ignores SIGTERM", func(t *testing.T) { // it is killed 10 s after its timeout
		endless(t, "trap '' TERM; echo waiting; sleep 98761 & sleep 98762; sleep 98763", "has not ended within 8s")
	})
	t.Run("a number needs none", func(t *testing.T) {
		was := said()
		run(t, "fleetctl apply -f %s --wait --timeout 1m", released(t, "2", journal, "12", "0"))
		require.Equal(t, was, said(), "what runs is as before")
	})
}
