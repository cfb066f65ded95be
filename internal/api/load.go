package api

import (
	"context"
	"slices"
	"strings"

	"github.com/fleet-starter/fleet/internal/store"
)

// load reads what q asks for into v, all rows at one revision. next is the key to continue after when the page is full.
func (c *resource[T]) load(ctx context.Context, v view[T], q query[T]) (revision int64, next string, err error) {
	revision, next, err = c.loadObjects(ctx, v, q)
	if err != nil {
		return 0, "", err
	}
	names := v.names()
	if len(names) == 0 {
		return revision, next, nil
	}
	for i, row := range c.rows[1:] {
		if q.name != "" && row.object == nil && !row.shared {
			err = c.loadKey(ctx, v, i+1, q.name)
		} else {
			err = c.scan(ctx, row.prefix, store.ListOptions{Revision: revision}, func(kv store.KV) bool {
				name := strings.TrimPrefix(kv.Key, row.prefix)
				if row.shared || contains(names, row.owner(name)) {
					v.apply(i+1, name, kv, false)
				}
				return true
			})
		}
		if err != nil {
			return 0, "", err
		}
	}
	return revision, next, nil
}

// loadObjects reads the first row: one key, or the matching ones up to the limit.
func (c *resource[T]) loadObjects(ctx context.Context, v view[T], q query[T]) (revision int64, next string, err error) {
	prefix, revision := c.rows[0].prefix, q.revision
	take := func(kv store.KV) bool {
		name := strings.TrimPrefix(kv.Key, prefix)
		v.apply(0, name, kv, false)
		if object, ok := v.object(name); !ok || !q.match(object) {
			v.forget(name)
			return false
		}
		return true
	}
	if q.name != "" && revision == 0 {
		kv, ok, revision, err := c.store.Get(ctx, prefix+q.name)
		if err == nil && ok {
			take(kv)
		}
		return revision, "", err
	}
	if q.name != "" { // one key at a past revision
		page, err := c.store.List(ctx, prefix+q.name, store.ListOptions{Limit: 1, Revision: revision})
		if err == nil && len(page.KVs) == 1 && page.KVs[0].Key == prefix+q.name {
			take(page.KVs[0])
		}
		return revision, "", err
	}
	taken, last := 0, ""
	opts := store.ListOptions{Revision: revision, After: q.after, KeysOnly: c.keysOnly}
	revision, more, err := c.pages(ctx, prefix+c.rows[0].below, opts, func(kv store.KV) bool {
		last = kv.Key
		if take(kv) {
			taken++
		}
		return q.limit == 0 || taken < q.limit
	})
	if !more {
		last = ""
	}
	return revision, last, err
}

func (c *resource[T]) loadKey(ctx context.Context, v view[T], i int, name string) error {
	kv, ok, _, err := c.store.Get(ctx, c.rows[i].prefix+name)
	if err == nil && ok {
		v.apply(i, name, kv, false)
	}
	return err
}

// scan calls f with every key below prefix until f returns false.
func (c *resource[T]) scan(ctx context.Context, prefix string, opts store.ListOptions, f func(store.KV) bool) error {
	_, _, err := c.pages(ctx, prefix, opts, f)
	return err
}

// pages is like scan and also returns the revision read at, and whether there are keys after the last one that f saw.
func (c *resource[T]) pages(ctx context.Context, prefix string, opts store.ListOptions, f func(store.KV) bool) (revision int64, more bool, err error) {
	for {
		page, err := c.store.List(ctx, prefix, opts)
		if err != nil {
			return 0, false, err
		}
		if opts.Revision == 0 {
			opts.Revision = page.Revision
		}
		for i, kv := range page.KVs {
			if !f(kv) {
				return opts.Revision, page.More || i+1 < len(page.KVs), nil
			}
			opts.After = kv.Key
		}
		if !page.More || len(page.KVs) == 0 {
			return opts.Revision, false, nil
		}
	}
}

// owner returns the object that a key's name belongs to.
func (r keyRange) owner(name string) string {
	if r.object == nil {
		return name
	}
	return r.object(name)
}

func contains(sorted []string, name string) bool {
	_, found := slices.BinarySearch(sorted, name)
	return found
}
