package lab

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupName is the cgroup of the lab below the root of each hierarchy; each machine has one in it. Without one, systemd-nspawn
// --keep-unit would leave all machines in the cgroup of the caller, where units of one name on two machines would share a cgroup.
const cgroupName = "fleet-lab"

// hierarchies are the roots of this computer's cgroups: one with version 2, one for each controller with version 1.
func hierarchies() (roots []string) {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.procs"); err == nil {
		return []string{root}
	}
	all, _ := filepath.Glob(root + "/*/cgroup.procs")
	seen := map[string]bool{}
	for _, file := range all {
		dir, err := filepath.EvalSymlinks(filepath.Dir(file)) // cpu,cpuacct has several names
		if err == nil && !seen[dir] {
			seen[dir] = true
			roots = append(roots, dir)
		}
	}
	return roots
}

// makeCgroups makes a machine's cgroups and returns their directories.
func makeCgroups(name string) (dirs []string, err error) {
	for _, root := range hierarchies() {
		for _, dir := range []string{filepath.Join(root, cgroupName), filepath.Join(root, cgroupName, name)} {
			if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, err
			}
			// A cpuset of version 1 takes no process before it has CPUs and memory.
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				if value, err := os.ReadFile(filepath.Join(root, file)); err == nil {
					if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
						return nil, err
					}
				}
			}
		}
		dirs = append(dirs, filepath.Join(root, cgroupName, name))
	}
	return dirs, nil
}

// processes returns the IDs of the processes in a machine's cgroups, of all machines where the name is empty.
func processes(name string) (pids []int) {
	seen := map[int]bool{}
	for _, root := range hierarchies() {
		_ = filepath.WalkDir(filepath.Join(root, cgroupName, name), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
				return nil // a cgroup may go meanwhile
			}
			text, _ := os.ReadFile(path)
			for _, field := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 && !seen[pid] {
					seen[pid] = true
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}

// leader returns the process that is PID 1 in a machine, 0 where there is none.
func leader(name string) int {
	for _, pid := range processes(name) {
		text, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		for line := range strings.Lines(string(text)) {
			// The process's IDs in this namespace and in the ones within: a container's PID 1 in a machine has three.
			if f := strings.Fields(line); len(f) == 3 && f[0] == "NSpid:" && f[2] == "1" {
				return pid
			}
		}
	}
	return 0
}

// removeCgroups removes the lab's cgroups, which have no process any more.
func removeCgroups() error {
	var errs []error
	for _, root := range hierarchies() {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(root, cgroupName), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		for i := len(dirs) - 1; i >= 0; i-- {
			if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
