package cluster

import (
	"sync"

	"github.com/fleet-starter/fleet/internal/cache"
)

// multimap indexes objects by something other than their names.
type multimap[T any] struct {
	mu      sync.RWMutex
	objects map[string]entry[T]
}

// entry is the value of one key: usually a unit's only placement or state, so the first object needs no map.
type entry[T any] struct {
	first *cache.Object[T] // nil: none, but there may be more in the map
	more  map[string]*cache.Object[T]
}

// indexed returns a multimap that follows a collection. Objects with the key "" are left out.
func indexed[T any](c *cache.Collection[T], key func(*cache.Object[T]) string) *multimap[T] {
	m := &multimap[T]{objects: map[string]entry[T]{}}
	c.OnChange(func(events []cache.Event[T]) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, e := range events {
			before, after := "", ""
			if e.Old != nil {
				before = key(e.Old)
			}
			if e.New != nil {
				after = key(e.New)
			}
			if before != after {
				m.remove(before, e.Name)
			}
			m.put(after, e.New)
		}
	})
	return m
}

// indexedEach is indexed for objects with several keys.
func indexedEach[T any](c *cache.Collection[T], keys func(*cache.Object[T]) []string) *multimap[T] {
	m := &multimap[T]{objects: map[string]entry[T]{}}
	c.OnChange(func(events []cache.Event[T]) {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, e := range events {
			if e.Old != nil {
				for _, key := range keys(e.Old) {
					m.remove(key, e.Name)
				}
			}
			if e.New != nil {
				for _, key := range keys(e.New) {
					m.put(key, e.New)
				}
			}
		}
	})
	return m
}

// put adds an object, or replaces the one of the same name.
func (m *multimap[T]) put(key string, o *cache.Object[T]) {
	if key == "" {
		return
	}
	e := m.objects[key]
	_, known := e.more[o.Name]
	switch {
	case !known && (e.first == nil || e.first.Name == o.Name):
		e.first = o
	case e.more == nil:
		e.more = map[string]*cache.Object[T]{o.Name: o}
	default:
		e.more[o.Name] = o
		return // the map is the same
	}
	m.objects[key] = e
}

func (m *multimap[T]) remove(key, name string) {
	if key == "" {
		return
	}
	e := m.objects[key]
	if e.first != nil && e.first.Name == name {
		e.first = nil
		m.objects[key] = e
	}
	if delete(e.more, name); e.first == nil && len(e.more) == 0 {
		delete(m.objects, key)
	}
}

// of returns the objects of a key, in no particular order.
func (m *multimap[T]) of(key string) []*cache.Object[T] {
	m.mu.RLock()
	defer m.mu.RUnlock()
	e, ok := m.objects[key]
	if !ok {
		return nil
	}
	list := make([]*cache.Object[T], 0, 1+len(e.more))
	e.each(func(o *cache.Object[T]) { list = append(list, o) })
	return list
}

// each calls do with the objects of a key, in no particular order.
func (m *multimap[T]) each(key string, do func(*cache.Object[T])) {
	m.mu.RLock()
	e, ok := m.objects[key]
	if ok && e.more == nil { // the usual case needs no copy
		m.mu.RUnlock()
		e.each(do)
		return
	}
	m.mu.RUnlock()
	for _, o := range m.of(key) {
		do(o)
	}
}

func (e entry[T]) each(do func(*cache.Object[T])) {
	if e.first != nil {
		do(e.first)
	}
	for _, o := range e.more {
		do(o)
	}
}
