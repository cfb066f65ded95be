package fake

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/internal/container"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Runtime is the container runtime of one machine.
type Runtime struct {
	Name     string // of the containers that List returns
	Registry *Registry
	// PullTakes is how long a pull takes when nothing is wrong.
	PullTakes time.Duration

	mu         sync.Mutex
	images     map[string]int
	containers map[string]labelled // by ID
	run        int
}

type labelled struct {
	container.Container
	machine string
}

// Installed is true.
func (*Runtime) Installed() bool { return true }

// Image returns which image the machine has under the name: a number that differs between images; 0 if it has none.
func (r *Runtime) Image(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.images[name]
}

// RemoveImage makes the machine forget an image.
func (r *Runtime) RemoveImage(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.images, name)
}

// Present reports whether the machine has an image of that name.
func (r *Runtime) Present(ctx context.Context, image unitfile.Image) bool {
	return ctx.Err() == nil && r.Image(image.Name) != 0
}

// Pull pulls an image, and calls progress at the beginning and at the end.
func (r *Runtime) Pull(ctx context.Context, image unitfile.Image, progress func(string)) error {
	if r.Image(image.Name) == 0 {
		progress("0 of 1 layers")
	}
	if r.PullTakes > 0 {
		timer := time.NewTimer(r.PullTakes)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	got, err := r.Registry.get(ctx, image.Name)
	if err != nil {
		return err
	}
	progress("1 of 1 layers")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.images == nil {
		r.images = map[string]int{}
	}
	r.images[image.Name] = got
	return nil
}

// Run adds a container with fleet's labels, and returns its ID.
func (r *Runtime) Run(name, unit, machine string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.containers == nil {
		r.containers = map[string]labelled{}
	}
	r.run++
	id := fmt.Sprintf("c%d", r.run)
	r.containers[id] = labelled{container.Container{Runtime: r.Name, ID: id, Name: name, Unit: unit, Running: true}, machine}
	return id
}

// Exit ends a container's process.
func (r *Runtime) Exit(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	c.Running = false
	r.containers[id] = c
}

// List returns the machine's containers, running or not.
func (r *Runtime) List(ctx context.Context, machine string) (list []container.Container, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(r.containers)) {
		if c := r.containers[id]; c.machine == machine {
			list = append(list, c.Container)
		}
	}
	return list, ctx.Err()
}

// Remove removes a container. One that is gone is removed already.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if ctx.Err() == nil {
		delete(r.containers, id)
	}
	return ctx.Err()
}
