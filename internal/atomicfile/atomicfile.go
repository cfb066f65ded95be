// Package atomicfile replaces files and symbolic links so that always either the whole old one or the whole new one exists.
package atomicfile

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Durability is what a replaced file has to survive.
type Durability bool

const (
	// Process: the file is whole, old or new, even if the writer is killed.
	Process Durability = false
	// Power: also if the machine loses power.
	Power Durability = true
)

// Fault, if set, is called before a file is replaced and may return an error: for simulations of disks.
var Fault func(name string) error

// Replace puts data in place of the file of that name: readers see the old or the new bytes, never a mixture.
func Replace(name string, data []byte, perm os.FileMode, outlive Durability) error {
	_, err := ReplaceInfo(name, data, perm, outlive)
	return err
}

// ReplaceInfo is Replace for callers that want to check later whether the file is still the one they wrote.
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

// rename is os.Rename without its stat of the target: thousands of unit files may be written at once.
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

// Symlink replaces whatever link is there, without a moment in which none exists.
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
