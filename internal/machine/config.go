package machine

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (c Config) validate() error {
	if !namePattern.MatchString(c.Name) {
		return fmt.Errorf("name %q: letters, digits, '-' and '_' are allowed", c.Name)
	}
	for path, file := range c.Files {
		if strings.ContainsAny(path, " \n") || strings.ContainsAny(file, "\n") {
			return fmt.Errorf("file %q for %q: blanks in the path and line breaks are not supported", file, path)
		}
	}
	for _, dir := range []string{c.RuntimeDir, c.StateDir} {
		if !filepath.IsAbs(dir) || filepath.Clean(dir) != dir {
			return fmt.Errorf("directory %q: needs a clean absolute path", dir)
		}
	}
	if len(c.RuntimeDir) > maxRuntimeDir {
		return fmt.Errorf("runtime directory %s: %d bytes are too long for the sockets within, at most %d: use a short temporary directory",
			c.RuntimeDir, len(c.RuntimeDir), maxRuntimeDir)
	}
	if entries, err := os.ReadDir(c.RuntimeDir); len(entries) > 0 {
		return fmt.Errorf("runtime directory %s: not empty: a machine runs there, or one died there and waits for Sweep", c.RuntimeDir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c Config) xdgRuntimeDir() string { return filepath.Join(c.RuntimeDir, "xdg") }
func (c Config) notifySocket() string  { return filepath.Join(c.RuntimeDir, "notify") }
func (c Config) consoleFile() string   { return filepath.Join(c.StateDir, "console.log") }

// lastWords is the end of what the machine's init printed, as a suffix for errors.
func (c Config) lastWords() string {
	const atMost = 500
	text, _ := os.ReadFile(c.consoleFile()) // missing: there are none
	text = bytes.TrimSpace(text[max(0, len(text)-atMost):])
	if len(text) == 0 {
		return ""
	}
	return fmt.Sprintf(": %q", text)
}

// env is the base environment of everything in the machine.
func (c Config) env() []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"),
		"LANG=C.UTF-8",
		"HOME=" + c.StateDir,
		"XDG_CONFIG_HOME=" + filepath.Join(c.StateDir, "config"),
	}, c.Env...)
}

// files is Files for init.sh: a line each of path, blank and the host's file.
func (c Config) files() string {
	var b strings.Builder
	for _, path := range slices.Sorted(maps.Keys(c.Files)) {
		fmt.Fprintf(&b, "%s %s\n", path, c.Files[path])
	}
	return b.String()
}

// journaldConf makes journald keep everything of the machine and nothing of the host; storage is "volatile" because the
// machine's disk is mounted at /run/log/journal. It does not wait for the host's disk: a machine whose power is cut loses nothing that its
// journald has written, and a journald that waits stands still, with all that log.
const journaldConf = `[Journal]
Storage=volatile
RuntimeMaxUse=64M
RuntimeMaxFileSize=8M
SyncIntervalSec=1d
RateLimitIntervalSec=0
ReadKMsg=no
Audit=no
`

// makeDirs creates the runtime directory and, if it is new, the disk. It returns the machine's ID.
func (c Config) makeDirs() (string, error) {
	for _, dir := range []string{"xdg", "enabled/sockets.target.wants", "run/systemd/system", "run/systemd/journald.conf.d", "run/log/journal"} {
		if err := os.MkdirAll(filepath.Join(c.RuntimeDir, dir), 0o755); err != nil {
			return "", err
		}
	}
	if err := os.Chmod(c.xdgRuntimeDir(), 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(c.RuntimeDir, "run/systemd/journald.conf.d/fleet.conf"), []byte(journaldConf), 0o644); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(c.StateDir, "journal"), 0o755); err != nil {
		return "", err
	}
	file := filepath.Join(c.StateDir, "machine-id")
	old, err := os.ReadFile(file)
	if err == nil {
		return string(bytes.TrimSpace(old)), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	id := newMachineID()
	return id, os.WriteFile(file, []byte(id+"\n"), 0o444)
}

// newMachineID returns 32 hex digits of a random UUID, see machine-id(5).
func newMachineID() string {
	var id [16]byte
	rand.Read(id[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id[:])
}

// cgroupName is unique on the host, because no two machines share a runtime directory.
func cgroupName(c Config) string {
	sum := sha256.Sum256([]byte(c.RuntimeDir))
	return "fleet-" + c.Name + "-" + hex.EncodeToString(sum[:4])
}
