package machine

import (
	"errors"
	"fmt"
	"os"
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
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep %s: %w", runtimeDir, err)
	}
	// Last, for the list of cgroups is in it.
	if err := os.RemoveAll(runtimeDir); err != nil {
		return fmt.Errorf("sweep %s: %w", runtimeDir, err)
	}
	return nil
}
