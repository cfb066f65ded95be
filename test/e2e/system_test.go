package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSystemUnit: manifests/fleetd.service, unedited, is a unit of a machine booted by systemd. It is active when fleetd answers; a
// fleetd that hangs is killed by the watchdog and started again; the units that it manages are not restarted with it.
func TestSystemUnit(t *testing.T) {
	m := bootMachine(t)
	m.install(t, "manifests/fleetd.service", "etc/systemd/system/fleetd.service", 0o644)
	for _, program := range []string{"fleetd", "fleetctl", "etcd"} {
		m.install(t, "bin/"+program, "usr/local/bin/"+program, 0o755)
	}
	m.write(t, "etc/systemd/system/etcd.service", "[Service]\nType=notify\nExecStart=/usr/local/bin/etcd --data-dir /run/etcd\n")
	m.write(t, "root/app.service", "[Service]\nExecStart=/bin/sleep infinity\n")
	m.run(t, "systemctl daemon-reload && systemctl start etcd.service fleetd.service && curl -sf --unix-socket /run/fleet.sock http://fleet/healthz")
	require.Equal(t, "Type=notify\nRestart=always\nWatchdogUSec=30s", m.run(t, "systemctl show -p Type -p Restart -p WatchdogUSec fleetd.service"))
	m.run(t, "fleetctl start /root/app.service")
	app := m.run(t, "systemctl show -p InvocationID --value app.service")
	require.NotEmpty(t, app)

	m.write(t, "etc/systemd/system/fleetd.service.d/soon.conf", "[Service]\nWatchdogSec=2s\nTimeoutAbortSec=1s\n")
	m.run(t, "systemctl daemon-reload && systemctl restart fleetd.service")
	time.Sleep(3 * time.Second) // what is well is left alone
	require.Equal(t, "0", m.run(t, "systemctl show -p NRestarts --value fleetd.service"))
	pid := m.run(t, "systemctl show -p MainPID --value fleetd.service")
	m.run(t, "kill -STOP "+pid)
	eventually(t, 30*time.Second, "it is started again", func() error {
		if state := m.run(t, "systemctl show -p NRestarts -p ActiveState fleetd.service"); state != "NRestarts=1\nActiveState=active" {
			return errors.New(state)
		}
		return nil
	})
	require.NotEqual(t, pid, m.run(t, "systemctl show -p MainPID --value fleetd.service"))
	require.Contains(t, m.run(t, "fleetctl list-units --no-legend"), "active")
	require.Equal(t, app+"\nactive", m.run(t, "systemctl show -p InvocationID --value app.service; systemctl is-active app.service"))
}

// machine is a machine booted by systemd, with its own copy of this computer's files and its own network.
type machine struct {
	dir    string // of the copy
	leader int    // the process that is 1 there
}

// bootMachine boots a machine and removes it when the test ends. If this computer cannot, it skips the test and says why.
func bootMachine(t *testing.T) *machine {
	t.Helper()
	if _, err := exec.LookPath("systemd-nspawn"); err != nil || os.Getuid() != 0 {
		t.Skip("no machine can be booted here: it takes root and systemd-nspawn (systemd-container)")
	}
	if out, err := shell("make -s etcd"); err != nil || !exists(filepath.Join(top, "bin/etcd")) {
		t.Skipf("there is no bin/etcd: %v: %s", err, out)
	}
	dir := t.TempDir()
	if out, err := shell(fmt.Sprintf("mount -t tmpfs machine %s && cd %[1]s && mkdir upper work root && mount -t overlay machine -o lowerdir=/,upperdir=upper,workdir=work root", dir)); err != nil {
		t.Skipf("no machine can be booted here: its files cannot be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() { run(t, "umount -R %s/root; umount %[1]s", dir) })
	m := &machine{dir: filepath.Join(dir, "root")}
	require.NoError(t, os.Remove(filepath.Join(m.dir, "etc/machine-id")))
	m.write(t, "etc/machine-id", "5f1ee7000000000000000000000000e2\n")
	cmd := exec.Command("systemd-nspawn", "--quiet", "--directory", m.dir, "--machine=fleet-e2e", "--register=no", "--keep-unit", "--boot",
		"--private-network", "--link-journal=no", "--capability=all", "--system-call-filter=@keyring bpf", "systemd.unit=basic.target")
	log, err := os.Create(filepath.Join(t.TempDir(), "console"))
	require.NoError(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	leave := enterCgroups(t, "fleet-e2e")
	err = cmd.Start()
	leave()
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // a power cut: what runs there ends with its process 1
		_ = cmd.Wait()
		removeCgroups(t, "fleet-e2e")
	})
	if m.leader = leaderOf(cmd.Process.Pid); m.leader == 0 {
		text, _ := os.ReadFile(log.Name())
		t.Skipf("no machine can be booted here: systemd-nspawn: %s", text)
	}
	eventually(t, 30*time.Second, "it has booted", func() error {
		out, err := m.try("systemctl is-active basic.target")
		if err != nil {
			text, _ := os.ReadFile(log.Name())
			return fmt.Errorf("%w: %s: %s", err, out, text)
		}
		return nil
	})
	return m
}

// leaderOf returns the process that is PID 1 on the machine of a systemd-nspawn, which has other children before it; 0 if there is none
// within ten seconds.
func leaderOf(nspawn int) int {
	for range 100 {
		out, _ := exec.Command("pgrep", "-P", fmt.Sprint(nspawn)).Output()
		for _, pid := range strings.Fields(string(out)) {
			status, _ := os.ReadFile("/proc/" + pid + "/status")
			for line := range strings.Lines(string(status)) {
				if f := strings.Fields(line); len(f) == 3 && f[0] == "NSpid:" && f[2] == "1" {
					leader, _ := strconv.Atoi(pid)
					return leader
				}
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return !errors.Is(err, fs.ErrNotExist)
}

// try runs a command on the machine.
func (m *machine) try(command string) ([]byte, error) {
	cmd := exec.Command("nsenter", "-t", fmt.Sprint(m.leader), "-m", "-u", "-i", "-n", "-p", "/bin/sh", "-ec", command)
	// Without this computer's variables: FLEETCTL_ENDPOINT may name its local cluster.
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/root"}
	return cmd.CombinedOutput()
}

// run runs a command on the machine, which must succeed, and returns its output.
func (m *machine) run(t *testing.T, command string) string {
	t.Helper()
	out, err := m.try(command)
	require.NoError(t, err, "%s\n%s", command, out)
	return strings.TrimSpace(string(out))
}

func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	file := filepath.Join(m.dir, name)
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
}

// install copies a file of the checkout to the machine.
func (m *machine) install(t *testing.T, from, to string, mode fs.FileMode) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(top, from))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(m.dir, to), data, mode))
}

// enterCgroups moves this process into its own group in every hierarchy until leave is called: with --keep-unit a machine stays in the
// group that it was started from, and its units' groups must not mix with this computer's.
func enterCgroups(t *testing.T, name string) (leave func()) {
	t.Helper()
	before, err := os.ReadFile("/proc/self/cgroup")
	require.NoError(t, err)
	var back []string
	for line := range strings.Lines(string(before)) {
		_, rest, _ := strings.Cut(line, ":")
		controllers, path, _ := strings.Cut(strings.TrimSpace(rest), ":")
		root := cgroupRoot(controllers)
		if root == "" {
			continue
		}
		group := filepath.Join(root, path, name)
		require.NoError(t, os.MkdirAll(group, 0o755))
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if data, err := os.ReadFile(filepath.Join(root, path, file)); err == nil {
				_ = os.WriteFile(filepath.Join(group, file), data, 0o644)
			}
		}
		require.NoError(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte("0"), 0o644))
		back = append(back, filepath.Join(root, path, "cgroup.procs"))
	}
	return func() {
		for _, procs := range back {
			require.NoError(t, os.WriteFile(procs, fmt.Append(nil, os.Getpid()), 0o644))
		}
	}
}

// cgroupRoot returns where a hierarchy is mounted; "" if it is not.
func cgroupRoot(controllers string) string {
	candidates := []string{filepath.Join("/sys/fs/cgroup", strings.TrimPrefix(controllers, "name="))}
	if controllers == "" {
		candidates = []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"}
	}
	i := slices.IndexFunc(candidates, func(dir string) bool { return exists(filepath.Join(dir, "cgroup.procs")) })
	if i < 0 {
		return ""
	}
	return candidates[i]
}

// removeCgroups removes a machine's groups with those that it created in them.
func removeCgroups(t *testing.T, name string) {
	t.Helper()
	run(t, `for i in $(seq 50); do find /sys/fs/cgroup -depth -type d -path '*/%s*' -exec rmdir {} + 2>/dev/null; [ -z "$(find /sys/fs/cgroup -type d -name %[1]s)" ] && exit 0; sleep 0.1; done; exit 1`, name)
}
