// Package cache keeps the decoded keys of an etcd prefix in memory, by a listing and a watch.
package cache

import (
	"strings"
	"sync"

	"github.com/google/btree"

	"github.com/fleet-starter/fleet/internal/store"
)

// Object is a stored object. It is immutable once published, including what its Value refers to: readers share it, and
// consecutive objects with equal contents share their Values.
type Object[T any] struct {
	// Name is the key without its collection's prefix.
	Name string
	Key  string
	// Value is the decoded value.
	Value T
	// Err is the reason why the bytes could not be decoded. Value is zero then and Raw holds the bytes; otherwise Raw
	// is nil.
	Err            error
	Raw            []byte
	CreateRevision int64
	ModRevision    int64
	// Lease is the lease that the key is attached to, or 0.
	Lease store.LeaseID
}

// Event is a change of one object. Old is nil for a new object, New for a deleted one.
type Event[T any] struct {
	Name     string
	Old, New *Object[T]
	// Revision is the revision of the change. A deletion found by a new listing, which does not say when it happened,
	// has the listing's.
	Revision int64
}

// Lister reads a collection. Reads never block on etcd.
type Lister[T any] interface {
	// Get returns the object of that name.
	Get(name string) (*Object[T], bool)
	// List returns all objects, sorted by name.
	List() []*Object[T]
	// ListPrefix returns the objects whose names begin with prefix, sorted, at a cost proportional to their number.
	ListPrefix(prefix string) []*Object[T]
	// Len returns the number of objects.
	Len() int
}

// index holds objects.
type index[T any] struct {
	mu *sync.RWMutex // the reflector's, so that a batch of changes becomes visible at once
	*objects[T]
}

// objects are looked up by name, the common case, and listed sorted by name.
type objects[T any] struct {
	named map[string]*Object[T]
	tree  *btree.BTreeG[*Object[T]]
}

func newObjects[T any]() *objects[T] {
	return &objects[T]{
		named: map[string]*Object[T]{},
		tree:  btree.NewG(32, func(a, b *Object[T]) bool { return a.Name < b.Name }),
	}
}

// put stores o and returns the previous object, or nil.
func (s *objects[T]) put(o *Object[T]) (old *Object[T]) {
	if old = s.named[o.Name]; old != nil {
		delete(s.named, o.Name) // otherwise the map keeps the old object's string, and with it the old object, alive
	}
	s.named[o.Name] = o
	s.tree.ReplaceOrInsert(o)
	return old
}

// remove deletes an object and returns it, or nil.
func (s *objects[T]) remove(name string) (old *Object[T]) {
	if old = s.named[name]; old != nil {
		delete(s.named, name)
		s.tree.Delete(old)
	}
	return old
}

// Get implements Lister.
func (x *index[T]) Get(name string) (*Object[T], bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	o, ok := x.named[name]
	return o, ok
}

// List implements Lister.
func (x *index[T]) List() []*Object[T] {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]*Object[T], 0, len(x.named))
	x.tree.Ascend(func(o *Object[T]) bool {
		list = append(list, o)
		return true
	})
	return list
}

// ListPrefix implements Lister.
func (x *index[T]) ListPrefix(prefix string) []*Object[T] {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []*Object[T]
	x.tree.AscendGreaterOrEqual(&Object[T]{Name: prefix}, func(o *Object[T]) bool {
		if !strings.HasPrefix(o.Name, prefix) {
			return false
		}
		list = append(list, o)
		return true
	})
	return list
}

// Len implements Lister.
func (x *index[T]) Len() int {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.named)
}
