package cluster

import (
	"sync"

	"github.com/fleet-starter/fleet/internal/cache"
)

// multimap finds the names of objects by something else that they have.
type multimap struct {
	mu    sync.RWMutex
	names map[string]entry
}

// entry is what one key finds: mostly a unit's only placement or state, so that the first name needs no set.
type entry struct {
	first string // "": none, but there may be more
	more  map[string]struct{}
}

// indexed returns a multimap that follows a collection. Objects whose key is "" are left out.
func indexed[T any](c *cache.Collection[T], key func(*cache.Object[T]) string) *multimap {
	m := &multimap{names: map[string]entry{}}
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
	e := m.names[key]
	switch _, known := e.more[name]; {
	case known || e.first == name:
		return
	case e.first == "":
		e.first = name
	case e.more == nil:
		e.more = map[string]struct{}{name: {}}
	default:
		e.more[name] = struct{}{}
		return // the set is the same
	}
	m.names[key] = e
}

func (m *multimap) remove(key, name string) {
	e := m.names[key]
	if e.first == name {
		e.first = ""
		m.names[key] = e
	}
	if delete(e.more, name); e.first == "" && len(e.more) == 0 {
		delete(m.names, key)
	}
}

func (m *multimap) of(key string) []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.names[key]
	if !ok {
		return nil
	}
	names := make([]string, 0, 1+len(e.more))
	if e.first != "" {
		names = append(names, e.first)
	}
	for name := range e.more {
		names = append(names, name)
	}
	return names
}
