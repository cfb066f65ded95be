package etcdctl

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// Store is what the commands need of etcd.
type Store interface {
	Get(ctx context.Context, key string) (kv store.KV, ok bool, revision int64, err error)
	List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error)
	Commit(ctx context.Context, txn store.Txn) (revision int64, err error)
	Grant(ctx context.Context, ttl time.Duration) (store.LeaseID, error)
	KeepAlive(ctx context.Context, id store.LeaseID) (time.Duration, error)
	Revoke(ctx context.Context, id store.LeaseID) error
	Lease(ctx context.Context, id store.LeaseID) (store.LeaseInfo, error)
}

var _ Store = (*store.Client)(nil)

// found is what is at a path: a key, a directory, or nothing.
type found struct {
	path  string
	key   *store.KV
	dir   bool
	index int64
	// parent is the first directory above it that is missing or a key; fileAbove: it is a key.
	parent    string
	fileAbove bool
}

// clean returns the path in etcd 2's form: absolute, without double slashes and without one at the end.
func clean(key string) string { return path.Clean("/" + key) }

// find looks a path up.
func (r *run) find(key string) (found, error) {
	f := found{path: clean(key)}
	if f.path == "/" {
		page, err := r.store.List(r.ctx, "/", store.ListOptions{Limit: 1, KeysOnly: true})
		f.dir, f.index = true, page.Revision
		return f, err
	}
	kv, ok, revision, err := r.store.Get(r.ctx, f.path)
	if err != nil {
		return f, err
	}
	f.index = revision
	if ok {
		f.key = &kv
	} else if f.dir, err = r.below(f.path); err != nil {
		return f, err
	}
	return f, r.above(&f)
}

// below reports whether there are keys below a path, or its mark as a directory.
func (r *run) below(path string) (bool, error) {
	page, err := r.store.List(r.ctx, path+"/", store.ListOptions{Limit: 1, KeysOnly: true})
	return len(page.KVs) > 0, err
}

// above looks for what is wrong with the directories above a path.
func (r *run) above(f *found) error {
	for i := 1; i < len(f.path); i++ {
		if f.path[i] != '/' {
			continue
		}
		_, isKey, _, err := r.store.Get(r.ctx, f.path[:i])
		if err != nil {
			return err
		}
		if isKey {
			f.parent, f.fileAbove = f.path[:i], true
			return nil
		}
		if f.key != nil || f.dir {
			continue // then the directory exists
		}
		exists, err := r.below(f.path[:i])
		if err != nil {
			return err
		}
		if !exists {
			f.parent = f.path[:i]
			return nil
		}
	}
	return nil
}

func (f *found) exists() bool { return f.key != nil || f.dir }

// missing is the error for a path that should exist.
func (f *found) missing() error {
	switch {
	case f.fileAbove:
		return fail(codeNotDir, f.parent, f.index)
	case f.parent != "":
		return fail(codeKeyNotFound, f.parent, f.index)
	}
	return fail(codeKeyNotFound, f.path, f.index)
}

// writable is an error if a key can't be put at the path.
func (f *found) writable() error {
	switch {
	case f.path == "/":
		return fail(codeRootReadOnly, "/", f.index)
	case f.fileAbove:
		return fail(codeNotDir, f.parent, f.index)
	case f.dir:
		return fail(codeNotFile, f.path, f.index)
	}
	return nil
}

// all lists the keys below a path, marks of directories included.
func (r *run) all(path string) (kvs []store.KV, err error) {
	prefix := strings.TrimSuffix(path, "/") + "/"
	for opts := (store.ListOptions{}); ; {
		page, err := r.store.List(r.ctx, prefix, opts)
		if err != nil {
			return nil, err
		}
		kvs = append(kvs, page.KVs...)
		if !page.More {
			return kvs, nil
		}
		opts.After, opts.Revision = page.KVs[len(page.KVs)-1].Key, page.Revision
	}
}
