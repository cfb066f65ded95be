package daemon

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/store"
)

// askVersions is how often etcd's version is read: etcd may be upgraded.
const askVersions = time.Hour

// etcdVersions are warnings about the versions of etcd's members.
type etcdVersions struct {
	mu    sync.Mutex
	found map[string]string // by endpoint
}

// asker is the part of a store that reads versions.
type asker interface {
	VersionWarnings(ctx context.Context) (map[string]string, error)
}

// watch reads the versions now and then every hour until ctx ends, and logs new warnings.
func (v *etcdVersions) watch(ctx context.Context, s asker, log logr.Logger) error {
	retry := store.Backoff{First: time.Second, Max: time.Minute}
	for {
		found, err := s.VersionWarnings(ctx)
		after := store.Around(askVersions)
		if err != nil {
			after = retry.Next()
		} else {
			retry.Reset()
			v.set(found, log)
		}
		if !store.Sleep(ctx, after) {
			return nil
		}
	}
}

func (v *etcdVersions) set(found map[string]string, log logr.Logger) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for endpoint, warning := range found {
		if v.found[endpoint] != warning {
			log.Info("etcd should be upgraded", "reason", "OldEtcd", "endpoint", endpoint, "warning", warning)
		}
	}
	v.found = found
}

func (v *etcdVersions) warnings() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []string
	for _, endpoint := range slices.Sorted(maps.Keys(v.found)) {
		list = append(list, endpoint+": "+v.found[endpoint])
	}
	return list
}
