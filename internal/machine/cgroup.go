package machine

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Every machine has its own cgroup in every hierarchy. Otherwise units of the same name on two machines would share one, and
// stopping one would kill the other. An ordinary user's is a delegated scope of the host's systemd. Root creates directories:
// at the top on a host booted with systemd, so that journald attributes logs to the machine's units; else, in a container,
// below root's own cgroups, whose limits stay in force.

// scoped reports whether the machine's cgroup is a scope of the host's systemd.
func scoped() bool {
	return os.Geteuid() != 0 && booted() && unified()
}

// booted is sd_booted(3).
func booted() bool {
	comm, _ := os.ReadFile("/proc/1/comm")
	_, err := os.Stat("/run/systemd/system")
	return err == nil && strings.TrimSpace(string(comm)) == "systemd"
}

// unified reports whether the host has only the version 2 hierarchy.
func unified() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// scopeArgv runs the following command in a new scope, in place: it keeps its PID and its parent.
func scopeArgv(c Config) []string {
	// A finished scope keeps its name for a while.
	unit := cgroupName(c) + "-" + strings.ToLower(rand.Text()[:8]) + ".scope"
	return []string{"systemd-run", "--user", "--scope", "--quiet", "--collect", "--property=Delegate=yes", "--unit=" + unit, "--"}
}

// makeCgroups creates the machine's directory in every hierarchy, after recording them for Sweep.
func makeCgroups(c Config) ([]string, error) {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	bases, err := baseCgroups(membership, mounts, booted())
	if err != nil {
		return nil, err
	}
	dirs := make([]string, len(bases))
	for i, base := range bases {
		// Named like a slice: otherwise journald would take it for the unit itself and not look below it.
		dirs[i] = filepath.Join(base, cgroupName(c)+".slice")
	}
	if err := os.WriteFile(cgroupsFile(c.RuntimeDir), []byte(strings.Join(dirs, "\n")+"\n"), 0o644); err != nil {
		return nil, err
	}
	for i, dir := range dirs {
		if err := makeCgroup(bases[i], dir); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

func makeCgroup(base, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("cgroup: %w: is %s mounted read-write?", err, base)
	}
	// Version 1: a new cpuset is empty, and cannot be joined until it is filled.
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		if _, err := os.Stat(filepath.Join(base, "cpuset.sched_load_balance")); err != nil {
			break
		}
		value, err := os.ReadFile(filepath.Join(base, file))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, file), value, 0)
		}
		if err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
	}
	// Version 2: only leaves contain processes, so commands need one beside the manager's units.
	if _, err := os.Stat(filepath.Join(dir, "cgroup.controllers")); err == nil {
		return os.Mkdir(filepath.Join(dir, "command"), 0o755)
	}
	return nil
}

// baseCgroups returns the cgroup directories that this process is in, according to the contents of /proc/self/cgroup and
// /proc/self/mountinfo, sorted, or the tops of their hierarchies; see cgroups(7) and proc(5).
func baseCgroups(membership, mountinfo []byte, top bool) ([]string, error) {
	paths := map[string]string{} // by controller list; "" is version 2
	for line := range bytes.Lines(membership) {
		if field := strings.SplitN(strings.TrimSpace(string(line)), ":", 3); len(field) == 3 {
			paths[field[1]] = field[2]
		}
	}
	var dirs []string
	for line := range bytes.Lines(mountinfo) {
		before, after, _ := strings.Cut(strings.TrimSpace(string(line)), " - ")
		mount, super := strings.Fields(before), strings.Fields(after)
		if len(mount) < 5 || len(super) < 3 {
			continue
		}
		path, ok := pathOfMount(paths, super[0], strings.Split(super[2], ","))
		if !ok {
			continue
		}
		// In a container the mount shows only a part of the hierarchy.
		below, err := filepath.Rel(mount[3], path)
		if err != nil || top || strings.HasPrefix(below, "..") {
			below = "."
		}
		dirs = append(dirs, filepath.Join(mount[4], below))
	}
	if len(dirs) == 0 {
		return nil, errors.New("no cgroup hierarchy is mounted: mount one below /sys/fs/cgroup")
	}
	sort.Strings(dirs)
	return dirs, nil
}

// pathOfMount finds the process's cgroup in the hierarchy with this file system type and super block options.
func pathOfMount(paths map[string]string, fsType string, options []string) (string, bool) {
	if fsType == "cgroup2" {
		path, ok := paths[""]
		return path, ok
	}
	if fsType != "cgroup" {
		return "", false
	}
	for _, option := range options {
		for controllers, path := range paths {
			for controller := range strings.SplitSeq(controllers, ",") {
				if controller != "" && controller == option {
					return path, true
				}
			}
		}
	}
	return "", false
}

func cgroupsFile(runtimeDir string) string { return filepath.Join(runtimeDir, "cgroups") }

// readCgroups returns the cgroup directories of the machine in runtimeDir, none if there is no machine.
func readCgroups(runtimeDir string) ([]string, error) {
	text, err := os.ReadFile(cgroupsFile(runtimeDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return strings.Fields(string(text)), err
}

// killWithin is how long the kernel gets to end killed processes; it takes milliseconds unless a disk hangs.
const killWithin = 10 * time.Second

// removeCgroup kills the processes in the cgroup at dir and removes it with everything below.
func removeCgroup(dir string) error {
	deadline := time.Now().Add(killWithin)
	for pause := time.Millisecond; ; pause *= 2 {
		err := tryRemoveCgroup(dir)
		if !errors.Is(err, syscall.EBUSY) || time.Now().After(deadline) {
			return err
		}
		// The kernel has no event for the end of a version 1 cgroup's last process: poll.
		time.Sleep(min(pause, 50*time.Millisecond))
	}
}

func tryRemoveCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the host's systemd removes its scopes, too
		}
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	// Without it (version 1) what forks meanwhile keeps the cgroup busy, and the next try catches it.
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	for _, path := range dirs {
		if err := killCgroup(path); err != nil {
			return err
		}
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := syscall.Rmdir(dirs[i]); err != nil && err != syscall.ENOENT {
			return &fs.PathError{Op: "rmdir", Path: dirs[i], Err: err}
		}
	}
	return nil
}

// killCgroup sends SIGKILL to every process in the cgroup itself.
func killCgroup(dir string) error {
	file, err := os.Open(filepath.Join(dir, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil || pid == 0 { // 0: in a PID namespace that is not visible from here
			continue
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("kill %d in %s: %w", pid, dir, err)
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, syscall.ENODEV) { // ENODEV: removed meanwhile
		return err
	}
	return nil
}
