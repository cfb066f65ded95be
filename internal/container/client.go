// Package container uses the machine's container runtimes, docker and podman, through their clients: it pulls images, and finds and
// removes the containers of fleet's units.
package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Runtime is one container runtime, used through its client.
type Runtime struct {
	Name string
	// Path is the client.
	Path string
	// Used is a file that is there once the runtime was used; empty if the client may be asked at any time.
	Used string
}

// Runtimes are the runtimes of a machine.
type Runtimes []Runtime

// Installed are the runtimes that generated units use. Asking a podman that was never used would create its store.
var Installed = Runtimes{
	{Name: unitfile.RuntimeDocker, Path: "/usr/bin/docker"},
	{Name: unitfile.RuntimePodman, Path: "/usr/bin/podman", Used: "/var/lib/containers/storage"},
}

// Installed reports whether the runtime is there and was used.
func (r Runtime) Installed() bool {
	for _, file := range []string{r.Path, r.Used} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			return false
		}
	}
	return true
}

// endsWithin is how long a client may take to end when it is told to.
const endsWithin = 5 * time.Second

func (r Runtime) command(ctx context.Context, args ...string) (cmd *exec.Cmd, complaint *limited) {
	cmd, complaint = exec.CommandContext(ctx, r.Path, args...), &limited{left: maxWords}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // docker tells its daemon to give up
	cmd.WaitDelay = endsWithin
	cmd.Stderr = complaint
	return cmd, complaint
}

// failed returns how a client failed, in its own words if it had some.
func (r Runtime) failed(err error, complaint *limited) error {
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("this machine has no %s", r.Path)
	}
	if last := lastLine(complaint.String()); last != "" {
		return errors.New(last)
	}
	return err
}

// output runs a client that prints a result.
func (r Runtime) output(ctx context.Context, args ...string) (string, error) {
	cmd, complaint := r.command(ctx, args...)
	out, err := cmd.Output()
	switch {
	case err == nil:
		return string(out), nil
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s %s: no answer: %w", r.Name, args[0], ctx.Err())
	}
	return string(out), fmt.Errorf("%s %s: %w", r.Name, args[0], r.failed(err, complaint))
}

// maxWords is how much of what a client says is kept.
const maxWords = 4096

// limited keeps the beginning of what is written.
type limited struct {
	bytes.Buffer
	left int
}

var _ io.Writer = (*limited)(nil)

func (l *limited) Write(p []byte) (int, error) {
	n := min(l.left, len(p))
	l.left -= n
	_, _ = l.Buffer.Write(p[:n]) // never fails
	return len(p), nil
}

// lastLine is the last line that says something, without its rest where it is very long. The lines before may have the time in them.
func lastLine(text string) string {
	last := ""
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			last = line
		}
	}
	const most = 300
	if len(last) > most {
		last = strings.ToValidUTF8(last[:most], "") + "..."
	}
	return last
}
