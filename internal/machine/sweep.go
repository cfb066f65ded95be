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

// Sweep removes what is left of the machine in runtimeDir: processes, cgroups and the directory itself. Nothing there is
// no error. It is for a machine that died with the process that had started it; a machine that runs loses its power.
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
	// Last, for the list of cgroups is in it.
	if err := os.RemoveAll(runtimeDir); err != nil {
		return fmt.Errorf("sweep %s: %w", runtimeDir, err)
	}
	return nil
}

func guardFile(runtimeDir string) string { return filepath.Join(runtimeDir, "guard") }

// holdGuard locks the file that says that there is a guard. The lock goes with the last process that has the open file:
// the guard is no child of the process that sweeps, which can wait for it in no other way.
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

// awaitGuard waits until the guard of the machine in runtimeDir and its children have ended, which they do by themselves
// when the machine and the process that started it have.
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
		// A lock that blocks would have no deadline.
		time.Sleep(time.Millisecond)
	}
}
