// Package layout says where fleetd keeps its files, and replaces them atomically.
package layout

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Layout is the directories of one fleetd.
type Layout struct {
	// State is on disk: what a machine needs to start its units while etcd is away.
	State string
	// Runtime is lost with a reboot: what was done since boot.
	Runtime string
	// Units has the unit files that are linked into systemd.
	Units string
	// Shared is %t/fleet, where unit files look for the environment and for programs (apis/v1).
	Shared string
}

// Placements is the copy of the machine's placements.
func (l Layout) Placements() string { return filepath.Join(l.State, "placements.json") }

// UnitFile is the copy of one text, by its hash.
func (l Layout) UnitFile(hash string) string { return filepath.Join(l.UnitFiles(), hash) }

// UnitFiles has the copies of all texts.
func (l Layout) UnitFiles() string { return filepath.Join(l.State, "unitfiles") }

// Unit is the file that systemd reads.
func (l Layout) Unit(name string) string { return filepath.Join(l.Units, name) }

// Launched is the record of what was loaded and launched since boot.
func (l Layout) Launched() string { return filepath.Join(l.Runtime, "launched.json") }

// Lease has the ID of the machine's lease, for the next fleetd to adopt.
func (l Layout) Lease() string { return filepath.Join(l.Runtime, "lease") }

// Environment is the EnvironmentFile= of generated units.
func (l Layout) Environment() string { return filepath.Join(l.Shared, "environment") }

// Credentials is the file that LoadCredential= of announcers and routers reads.
func (l Layout) Credentials() string { return filepath.Join(l.Shared, "etcd-credentials") }

// Held has one empty file for each announcer that must not be started: see v1.HeldDir.
func (l Layout) Held() string { return filepath.Join(l.Shared, "held") }

// Bin leads to the directory of fleetd's own programs.
func (l Layout) Bin() string { return filepath.Join(l.Shared, "bin") }

// Make creates all directories.
func (l Layout) Make() error {
	for _, dir := range []string{l.State, l.UnitFiles(), l.Runtime, l.Units, l.Shared, l.Held()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// Durability is what a replaced file has to outlive.
type Durability bool

const (
	// Process: the file is whole, old or new, whenever the writer is killed.
	Process Durability = false
	// Power: also when the machine loses its power.
	Power Durability = true
)

// Fault, where it is set, is asked before a file is replaced, and what it returns is the error: for simulations of disks.
var Fault func(name string) error

// Replace puts data in place of the file of that name: readers see the old or the new bytes, never a mixture.
func Replace(name string, data []byte, perm os.FileMode, outlive Durability) error {
	_, err := ReplaceInfo(name, data, perm, outlive)
	return err
}

// ReplaceInfo is Replace for who wants to tell later whether the file is still the one that was put there.
func ReplaceInfo(name string, data []byte, perm os.FileMode, outlive Durability) (os.FileInfo, error) {
	if Fault != nil {
		if err := Fault(name); err != nil {
			return nil, &os.PathError{Op: "write", Path: name, Err: err}
		}
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := fill(f, data, perm, outlive)
	if err == nil {
		err = rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return nil, err
	}
	if outlive == Power {
		return info, syncDir(filepath.Dir(name))
	}
	return info, nil
}

// rename is os.Rename without its look at what is there before: thousands of unit files come at once.
func rename(from, to string) error {
	if err := unix.Rename(from, to); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

func fill(f *os.File, data []byte, perm os.FileMode, outlive Durability) (os.FileInfo, error) {
	if _, err := f.Write(data); err != nil {
		return nil, err
	}
	if err := f.Chmod(perm); err != nil {
		return nil, err
	}
	if outlive == Power {
		if err := f.Sync(); err != nil {
			return nil, err
		}
	}
	return f.Stat()
}

// Symlink puts a symbolic link in place of whatever link is there, without a moment in which there is none.
func Symlink(target, name string) error {
	if now, err := os.Readlink(name); err == nil && now == target {
		return nil
	}
	tmp := name + ".new"
	if err := os.Remove(tmp); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Symlink(target, tmp); err != nil {
		return err
	}
	return os.Rename(tmp, name)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
