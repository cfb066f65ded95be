package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Sweep removes what is left of the machine in runtimeDir: processes, cgroups and the directory itself. If there is nothing,
// that is not an error. It is for machines that died with their parent process; a running machine loses its power.
func Sweep(runtimeDir string) error {
	dirs, err := readCgroups(runtimeDir)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", runtimeDir, err)
	}
	var errs []error
	for _, dir := range dirs {
		errs = append(errs, removeCgroup(dir))
	}
	errs = append(errs, awaitGuard(runtimeDir))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep %s: %w", runtimeDir, err)
	}
	// Last, because the list of cgroups is in it.
	if err := os.RemoveAll(runtimeDir); err != nil {
		return fmt.Errorf("sweep %s: %w", runtimeDir, err)
	}
	return nil
}

func guardFile(runtimeDir string) string { return filepath.Join(runtimeDir, "guard") }

// holdGuard locks the file that marks a guard. The lock is released with the last process that has the file open: the guard
// is not a child of the sweeping process, which has no other way to wait for it.
func holdGuard(runtimeDir string) (*os.File, error) {
	file, err := os.Create(guardFile(runtimeDir))
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(&fs.PathError{Op: "flock", Path: file.Name(), Err: err}, file.Close())
	}
	return file, nil
}

// awaitGuard waits until the guard of the machine in runtimeDir and its children have ended. They end by themselves after the
// machine and the process that started it.
func awaitGuard(runtimeDir string) error {
	file, err := os.Open(guardFile(runtimeDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	deadline := time.Now().Add(killWithin)
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) {
			return err
		}
		// A blocking lock would have no deadline.
		time.Sleep(time.Millisecond)
	}
}
