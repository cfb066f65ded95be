package machine

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// MissingError lists the Debian packages that machines need and this computer lacks.
type MissingError struct {
	Packages []string // sorted
	Files    []string // what was looked for and not found
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("missing %s: run: apt-get install %s", strings.Join(e.Files, ", "), strings.Join(e.Packages, " "))
}

// needs lists programs with the Debian package that contains them.
var needs = []struct{ file, pkg string }{
	{"/usr/lib/systemd/systemd", "systemd"},
	{"/usr/lib/systemd/systemd-journald", "systemd"},
	{"unshare", "util-linux"},
	{"nsenter", "util-linux"},
	{"mount", "mount"},
}

// Detect says why machines cannot run on this computer as this user, and how to fix it: nil, a *MissingError, or another
// error.
func Detect() error {
	var missing MissingError
	for _, need := range needs {
		if _, err := exec.LookPath(need.file); err != nil {
			missing.Files = append(missing.Files, need.file)
			missing.Packages = append(missing.Packages, need.pkg)
		}
	}
	if scoped() {
		if _, err := os.Stat(filepath.Join(os.Getenv("XDG_RUNTIME_DIR"), "bus")); err != nil {
			missing.Files = append(missing.Files, "$XDG_RUNTIME_DIR/bus (log in again after the installation)")
			missing.Packages = append(missing.Packages, "dbus-user-session", "libpam-systemd")
		}
	}
	if len(missing.Files) > 0 {
		slices.Sort(missing.Packages)
		missing.Packages = slices.Compact(missing.Packages)
		return &missing
	}
	if os.Geteuid() != 0 && !scoped() {
		return errors.New("this computer was not booted with systemd and the unified cgroup hierarchy: run as root")
	}
	if _, err := os.Stat("/etc/machine-id"); err != nil {
		return errors.New("/etc/machine-id is missing: run: systemd-machine-id-setup")
	}
	if os.Geteuid() != 0 {
		return nil
	}
	if out, err := exec.Command("unshare", "--mount", "true").CombinedOutput(); err != nil {
		return fmt.Errorf("cannot make a mount namespace: %s: a container has to be privileged", strings.TrimSpace(string(out)))
	}
	return nil
}
