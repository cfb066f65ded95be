package cache

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Collection is one row of the keyspace as a Reflector sees it.
type Collection[T any] struct {
	index[T]
	row      keyspace.Collection[T]
	handlers []func([]Event[T])
	r        *Reflector

	pending []Event[T]  // applied, not yet told
	next    *objects[T] // what a new listing has brought so far

	// ignored are the keys below the prefix of which no object is made, nextIgnored those of a new listing.
	ignored, nextIgnored ignoredKeys

	// last is what lastRaw was decoded to. An app's units come one after the other and say the same, as do placements.
	last    T
	lastRaw []byte
}

var _ Lister[string] = (*Collection[string])(nil)

// Register has r keep the row c. Call it before Run. A row that lies outside the reflector's prefix, or that
// overlaps one that is registered, is a mistake in the program: it panics.
func Register[T any](r *Reflector, c keyspace.Collection[T]) *Collection[T] {
	if !strings.HasPrefix(c.Prefix(), r.prefix) {
		panic(fmt.Sprintf("cache: %s is not below %s", c.Prefix(), r.prefix))
	}
	for _, other := range r.rows {
		if strings.HasPrefix(c.Prefix(), other.keyPrefix()) || strings.HasPrefix(other.keyPrefix(), c.Prefix()) {
			panic(fmt.Sprintf("cache: %s overlaps %s", c.Prefix(), other.keyPrefix()))
		}
	}
	collection := &Collection[T]{index: index[T]{mu: &r.mu, objects: newObjects[T]()}, row: c, r: r}
	r.rows = append(r.rows, collection)
	return collection
}

// OnChange has handler called with every change, in order, from the reflector's goroutine: it must not block
// and must not wait for the reflector. When it is called the collection already has the changes. After a new
// listing it gets the differences only. Call it before Run.
func (c *Collection[T]) OnChange(handler func([]Event[T])) { c.handlers = append(c.handlers, handler) }

// row is what the reflector needs of a Collection of any type, all from its own goroutine. What changes the
// tree (apply, relisted) runs under its lock.
type row interface {
	keyPrefix() string
	// have returns the revision of a key's last change that is known, 0 where the key is not there. It is told of all keys
	// below the prefix, also those that are ignored; count is how many there are.
	have(key string) int64
	count() int
	// apply makes one change and reports whether there is something to tell.
	apply(e store.Event) bool
	beginListing()
	listed(kv store.KV)
	// relisted puts the listing of that revision in place and returns how many changes there are to tell.
	relisted(revision int64) int
	// tell calls the handlers with the first n changes that were not told.
	tell(n int)
}

func (c *Collection[T]) keyPrefix() string { return c.row.Prefix() }

func (c *Collection[T]) have(key string) int64 {
	if name, ok := c.row.Name(key); ok {
		if o := c.named[name]; o != nil {
			return o.ModRevision
		}
	}
	return c.ignored[hashOf(key)]
}

func (c *Collection[T]) count() int { return len(c.named) + len(c.ignored) }

func (c *Collection[T]) apply(e store.Event) bool {
	name, _ := c.row.Name(e.Key)
	isOurs := !e.Deleted && ours(c.r, c.row, e.KV)
	c.ignored.set(e, !e.Deleted && !isOurs)
	if !isOurs {
		old := c.remove(name)
		if old != nil {
			c.pending = append(c.pending, Event[T]{Name: old.Name, Old: old, Revision: e.ModRevision})
		}
		return old != nil
	}
	object := c.object(name, e.KV)
	old := c.put(object)
	c.pending = append(c.pending, Event[T]{Name: object.Name, Old: old, New: object, Revision: e.ModRevision})
	return true
}

// ours tells whether a key is that of an object of the row, and not a stranger's: then it is said that it is ignored.
func ours[T any](r *Reflector, row keyspace.Collection[T], kv store.KV) bool {
	_, named := row.Name(kv.Key)
	switch {
	case !named:
		r.ignored(kv, NoSuchName, "it is ignored, nothing of ours has such a name")
	case row.Leased() && kv.Lease == 0:
		r.ignored(kv, NoLease, "it is ignored, under no lease: nobody is there who keeps it")
	default:
		return true
	}
	return false
}

func (c *Collection[T]) beginListing() { c.next, c.nextIgnored = newObjects[T](), nil }

func (c *Collection[T]) listed(kv store.KV) {
	if !ours(c.r, c.row, kv) {
		c.nextIgnored.set(store.Event{KV: kv}, true)
		return
	}
	name, _ := c.row.Name(kv.Key)
	object := c.named[name]
	if object == nil || object.ModRevision != kv.ModRevision || object.CreateRevision != kv.CreateRevision || c.r.older > 0 {
		object = c.object(name, kv)
	}
	c.next.put(object)
}

func (c *Collection[T]) relisted(revision int64) int {
	old, now := c.objects, c.next
	c.objects, c.next = now, nil
	c.ignored, c.nextIgnored = c.nextIgnored, nil
	old.tree.Ascend(func(o *Object[T]) bool {
		if now.named[o.Name] == nil {
			c.pending = append(c.pending, Event[T]{Name: o.Name, Old: o, Revision: revision})
		}
		return true
	})
	c.pending = slices.Grow(c.pending, max(0, len(now.named)-len(old.named)))
	now.tree.Ascend(func(o *Object[T]) bool {
		if was := old.named[o.Name]; was != o {
			c.pending = append(c.pending, Event[T]{Name: o.Name, Old: was, New: o, Revision: o.ModRevision})
		}
		return true
	})
	return len(c.pending)
}

func (c *Collection[T]) tell(n int) {
	events := c.pending[:n:n]
	if c.pending = c.pending[n:]; len(c.pending) == 0 {
		c.pending = nil // the handlers may keep events
	}
	for _, handle := range c.handlers {
		handle(events)
	}
}

// object decodes a value. What cannot be decoded is kept, with the reason.
func (c *Collection[T]) object(name string, kv store.KV) *Object[T] {
	o := &Object[T]{Name: name, Key: kv.Key, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision, Lease: kv.Lease}
	if len(kv.Value) > 0 && bytes.Equal(kv.Value, c.lastRaw) {
		o.Value = c.last
		return o
	}
	o.Value, o.Err = c.decode(kv.Value)
	if o.Err != nil {
		var zero T
		o.Value, o.Raw = zero, kv.Value
		c.r.ignored(kv, Unreadable, o.Err.Error())
		return o
	}
	c.last, c.lastRaw = o.Value, kv.Value
	return o
}

// decode survives a codec that panics on what somebody put into etcd by hand.
func (c *Collection[T]) decode(data []byte) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding panicked: %v", p)
		}
	}()
	return c.row.Decode(data)
}
