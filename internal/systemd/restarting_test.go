package systemd_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// TestRestarting asks a real systemd whether a service that is being stopped will be started again.
func TestRestarting(t *testing.T) {
	m := newMachine(t)
	c := dial(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	dir := t.TempDir()
	file := filepath.Join(dir, "slow.service")
	// Asked to stop, it says so and waits for leave.
	script := "trap 'touch " + dir + "/asked; while [ ! -e " + dir + "/leave ]; do sleep 0.01; done; rm " + dir + "/leave; exit 0' TERM; touch " + dir + "/runs; while :; do sleep 0.02; done"
	require.NoError(t, os.WriteFile(file, []byte("[Service]\nKillMode=process\nExecStart=/bin/sh -c \""+script+"\"\n"), 0o644))
	require.NoError(t, c.Link(ctx, file))
	appears := func(name string) {
		t.Helper()
		require.Eventually(t, func() bool { return os.Remove(filepath.Join(dir, name)) == nil }, 10*time.Second, 5*time.Millisecond)
	}
	leave := func() { require.NoError(t, os.WriteFile(filepath.Join(dir, "leave"), nil, 0o644)) }
	restarting := func(pid int) bool {
		t.Helper()
		is, err := c.Restarting(ctx, pid)
		require.NoError(t, err)
		return is
	}

	require.NoError(t, c.Start(ctx, "slow.service"))
	appears("runs")
	require.False(t, restarting(pidOf(t, script)), "nothing is to happen to it")
	require.NoError(t, c.Restart(ctx, "slow.service"))
	appears("asked")
	require.True(t, restarting(pidOf(t, script)))
	leave()
	appears("runs")
	require.NoError(t, c.Stop(ctx, "slow.service"))
	appears("asked")
	require.False(t, restarting(pidOf(t, script)), "it is stopped")
	leave()

	_, err := c.Restarting(ctx, 1<<22+1)
	require.ErrorIs(t, err, systemd.ErrRefused, "there is no such process")
}

// pidOf finds the process that runs a script.
func pidOf(t *testing.T, script string) int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(t, err)
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline")
		if args := strings.Split(string(line), "\x00"); len(args) > 2 && strings.HasSuffix(args[0], "sh") && args[1] == "-c" && args[2] == script {
			pid, err := strconv.Atoi(filepath.Base(dir))
			require.NoError(t, err)
			return pid
		}
	}
	require.Fail(t, "the script does not run")
	return 0
}
