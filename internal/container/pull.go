package container

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/fleet-starter/fleet/internal/unitfile"
)

// named returns the runtime of that name, which unitfile has validated.
func (all Runtimes) named(name string) Runtime {
	for _, r := range all {
		if r.Name == name {
			return r
		}
	}
	return Runtime{Name: name, Path: name}
}

// Present asks the image's runtime whether the machine has an image of that name.
func (all Runtimes) Present(ctx context.Context, image unitfile.Image) bool {
	return all.named(image.Runtime).Present(ctx, image)
}

// Pull has the image's runtime pull it, and calls progress with what is done so far. The error is in the runtime's words.
func (all Runtimes) Pull(ctx context.Context, image unitfile.Image, progress func(string)) error {
	return all.named(image.Runtime).Pull(ctx, image, progress)
}

// Present reports whether the machine has an image of that name.
func (r Runtime) Present(ctx context.Context, image unitfile.Image) bool {
	_, err := r.output(ctx, "image", "inspect", "--format", "{{.Id}}", image.Name)
	return err == nil
}

// Pull pulls an image, and calls progress with what is done so far. The error is in the runtime's words.
func (r Runtime) Pull(ctx context.Context, image unitfile.Image, progress func(string)) error {
	cmd, complaint := r.command(ctx, "pull", image.Name)
	cmd.Stdout = &layers{progress: progress, seen: map[string]bool{}}
	if err := cmd.Run(); err != nil {
		return r.failed(err, complaint)
	}
	return nil
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
