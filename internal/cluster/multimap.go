package cluster

import (
	"sync"

	"github.com/fleet-starter/fleet/internal/cache"
)

// multimap finds the names of objects by something else that they have.
type multimap struct {
	mu    sync.RWMutex
	names map[string]map[string]struct{}
}

// indexed returns a multimap that follows a collection. Objects whose key is "" are left out.
func indexed[T any](c *cache.Collection[T], key func(*cache.Object[T]) string) *multimap {
	m := &multimap{names: map[string]map[string]struct{}{}}
	c.OnChange(func(events []cache.Event[T]) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, e := range events {
			if e.Old != nil {
				m.remove(key(e.Old), e.Name)
			}
			if e.New != nil {
				m.add(key(e.New), e.Name)
			}
		}
	})
	return m
}

func (m *multimap) add(key, name string) {
	if key == "" {
		return
	}
	if m.names[key] == nil {
		m.names[key] = map[string]struct{}{}
	}
	m.names[key][name] = struct{}{}
}

func (m *multimap) remove(key, name string) {
	delete(m.names[key], name)
	if len(m.names[key]) == 0 {
		delete(m.names, key)
	}
}

func (m *multimap) of(key string) []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if len(m.names[key]) == 0 {
		return nil
	}
	names := make([]string, 0, len(m.names[key]))
	for name := range m.names[key] {
		names = append(names, name)
	}
	return names
}
