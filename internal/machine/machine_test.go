package machine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fleet-starter/fleet/internal/machine"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("MACHINE_TEST_ORPHAN"); dir != "" {
		startOrphan(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

const startWithin = 20 * time.Second

// newConfig returns a new machine's config, swept when the test ends.
func newConfig(t *testing.T, name string) machine.Config {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fleet-")
	require.NoError(t, err)
	cfg := configIn(dir, name)
	t.Cleanup(func() {
		require.NoError(t, machine.Sweep(cfg.RuntimeDir))
		require.NoError(t, os.RemoveAll(dir))
	})
	return cfg
}

// configIn uses a name that is unique on this computer: leftovers searches for it.
func configIn(dir, name string) machine.Config {
	return machine.Config{Name: name + "-" + filepath.Base(dir), RuntimeDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state")}
}

func start(t *testing.T, cfg machine.Config) *machine.Machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	m, err := machine.Start(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Kill()) })
	return m
}

func run(t *testing.T, m *machine.Machine, argv ...string) string {
	t.Helper()
	cmd := m.Command(argv...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoErrorf(t, err, "%s in %s: %s", argv, m.Name(), &stderr)
	return strings.TrimSpace(string(out))
}

// leftovers lists what is left of a machine on the host.
func leftovers(t *testing.T, cfg machine.Config) []string {
	t.Helper()
	var found []string
	for _, glob := range []string{cfg.RuntimeDir, "/sys/fs/cgroup/fleet-" + cfg.Name + "-*", "/sys/fs/cgroup/*/fleet-" + cfg.Name + "-*",
		"/sys/fs/cgroup/memory/*/*/fleet-" + cfg.Name + "-*"} {
		paths, err := filepath.Glob(glob)
		require.NoError(t, err)
		found = append(found, paths...)
	}
	for _, file := range []string{"cmdline", "environ", "mountinfo"} {
		paths, err := filepath.Glob("/proc/[0-9]*/" + file)
		require.NoError(t, err)
		for _, path := range paths {
			text, _ := os.ReadFile(path) // gone meanwhile
			if bytes.Contains(text, []byte(cfg.RuntimeDir)) && !strings.HasPrefix(path, fmt.Sprintf("/proc/%d/", os.Getpid())) {
				found = append(found, path)
			}
		}
	}
	return found
}

func TestThreeMachinesWithUnitsOfOneName(t *testing.T) {
	var (
		group    sync.WaitGroup
		configs  = make([]machine.Config, 3)
		machines = make([]*machine.Machine, 3)
		errs     = make([]error, 3)
	)
	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	for i := range configs {
		configs[i] = newConfig(t, fmt.Sprintf("three%d", i+1))
		group.Go(func() { machines[i], errs[i] = machine.Start(ctx, configs[i]) })
	}
	group.Wait()
	require.NoError(t, errors.Join(errs...))
	for _, m := range machines {
		defer m.Kill()
		run(t, m, "systemd-run", "--user", "--quiet", "--unit=same", "sh", "-c", "echo I am "+m.Name()+"; exec sleep infinity")
	}
	pidOf := func(m *machine.Machine) string {
		return run(t, m, "systemctl", "--user", "show", "-P", "MainPID", "same")
	}
	pids := []string{pidOf(machines[0]), pidOf(machines[1]), pidOf(machines[2])}
	require.NotContains(t, pids, "0")

	run(t, machines[0], "systemctl", "--user", "stop", "same")
	require.Equal(t, "0", pidOf(machines[0]), "stopped on the first")
	require.Equal(t, pids[1], pidOf(machines[1]), "untouched on the second")
	require.Equal(t, pids[2], pidOf(machines[2]), "untouched on the third")

	if machines[1].Isolated() {
		// What journald has not read yet is lost in a power cut, as on any machine.
		require.Eventually(t, func() bool { return strings.Contains(journal(t, machines[1]), "I am three2") }, startWithin, 10*time.Millisecond)
	}
	require.NoError(t, machines[1].Kill())
	require.Empty(t, leftovers(t, configs[1]))
	require.Equal(t, pids[2], pidOf(machines[2]), "the third outlives the second")
	require.Error(t, machines[1].Command("true").Run(), "a dead machine runs nothing")
	require.NoError(t, machines[1].Kill(), "again is fine")

	again := start(t, configs[1])
	require.Equal(t, "", run(t, again, "systemctl", "--user", "show", "-P", "FragmentPath", "same"), "runtime units are lost with the power")
	if again.Isolated() {
		require.Contains(t, journal(t, again), "I am three2", "the disk is not")
		require.NotContains(t, journal(t, again), "I am three3")
	}
}

func journal(t *testing.T, m *machine.Machine) string {
	t.Helper()
	out, err := exec.Command("journalctl", "-D", m.JournalDir(), "-o", "json", "_SYSTEMD_UNIT=same.service").CombinedOutput()
	require.NoError(t, err, string(out))
	return string(out)
}

func TestMachineIsPrivate(t *testing.T) {
	cfg := newConfig(t, "private")
	cfg.Env = []string{"COLOUR=green"}
	m := start(t, cfg)
	id := m.ID()
	require.Len(t, id, 32)
	require.Equal(t, "green", run(t, m, "printenv", "COLOUR"))
	require.Equal(t, "green", run(t, m, "systemd-run", "--user", "--quiet", "--pipe", "printenv", "COLOUR"))
	if m.Isolated() {
		run(t, m, "touch", "/run/private-file")
		require.NoFileExists(t, "/run/private-file")
		require.Equal(t, id, run(t, m, "cat", "/etc/machine-id"))
		host, err := os.ReadFile("/etc/machine-id")
		require.NoError(t, err)
		require.NotEqual(t, strings.TrimSpace(string(host)), id)
	}
	require.Equal(t, "running", run(t, m, "systemctl", "--user", "is-system-running"))

	// The host's systemctl reaches it, too.
	cmd := exec.Command("systemctl", "--user", "show", "-P", "Version")
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+m.XDGRuntimeDir())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))

	ctx, cancel := context.WithTimeout(context.Background(), startWithin)
	defer cancel()
	require.NoError(t, m.Stop(ctx))
	require.Empty(t, leftovers(t, cfg))
	require.NoError(t, m.Stop(ctx), "again is fine")
	require.Equal(t, id, start(t, cfg).ID(), "an identity is for life")
}

func TestCommand(t *testing.T) {
	m := start(t, newConfig(t, "command"))

	cmd := m.Command("sh", "-c", `read line; echo "$line/$1/$PWD"; exit 7`, "sh", "two words")
	cmd.Stdin = strings.NewReader("in\n")
	cmd.Dir = "/usr"
	out, err := cmd.Output()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 7, exit.ExitCode())
	require.Equal(t, "in/two words//usr\n", string(out))

	cmd = m.Command("sh", "-c", "trap '' TERM HUP; setsid sleep infinity & echo $$; wait")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, 64)
	n, err := stdout.Read(line)
	require.NoError(t, err)
	require.Equal(t, fmt.Sprintln(cmd.Process.Pid), string(line[:n]), "no process stands between")
	require.NoError(t, m.Kill())
	_, err = io.ReadAll(stdout) // ends with the last process that holds it
	require.NoError(t, err)
	require.ErrorContains(t, cmd.Wait(), "signal: killed")
}

// startOrphan is the process that TestMachineDiesWithItsStarter kills.
func startOrphan(dir string) {
	_, err := machine.Start(context.Background(), configIn(dir, "orphan"))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("up")
	select {}
}

func TestMachineDiesWithItsStarter(t *testing.T) {
	cfg := newConfig(t, "orphan")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MACHINE_TEST_ORPHAN="+filepath.Dir(cfg.RuntimeDir))
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	line := make([]byte, 512)
	n, err := out.Read(line)
	require.NoError(t, err)
	require.Equal(t, "up\n", string(line[:n]))
	require.NotEmpty(t, leftovers(t, cfg))

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	_, err = machine.Start(context.Background(), cfg)
	require.ErrorContains(t, err, "Sweep")
	require.NoError(t, machine.Sweep(cfg.RuntimeDir))
	require.Empty(t, leftovers(t, cfg))
	require.NoError(t, machine.Sweep(cfg.RuntimeDir), "again is fine")
	start(t, cfg)
}

func TestStartRefuses(t *testing.T) {
	good := newConfig(t, "refuse")
	for _, tt := range []struct {
		name   string
		change func(*machine.Config)
		want   string
	}{
		{"name", func(c *machine.Config) { c.Name = "a/b" }, `name "a/b"`},
		{"relative path", func(c *machine.Config) { c.StateDir = "state" }, "absolute path"},
		{"long path", func(c *machine.Config) { c.RuntimeDir = "/tmp/" + strings.Repeat("x", 60) }, "too long"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			_, err := machine.Start(context.Background(), cfg)
			require.ErrorContains(t, err, tt.want)
		})
	}
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_, err := machine.Start(ctx, good)
		require.ErrorIs(t, err, context.Canceled)
		require.Empty(t, leftovers(t, good))
	})
}
