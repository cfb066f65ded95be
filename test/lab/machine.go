package lab

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// Machine is one machine of a lab.
type Machine struct {
	// Name is m1, m2 and so on: its host name, and its name for Cut and Partition.
	Name    string
	Number  int
	ID      string // of /etc/machine-id
	Address string

	dir  string
	past *past
}

// diskSize is what a machine's disk may take of this computer's; a lab of three takes about 1.6 GB of it.
const diskSize = "8G"

// bootTimeout is how long a machine may take to boot beside others that boot.
const bootTimeout = 2 * time.Minute

//go:embed boot.sh
var bootScript string

func newMachineID() string {
	var id [16]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// Root is where the machine's root file system is on this computer.
func (m *Machine) Root() string { return filepath.Join(m.dir, "root") }

func (m *Machine) disk() string { return filepath.Join(m.dir, "disk") }

// Console is the file with what the machine printed while it booted.
func (m *Machine) Console() string { return filepath.Join(m.dir, "console.log") }

// create makes the machine's disk and root file system: what differs from the base is on a disk of its own, which can be full.
func (m *Machine) create(ctx context.Context, base string, l *Lab) error {
	image := filepath.Join(m.dir, "disk.img")
	for _, dir := range []string{m.disk(), m.Root()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	upper, work := filepath.Join(m.disk(), "upper"), filepath.Join(m.disk(), "work")
	for _, command := range [][]string{
		{"truncate", "-s", diskSize, image},
		{"mkfs.ext4", "-q", "-F", image},
		{"mount", "-o", "loop", image, m.disk()},
		{"mkdir", upper, work, filepath.Join(m.disk(), "docker"), filepath.Join(m.disk(), "containers")},
		{"mount", "-t", "overlay", "fleet-lab-" + m.Name, "-o", "lowerdir=" + base + ",upperdir=" + upper + ",workdir=" + work, m.Root()},
	} {
		if _, err := run(ctx, command[0], command[1:]...); err != nil {
			return err
		}
	}
	return m.configure(l)
}

// Write writes a file of the machine, and the directories above it.
func (m *Machine) Write(name, text string) error {
	name = filepath.Join(m.Root(), name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, []byte(text), 0o644)
}

// Up says whether the machine has power.
func (m *Machine) Up() bool { return leader(m.Name) != 0 }

// Boot gives the machine power and returns when all that it starts at boot has started.
func (m *Machine) Boot(ctx context.Context) error {
	if m.Up() {
		return errors.New("it is up")
	}
	cgroups, err := makeCgroups(m.Name)
	if err != nil {
		return err
	}
	console, err := os.OpenFile(m.Console(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer console.Close()
	script := filepath.Join(m.dir, "boot.sh")
	if err := os.WriteFile(script, []byte(bootScript), 0o755); err != nil {
		return err
	}
	// setsid --fork: the machine outlives the process that boots it.
	cmd := exec.CommandContext(ctx, "setsid", append([]string{"--fork", "nsenter", "--net=" + namespaceFile, "--", "bash", script,
		m.Name, m.Root(), m.disk(), bridge}, cgroups...)...)
	cmd.Stdout, cmd.Stderr = console, console
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("boot: %w", err)
	}
	return m.Booted(ctx)
}

// Booted returns when all that the machine starts at boot has started.
func (m *Machine) Booted(ctx context.Context) error {
	err := poll(ctx, bootTimeout, func() error {
		said, err := m.Exec(ctx, "systemctl", "is-system-running")
		if s := strings.TrimSpace(said); s == "running" || s == "degraded" {
			return nil // degraded: some unit failed; the test or the user that needs it sees that
		}
		return fmt.Errorf("systemctl is-system-running: %s: %w", strings.TrimSpace(said), errors.Join(err, errors.New("it boots")))
	})
	if err != nil {
		return fmt.Errorf("boot: %w: see %s", err, m.Console())
	}
	return nil
}

// Kill cuts the machine's power: no process of it does anything more. Its disk stays as it is.
func (m *Machine) Kill(ctx context.Context) error {
	return poll(ctx, 20*time.Second, func() error {
		pid := leader(m.Name)
		if pid != 0 {
			m.past.killed(m.Name, time.Now())
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
		if n := len(processes(m.Name)); n > 0 {
			return fmt.Errorf("%d processes are left", n)
		}
		return nil
	})
}

// Reboot has the machine reboot in order, from inside, and returns when it has booted again.
func (m *Machine) Reboot(ctx context.Context) error {
	before := leader(m.Name)
	if before == 0 {
		return errors.New("it is down")
	}
	if _, err := m.Exec(ctx, "systemctl", "--no-block", "reboot"); err != nil {
		return err
	}
	if err := poll(ctx, bootTimeout, func() error {
		if now := leader(m.Name); now == 0 || now == before {
			return errors.New("it has not gone down yet")
		}
		return nil
	}); err != nil {
		return fmt.Errorf("reboot: %w", err)
	}
	return m.Booted(ctx)
}

// Stop has the machine switch itself off in order.
func (m *Machine) Stop(ctx context.Context) error {
	if _, err := m.Exec(ctx, "systemctl", "--no-block", "poweroff"); err != nil {
		return err
	}
	return poll(ctx, bootTimeout, func() error {
		if n := len(processes(m.Name)); n > 0 {
			return fmt.Errorf("%d processes are left", n)
		}
		return nil
	})
}

// fillFile takes the space that Fill takes.
const fillFile = "/var/fill"

// Fill takes all space on the machine's disk, to the last block that programs without root's reserve may have.
func (m *Machine) Fill(ctx context.Context) error {
	_, err := m.Exec(ctx, "sh", "-c", "fallocate -l $(df --output=avail -B1 / | tail -n 1) "+fillFile+"; cat /dev/zero >> "+fillFile+" 2>/dev/null; true")
	return err
}

// Free gives it back.
func (m *Machine) Free(ctx context.Context) error {
	_, err := m.Exec(ctx, "rm", "-f", fillFile)
	return err
}

// Command is a command on the machine, as root. It can be run once, and is killed when the context ends.
func (m *Machine) Command(ctx context.Context, args ...string) *exec.Cmd {
	// env, and not nsenter, enters the directory: nsenter would look for it on this computer.
	enter := []string{"-t", fmt.Sprint(leader(m.Name)), "-m", "-u", "-i", "-n", "-p", "--",
		"env", "-i", "-C", "/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=" + os.Getenv("TERM"), "ETCDCTL_API=3"}
	return exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
}

// Exec runs a command on the machine, as root, and returns what it printed on stdout.
func (m *Machine) Exec(ctx context.Context, args ...string) (string, error) {
	if !m.Up() {
		return "", fmt.Errorf("%s is down", m.Name)
	}
	return output(m.Command(ctx, args...))
}

// remove cuts the machine's power and removes its disk.
func (m *Machine) remove(ctx context.Context) error {
	if err := m.Kill(ctx); err != nil {
		return err
	}
	for _, dir := range []string{m.Root(), m.disk()} {
		if _, err := run(ctx, "mountpoint", "-q", dir); err != nil {
			continue
		}
		if _, err := run(ctx, "umount", dir); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(m.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
