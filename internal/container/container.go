// Package container finds the containers that run fleet's units, with docker and podman, and removes one.
package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Container is a container with fleet's labels.
type Container struct {
	Runtime string // v1.RuntimeDocker or v1.RuntimePodman
	ID      string
	Name    string
	Unit    string // that it was run by
	Running bool
}

// Runtime is one container runtime, used through its client.
type Runtime struct {
	Name string
	// Path is the client.
	Path string
	// Used is a file that is there once the runtime was used; empty if the client may be asked at any time.
	Used string
}

// Runtimes are those that generated units use. Asking a podman that was never used would create its store.
var Runtimes = []Runtime{
	{Name: v1.RuntimeDocker, Path: "/usr/bin/docker"},
	{Name: v1.RuntimePodman, Path: "/usr/bin/podman", Used: "/var/lib/containers/storage"},
}

const (
	listWithin   = 10 * time.Second
	removeWithin = 30 * time.Second
)

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

// List returns the machine's containers, running or not.
func (r Runtime) List(ctx context.Context, machine string) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	out, err := r.run(ctx, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label="+v1.LabelUnit, "--filter", "label="+v1.LabelMachine+"="+machine)
	ids := strings.Fields(out)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	// Not ps with a format: each runtime has its own words for it.
	const format = `{{.ID}} {{.State.Running}} {{.Name}} {{index .Config.Labels "` + v1.LabelUnit + `"}}`
	out, err = r.run(ctx, append([]string{"inspect", "--type", "container", "--format", format}, ids...)...)
	var list []Container
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) == 4 {
			list = append(list, Container{Runtime: r.Name, ID: words[0], Running: words[1] == "true", Name: strings.TrimPrefix(words[2], "/"), Unit: words[3]})
		}
	}
	if len(list) > 0 { // others have been removed meanwhile
		err = nil
	}
	return list, err
}

// Remove stops a container and removes it. One that is gone is removed already.
func (r Runtime) Remove(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, removeWithin)
	defer cancel()
	_, _ = r.run(ctx, "stop", id) // it may have ended; rm kills what is left
	_, err := r.run(ctx, "rm", "--force", id)
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "no such container") {
		return nil
	}
	return err
}

func (r Runtime) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, r.Path, args...)
	cmd.WaitDelay = time.Second
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s %s: no answer: %w", r.Name, args[0], ctx.Err())
	case err != nil:
		said := strings.TrimSpace(complaint.String())
		said = said[strings.LastIndexByte(said, '\n')+1:] // what comes before has the time in it
		return string(out), fmt.Errorf("%s %s: %w: %s", r.Name, args[0], err, said)
	}
	return string(out), nil
}
