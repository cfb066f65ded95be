package node_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api"
	"github.com/fleet-starter/fleet/internal/machine"
)

// onMachine: reported as running although it is to be loaded.
func onMachine(s *v1.UnitState) bool {
	return s != nil && s.Message == v1.StartedOnMachine && s.DesiredState == v1.Loaded
}

// Units that are to be loaded are left alone when systemd or a person starts them.
func TestUnitsThatOthersStart(t *testing.T) {
	l := newLab(t)
	l.begin()
	dir := t.TempDir()
	socket := filepath.Join(l.cfg.RuntimeDir, "s")
	loaded := func(unit, text string) {
		l.place(unit, l.file(text), v1.Loaded)
		l.await(unit, "loaded", func(s *v1.UnitState) bool { return s != nil && s.Hash != "" })
	}
	launched := func(unit, text string) { l.place(unit, l.file(text), v1.Launched) }
	pass := func() { // a change of another unit, and its effect
		l.systemctl("reset-failed")
		launched("pass.service", "[Service]\nExecStart=/bin/sleep infinity\nEnvironment=V="+time.Now().String()[20:29]+"\n")
		l.awaitActive("pass.service")
	}

	t.Run("a timer", func(t *testing.T) {
		loaded("long.service", "[Service]\nType=oneshot\nExecStart=/bin/sleep 2\nExecStart=/bin/touch "+dir+"/done\n")
		launched("long.timer", "[Timer]\nOnActiveSec=10ms\nAccuracySec=1ms\n")
		l.await("long.service", "started by its timer", onMachine)
		require.Eventually(t, func() bool { _, err := os.Stat(dir + "/done"); return err == nil }, within, 20*time.Millisecond, "it comes to its end")
		l.awaitInactive("long.service")
	})
	t.Run("a socket", func(t *testing.T) {
		loaded("server.service", "[Service]\nExecStart=/bin/sleep infinity\n")
		launched("server.socket", "[Socket]\nListenStream="+socket+"\n")
		l.awaitActive("server.socket")
		conn, err := net.Dial("unix", socket)
		require.NoError(t, err)
		defer conn.Close()
		l.await("server.service", "started by its socket", onMachine)
		pass()
		require.Equal(t, "active\nactive\n", l.systemctl("is-active", "server.service", "server.socket"))
	})
	t.Run("a path", func(t *testing.T) {
		loaded("seen.service", "[Service]\nExecStart=/bin/sleep infinity\n")
		launched("seen.path", "[Path]\nPathExists="+dir+"/seen\n")
		l.awaitActive("seen.path")
		require.NoError(t, os.WriteFile(dir+"/seen", nil, 0o644))
		l.await("seen.service", "started by its path", onMachine)
	})
	t.Run("Wants= and Requires=", func(t *testing.T) {
		loaded("wanted.service", "[Service]\nExecStart=/bin/sleep infinity\n")
		loaded("required.service", "[Service]\nExecStart=/bin/sleep infinity\n")
		launched("wants.service", "[Unit]\nWants=wanted.service\nRequires=required.service\n[Service]\nExecStart=/bin/sleep infinity\n")
		l.awaitActive("wants.service")
		l.await("wanted.service", "wanted", onMachine)
		l.await("required.service", "required", onMachine)
	})
	t.Run("what it needs comes later", func(t *testing.T) {
		launched("early.socket", "[Socket]\nListenStream="+dir+"/early\n")
		launched("early.timer", "[Timer]\nOnActiveSec=1h\n")
		launched("early.path", "[Path]\nPathExists="+dir+"/never\n")
		launched("needy.service", "[Unit]\nRequires=chain.service\nAfter=chain.service\n[Service]\nExecStart=/bin/sleep infinity\n")
		loaded("chain.service", "[Unit]\nRequires=late.service\n[Service]\nExecStart=/bin/sleep infinity\n")
		all := []string{"early.socket", "early.timer", "early.path", "needy.service"}
		for _, name := range all {
			l.await(name, "refused", func(s *v1.UnitState) bool { return s != nil && s.ActiveState == "inactive" && s.Message != "" })
		}
		loaded("early.service", "[Service]\nExecStart=/bin/sleep infinity\n")
		loaded("late.service", "[Service]\nExecStart=/bin/sleep infinity\n")
		for _, name := range all {
			require.Empty(t, l.awaitActive(name).Message)
		}
	})
	t.Run("systemctl start, also by another fleetd's memory", func(t *testing.T) {
		text := "[Service]\nExecStart=/bin/sleep infinity\n"
		loaded("manual.service", text)
		l.systemctl("start", "manual.service")
		before := l.await("manual.service", "started by hand", func(s *v1.UnitState) bool { return onMachine(s) && s.InvocationID != "" })
		l.end()
		l.begin()
		pass()
		require.Equal(t, before.InvocationID, strings.TrimPrefix(strings.TrimSpace(l.systemctl("show", "-p", "InvocationID", "manual.service")), "InvocationID="))

		l.commit(placement(t, "manual.service", v1.Placement{Hash: before.Hash, DesiredState: v1.Loaded, RequestedAt: "1"}))
		l.await("manual.service", "stopped on request", func(s *v1.UnitState) bool { return s.RequestedAt == "1" && s.ActiveState == "inactive" })
		l.systemctl("start", "manual.service")
		l.await("manual.service", "started by hand again", onMachine)
	})
}

// A withdrawn sidekick stays down when systemd restarts its app, which Wants= it: the condition in a generated file prevents
// it from starting, and without one fleetd stops it.
func TestWithdrawnAnnouncerIsNotBroughtBack(t *testing.T) {
	l := newLab(t)
	bin := filepath.Join(l.layout.Shared, "bin")
	require.NoError(t, os.MkdirAll(bin, 0o755))
	require.NoError(t, os.WriteFile(bin+"/announcer", []byte("#!/bin/sh\necho >>"+bin+"/started; exec sleep infinity\n"), 0o755))
	l.begin()
	app := l.file("[Unit]\nWants=side@%i.service\n" + sleeper)
	unit := "[Unit]\nBindsTo=app@%i.service\nAfter=app@%i.service\n"
	announcer := "[Service]\nExecStart=" + v1.BinDir + "/announcer\nRestart=always\n"
	generated, older := l.file(unit+"ConditionPathExists=!"+v1.HeldDir+"/%n\n"+announcer), l.file(unit+announcer)
	started := func() int {
		text, _ := os.ReadFile(bin + "/started")
		return strings.Count(string(text), "\n")
	}
	again := func() { // the app is killed, and restarted
		before := l.awaitActive("app@1.service")
		l.systemctl("kill", "--signal=KILL", "app@1.service")
		l.await("app@1.service", "restarted", func(u *v1.UnitState) bool { return u.ActiveState == "active" && u.InvocationID != before.InvocationID })
	}
	l.place("app@1.service", app, v1.Launched)
	l.place("side@1.service", generated, v1.Launched)
	l.awaitActive("side@1.service")
	l.place("side@1.service", generated, v1.Loaded)
	l.awaitInactive("side@1.service")
	count := started()
	again()
	l.systemctl("start", "side@1.service")
	l.end() // systemd keeps it down, not fleetd
	l.systemctl("restart", "app@1.service")
	l.systemctl("start", "side@1.service")
	require.Equal(t, "inactive\n", l.systemctl("is-active", "side@1.service"))
	require.Equal(t, count, started(), "it was not started for a moment")
	l.begin()
	l.place("side@1.service", generated, v1.Launched)
	l.awaitActive("side@1.service")

	l.place("side@1.service", older, v1.Loaded)
	l.awaitInactive("side@1.service")
	again()
	l.systemctl("start", "--no-block", "side@1.service") // fleetd may cancel the job before it has ended
	require.Eventually(t, func() bool { return l.systemctl("is-active", "side@1.service") == "inactive\n" }, within, 10*time.Millisecond)
}

// The processes that print something live until that is in the journal: for a user manager's units, journald does not know the unit of a
// process that has already ended.
func TestReasonsOfFailures(t *testing.T) {
	l := newLab(t)
	l.begin()
	logged := func(unit string) string { return filepath.Join(l.cfg.RuntimeDir, unit+".logged") }
	says := func(unit, command string, status int) string {
		return fmt.Sprintf("/bin/sh -c '%s; until [ -e %s ]; do sleep .05; done; exit %d'", command, logged(unit), status)
	}
	for _, tc := range []struct {
		unit, text     string
		message, job   string
		result, output string
		exit           string
		status         int
	}{
		{"missing.service", "[Service]\nExecStart=/no/such/program\n", "", "", "exit-code", "/no/such/program: No such file or directory", "exited", 203},
		{"user.service", "[Service]\nUser=nobody-of-that-name\nExecStart=/bin/true\n", "", "", "exit-code", "", "exited", 217},
		{"says.service", "[Service]\nExecStart=" + says("says.service", "echo first; echo cannot open the database >&2", 3) + "\n", "", "", "exit-code",
			"first\ncannot open the database", "exited", 3},
		{"pre.service", "[Service]\nExecStartPre=" + says("pre.service", "echo no disk", 7) + "\nExecStart=/bin/sleep 1h\n",
			"its ExecStartPre= failed: result exit-code, exit status 7", "", "exit-code", "no disk", "exited", 7},
		{"hangs.service", "[Service]\nExecStartPre=/bin/sleep 1h\nExecStart=/bin/sleep 1h\nTimeoutStartSec=200ms\n",
			"its ExecStartPre= failed: result timeout, killed by signal 15", "", "timeout", "", "killed", 15},
		{"assert.service", "[Unit]\nAssertPathExists=/no/such/path\n[Service]\nExecStart=/bin/true\n",
			"not started: AssertPathExists=/no/such/path is not met", "assert", "", "", "", 0},
		{"condition.service", "[Unit]\nConditionPathExists=/no/such/path\n[Service]\nExecStart=/bin/true\n",
			"not started, which is not a failure: ConditionPathExists=/no/such/path is not met", "skipped", "", "", "", 0},
		{"exec.service", "[Service]\nExecCondition=/bin/false\nExecStart=/bin/true\n",
			"not started, which is not a failure: its ExecCondition= is not met", "skipped", "", "", "", 0},
		{"lone.socket", "[Socket]\nListenStream=" + l.cfg.RuntimeDir + "/lone\n",
			"not started (job result failed): its service, lone.service or that of Service=, must be on this machine and not running already", "failed", "", "refusing", "", 0},
		{"taken.socket", "[Socket]\nListenStream=192.0.2.1:1\nService=says.service\n", "", "", "resources", "", "", 0},
		{"needs.service", "[Unit]\nRequires=missing2.service\nAfter=missing2.service\n[Service]\nExecStart=/bin/sleep 1h\n",
			"not started: missing2.service, which it depends on, failed: result exit-code, exit status 1", "dependency", "", "", "", 0},
	} {
		if tc.unit == "needs.service" {
			l.place("missing2.service", l.file("[Service]\nType=oneshot\nExecStart=/bin/false\n"), v1.Loaded)
			l.await("missing2.service", "loaded", func(s *v1.UnitState) bool { return s != nil && s.Hash != "" })
		}
		l.place(tc.unit, l.file(tc.text), v1.Launched)
		if strings.Contains(tc.text, logged(tc.unit)) {
			l.awaitLogged(tc.unit, tc.output)
			require.NoError(t, os.WriteFile(logged(tc.unit), nil, 0o644))
		}
		s := l.await(tc.unit, "a reason", func(s *v1.UnitState) bool {
			return s != nil && (s.ActiveState == "failed" || s.JobResult != "") && (!machine.Isolates() || strings.Contains(s.Output, tc.output)) &&
				(tc.job != "dependency" || strings.Contains(s.Message, "failed"))
		})
		require.Equal(t, []any{tc.message, tc.job, tc.result, tc.exit, tc.status}, []any{s.Message, s.JobResult, s.Result, s.ExitCode, s.ExitStatus}, tc.unit)
	}
	// It waits longer than a report waits for the output.
	t.Run("a restart loop", func(t *testing.T) {
		l.place("loop.service", l.file("[Service]\nExecStart=/bin/sh -c 'echo boom; sleep .3; exit 1'\nRestart=always\nRestartSec=1s\n[Unit]\nStartLimitIntervalSec=0\n"), v1.Launched)
		s := l.await("loop.service", "restarts", func(s *v1.UnitState) bool {
			return s != nil && s.Restarts >= 3 && s.Result == "exit-code" && (s.Output != "" || !machine.Isolates())
		})
		require.Equal(t, []any{"exited", 1}, []any{s.ExitCode, s.ExitStatus})
		s = l.await("loop.service", "it runs again", func(s *v1.UnitState) bool { return s.Active() })
		require.Equal(t, []any{"success", "exited", 1}, []any{s.Result, s.ExitCode, s.ExitStatus}, "how it ended before is still said")
	})
}

// awaitLogged waits until a unit's lines are in the journal.
func (l *lab) awaitLogged(unit, lines string) {
	l.t.Helper()
	if !machine.Isolates() {
		return
	}
	read := api.LastWords(api.Journalctl{User: true, Directory: l.machine.JournalDir()})
	require.EventuallyWithT(l.t, func(t *assert.CollectT) {
		text, _, err := read(l.t.Context(), unit, time.Time{})
		require.NoError(t, err)
		require.Equal(t, lines, text)
	}, within, 10*time.Millisecond)
}
