// Package fake is a model of container registries and of the runtimes of machines, as far as fleetd uses them. It passes the
// contract tests of internal/container/containertest, as docker does.
package fake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Fault is what a registry does instead of answering.
type Fault int

// The faults of a registry.
const (
	None  Fault = iota
	Away        // it refuses connections
	Hangs       // it answers when the fault is over
)

// Registry has images under names, for any number of machines. The zero value has none.
type Registry struct {
	mu      sync.Mutex
	pushed  int
	images  map[string]int   // which push a name means
	faults  map[string]Fault // by the beginning of names
	changed chan struct{}    // closed when a fault begins or ends
}

// Push has the names mean new images.
func (r *Registry) Push(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.images == nil {
		r.images = map[string]int{}
	}
	for _, name := range names {
		r.pushed++
		r.images[name] = r.pushed
	}
}

// Break begins a fault of all images whose name begins with the prefix, also for the pulls that are under way. None ends it.
func (r *Registry) Break(prefix string, fault Fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.faults == nil {
		r.faults = map[string]Fault{}
	}
	r.faults[prefix] = fault
	if r.changed != nil {
		close(r.changed)
		r.changed = nil
	}
}

// get returns the image that the name means now. It waits for a registry that hangs.
func (r *Registry) get(ctx context.Context, name string) (image int, err error) {
	for {
		image, fault, changed := r.look(name)
		host, _, _ := strings.Cut(name, "/")
		switch {
		case ctx.Err() != nil:
			return 0, errors.New("signal: terminated")
		case fault == Away:
			return 0, daemonError("Get %q: dial tcp: connect: connection refused", "http://"+host+"/v2/")
		case fault == Hangs:
			select {
			case <-changed:
			case <-ctx.Done():
			}
		case image == 0:
			return 0, daemonError("manifest for %s not found: manifest unknown: manifest unknown", name)
		default:
			return image, nil
		}
	}
}

func (r *Registry) look(name string) (image int, fault Fault, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for prefix, f := range r.faults {
		if strings.HasPrefix(name, prefix) {
			fault = max(fault, f)
		}
	}
	if r.changed == nil {
		r.changed = make(chan struct{})
	}
	return r.images[name], fault, r.changed
}

// daemonError is an error in the words of docker's client.
func daemonError(format string, args ...any) error {
	return errors.New("Error response from daemon: " + fmt.Sprintf(format, args...))
}
