// Package cache keeps what lies below an etcd prefix in memory, decoded, by one listing and one watch.
package cache

import (
	"strings"
	"sync"

	"github.com/google/btree"

	"github.com/fleet-starter/fleet/internal/store"
)

// Object is one stored object. It is immutable once published: many readers share it.
type Object[T any] struct {
	// Name is the key without its collection's prefix.
	Name string
	Key  string
	// Value is what the collection's codec made of the stored bytes.
	Value T
	// Err says why the bytes could not be decoded. Value is zero then and Raw holds the bytes; otherwise Raw is nil.
	Err            error
	Raw            []byte
	CreateRevision int64
	ModRevision    int64
	// Lease is the lease that the key is under, or 0.
	Lease store.LeaseID
}

// Event is one change of one object. Old == nil: it is new. New == nil: it was deleted.
type Event[T any] struct {
	Name     string
	Old, New *Object[T]
	// Revision is that of the change. After a new listing, which does not tell when something was deleted,
	// a deletion has the listing's.
	Revision int64
}

// Lister reads a collection. Readers never wait for etcd.
type Lister[T any] interface {
	// Get returns the object of that name.
	Get(name string) (*Object[T], bool)
	// List returns all objects, sorted by name.
	List() []*Object[T]
	// ListPrefix returns the objects whose names begin with prefix, sorted, at a cost proportional to their number.
	ListPrefix(prefix string) []*Object[T]
	// Len returns how many objects there are.
	Len() int
}

// index holds objects sorted by name.
type index[T any] struct {
	mu   *sync.RWMutex // the reflector's: a batch of changes is seen whole or not at all
	tree *btree.BTreeG[*Object[T]]
}

func newTree[T any]() *btree.BTreeG[*Object[T]] {
	return btree.NewG(32, func(a, b *Object[T]) bool { return a.Name < b.Name })
}

// Get implements Lister.
func (x *index[T]) Get(name string) (*Object[T], bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.tree.Get(&Object[T]{Name: name})
}

// List implements Lister.
func (x *index[T]) List() []*Object[T] {
	x.mu.RLock()
	defer x.mu.RUnlock()
	list := make([]*Object[T], 0, x.tree.Len())
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
	return x.tree.Len()
}
