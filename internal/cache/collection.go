package cache

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Collection is a row of the keyspace as cached by a Reflector.
type Collection[T any] struct {
	index[T]
	row      keyspace.Collection[T]
	handlers []func([]Event[T])
	r        *Reflector

	pending []Event[T]  // applied, not yet reported
	next    *objects[T] // content of the new listing so far

	// ignored are the keys below the prefix that no object is made of, nextIgnored those of a new listing.
	ignored, nextIgnored ignoredKeys

	// last is the value decoded from lastRaw. Consecutive units of an app often have equal contents, as do placements.
	last    T
	lastRaw []byte
}

var _ Lister[string] = (*Collection[string])(nil)

// Register makes r cache the row c. Call it before Run. It panics if the row is outside the reflector's prefix or
// overlaps a registered one.
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

// OnChange adds a handler for every change, in order. It is called from the reflector's goroutine, when the collection
// already has the changes, and must neither block nor wait for the reflector. After a new listing it gets only the
// differences. Call it before Run.
func (c *Collection[T]) OnChange(handler func([]Event[T])) { c.handlers = append(c.handlers, handler) }

// row is a Collection of any type as the reflector uses it, from its own goroutine. Methods that change the tree
// (apply, relisted) run under its lock.
type row interface {
	keyPrefix() string
	// have returns the revision of a key's last known change, 0 if the key does not exist. It knows all keys below the
	// prefix, including ignored ones; count is their number.
	have(key string) int64
	count() int
	// apply applies one change and reports whether handlers have to be called.
	apply(e store.Event) bool
	beginListing()
	listed(kv store.KV)
	// relisted switches to the listing of that revision and returns the number of changes to report.
	relisted(revision int64) int
	// tell calls the handlers with the first n pending changes.
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

// ours reports whether a key is an object of the row; if not, it reports the key as ignored.
func ours[T any](r *Reflector, row keyspace.Collection[T], kv store.KV) bool {
	_, named := row.Name(kv.Key)
	switch {
	case !named:
		r.ignored(kv, NoSuchName, "ignored: the name is not valid for this prefix")
	case row.Leased() && kv.Lease == 0:
		r.ignored(kv, NoLease, "ignored: the key has no lease, so no process maintains it")
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
		c.pending = nil // handlers may keep the slice
	}
	for _, handle := range c.handlers {
		handle(events)
	}
}

// object decodes a value. An undecodable one is kept, with the reason.
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

// decode recovers from a codec that panics on a value put by hand.
func (c *Collection[T]) decode(data []byte) (value T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding panicked: %v", p)
		}
	}()
	return c.row.Decode(data)
}
