package container

import (
	"context"
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

const (
	listWithin   = 10 * time.Second
	removeWithin = 30 * time.Second
)

// List returns the machine's containers, running or not.
func (r Runtime) List(ctx context.Context, machine string) ([]Container, error) {
	ctx, cancel := context.WithTimeout(ctx, listWithin)
	defer cancel()
	out, err := r.output(ctx, "ps", "--all", "--quiet", "--no-trunc", "--filter", "label="+v1.LabelUnit, "--filter", "label="+v1.LabelMachine+"="+machine)
	ids := strings.Fields(out)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	// Not ps with a format: each runtime has its own words for it.
	const format = `{{.ID}} {{.State.Running}} {{.Name}} {{index .Config.Labels "` + v1.LabelUnit + `"}}`
	out, err = r.output(ctx, append([]string{"inspect", "--type", "container", "--format", format}, ids...)...)
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
	_, _ = r.output(ctx, "stop", id) // it may have ended; rm kills what is left
	_, err := r.output(ctx, "rm", "--force", id)
	if err != nil && strings.Contains(strings.ToLower(err.Error()), "no such container") {
		return nil
	}
	return err
}
