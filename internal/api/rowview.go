package api

import (
	"maps"
	"slices"

	"github.com/fleet-starter/fleet/internal/store"
)

// rowView is the view of a resource made of a single row.
type rowView[T any] struct {
	// decode makes the object; ok is false for values that cannot be decoded, which are left out.
	decode  func(name string, kv store.KV) (object T, ok bool)
	objects map[string]T
}

func newRowView[T any](decode func(string, store.KV) (T, bool)) func() view[T] {
	return func() view[T] { return &rowView[T]{decode: decode, objects: map[string]T{}} }
}

func (v *rowView[T]) apply(_ int, name string, kv store.KV, deleted bool) []string {
	delete(v.objects, name)
	if !deleted {
		if object, ok := v.decode(name, kv); ok {
			v.objects[name] = object
		}
	}
	return []string{name}
}

func (v *rowView[T]) object(name string) (T, bool) {
	object, ok := v.objects[name]
	return object, ok
}

func (v *rowView[T]) names() []string { return slices.Sorted(maps.Keys(v.objects)) }

func (v *rowView[T]) forget(name string) { delete(v.objects, name) }
