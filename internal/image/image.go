// Package image pulls images with the machine's docker or podman.
package image

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Runtimes are the programs that pull.
type Runtimes struct {
	// Dir is where docker and podman are. Default /usr/bin, as in the generated units.
	Dir string
}

// killedWithin is how long a program may take to end when it is told to.
const killedWithin = 5 * time.Second

func (r Runtimes) command(ctx context.Context, image unitfile.Image, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(cmp.Or(r.Dir, "/usr/bin"), image.Runtime), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // docker tells its daemon to give up
	cmd.WaitDelay = killedWithin
	return cmd
}

// Present reports whether the machine has an image of that name.
func (r Runtimes) Present(ctx context.Context, image unitfile.Image) bool {
	return r.command(ctx, image, "image", "inspect", "--format", "{{.Id}}", image.Name).Run() == nil
}

// Pull pulls an image, and calls progress with what is done so far. The error is in the runtime's words.
func (r Runtimes) Pull(ctx context.Context, image unitfile.Image, progress func(string)) error {
	cmd := r.command(ctx, image, "pull", image.Name)
	var said bytes.Buffer
	cmd.Stderr = &limited{&said, maxWords}
	layers := &layers{progress: progress, seen: map[string]bool{}}
	cmd.Stdout = layers
	err := cmd.Run()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("this machine has no %s", cmd.Path)
	}
	if last := lastLine(said.String()); last != "" {
		return errors.New(last)
	}
	return err
}

// maxWords is how much of an error is kept.
const maxWords = 4096

// limited drops what is too much.
type limited struct {
	to   io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(l.left, len(p))
	l.left -= n
	_, err := l.to.Write(p[:n])
	return len(p), err
}

// lastLine is the last line that says something, without its rest where it is very long.
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

// layers counts the layers of an image in docker's lines: "<id>: Pulling fs layer", "<id>: Pull complete". Of podman, which has
// others, nothing is counted.
type layers struct {
	progress func(string)
	line     []byte
	seen     map[string]bool // whether they are there
	done     int
}

func (l *layers) Write(p []byte) (int, error) {
	l.line = append(l.line, p...)
	for {
		advance, line, _ := bufio.ScanLines(l.line, false)
		if advance == 0 {
			if len(l.line) > maxWords {
				l.line = nil
			}
			return len(p), nil
		}
		l.read(string(line))
		l.line = l.line[advance:]
	}
}

func (l *layers) read(line string) {
	id, what, _ := strings.Cut(line, ": ")
	there := what == "Pull complete" || what == "Already exists"
	if there && !l.seen[id] {
		l.done++
	}
	if there || what == "Pulling fs layer" {
		l.seen[id] = l.seen[id] || there
		l.progress(fmt.Sprintf("%d of %d layers", l.done, len(l.seen)))
	}
}
