package cluster

import (
	"slices"
	"sync"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
)

// Waiting is the set of apps to enqueue when a router serves something new. It can be lost: a forgotten app is added again by
// its next reconciliation.
type Waiting struct {
	mu   sync.Mutex
	apps map[string]struct{}
}

// OnRouter returns a Waiting that enqueues its apps on each change of a router. Call it before Run.
func (c *Cluster) OnRouter(enqueue func(app string)) *Waiting {
	w := &Waiting{apps: map[string]struct{}{}}
	Follow(c.Routers, enqueue, func(string, *cache.Object[v1.Router], *cache.Object[v1.Router]) []string { return w.all() })
	return w
}

// Set says whether an app is waiting.
func (w *Waiting) Set(app string, waiting bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting {
		w.apps[app] = struct{}{}
	} else {
		delete(w.apps, app)
	}
}

func (w *Waiting) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	apps := make([]string, 0, len(w.apps))
	for app := range w.apps {
		apps = append(apps, app)
	}
	slices.Sort(apps)
	return apps
}
