package etcdctl

import (
	"github.com/fleet-starter/fleet/internal/store"
)

func (r *run) rm() error {
	f, err := existing(r.findArg())
	switch {
	case err != nil:
		return err
	case f.dir && !r.cmd.Dir && !r.cmd.Recursive:
		return fail(codeNotFile, f.path, f.index)
	case f.dir:
		return r.removeDir(&f, r.cmd.Recursive)
	}
	if err := r.compare(&f); err != nil {
		return err
	}
	return r.removeKey(&f)
}

func (r *run) rmdir() error {
	f, err := existing(r.findArg())
	switch {
	case err != nil:
		return err
	case f.key != nil:
		return r.removeKey(&f)
	}
	return r.removeDir(&f, false)
}

func (r *run) findArg() (found, error) {
	key, err := r.key()
	if err != nil {
		return found{}, err
	}
	return r.find(key)
}

// existing refuses the root, which cannot be changed, and what does not exist.
func existing(f found, err error) (found, error) {
	switch {
	case err != nil:
		return f, err
	case f.path == "/":
		return f, fail(codeRootReadOnly, "/", f.index)
	case !f.exists():
		return f, f.missing()
	}
	return f, nil
}

// removeKey deletes a key that is as it was found.
func (r *run) removeKey(f *found) error {
	prev, err := r.node(f.key)
	if err != nil {
		return err
	}
	revision, err := r.store.Commit(r.ctx, store.Txn{Ops: []store.Op{{Key: f.path, If: store.Unchanged(f.key.ModRevision)}}})
	if err != nil {
		return err
	}
	action := "delete"
	if r.cmd.SwapValue != "" || r.cmd.SwapIndex != 0 {
		action = "compareAndDelete"
	}
	node := &Node{Key: f.path, CreatedIndex: f.key.CreateRevision, ModifiedIndex: revision}
	return (&Response{Action: action, Node: node, Prev: prev, index: revision}).print(r.out, r.cmd.Output)
}

// removeDir deletes the mark of an empty directory, or everything below it.
func (r *run) removeDir(f *found, all bool) error {
	kvs, err := r.all(f.path)
	if err != nil {
		return err
	}
	empty := len(kvs) == 1 && kvs[0].Key == f.path+"/"
	if !all && !empty {
		return fail(codeDirNotEmpty, f.path, f.index)
	}
	for len(kvs) > 0 {
		n := min(len(kvs), store.MaxTxnOps)
		txn := store.Txn{}
		for _, kv := range kvs[:n] {
			txn.Ops = append(txn.Ops, store.Op{Key: kv.Key})
		}
		revision, err := r.store.Commit(r.ctx, txn)
		if err != nil {
			return err
		}
		f.index = revision
		kvs = kvs[n:]
	}
	if r.cmd.Output == outputSimple {
		return nil
	}
	node := &Node{Key: f.path, Dir: true, ModifiedIndex: f.index}
	return (&Response{Action: "delete", Node: node, Prev: &Node{Key: f.path, Dir: true}, index: f.index}).print(r.out, r.cmd.Output)
}

func (r *run) mkdir() error {
	f, err := r.findDir()
	switch {
	case err != nil:
		return err
	case f.path == "/":
		return f.writable()
	case f.exists():
		return fail(codeNodeExist, f.path, f.index)
	case f.fileAbove:
		return fail(codeNotDir, f.parent, f.index)
	}
	return r.mark(&f)
}

func (r *run) setdir() error {
	f, err := r.findDir()
	if err == nil {
		err = f.writable()
	}
	if err != nil {
		return err
	}
	return r.mark(&f)
}

func (r *run) updatedir() error {
	f, err := existing(r.findDir())
	switch {
	case err != nil:
		return err
	case f.key != nil:
		return fail(codeNotDir, f.path, f.index)
	}
	return nil // without a TTL there is nothing to update
}

// findDir refuses a TTL: a lease would end the mark, and leave what is below.
func (r *run) findDir() (found, error) {
	if r.cmd.TTL > 0 {
		return found{}, usageError{"--ttl of a directory is not supported over etcd 3: give each key below it a --ttl"}
	}
	return r.findArg()
}

// mark stores a directory, with those above it, in place of a key if there is one.
func (r *run) mark(f *found) error {
	var ops []store.Op
	for i := 1; i <= len(f.path); i++ {
		if i < len(f.path) && f.path[i] != '/' {
			continue
		}
		_, marked, _, err := r.store.Get(r.ctx, f.path[:i]+"/")
		if err != nil {
			return err
		}
		if !marked {
			ops = append(ops, store.Op{Key: f.path[:i] + "/", Value: []byte{}, If: store.Absent()})
		}
	}
	if f.key != nil {
		ops = append(ops, store.Op{Key: f.path, If: store.Unchanged(f.key.ModRevision)})
	}
	revision, err := r.store.Commit(r.ctx, store.Txn{Ops: ops})
	if err != nil || r.cmd.Output == outputSimple {
		return err
	}
	node := &Node{Key: f.path, Dir: true, CreatedIndex: revision, ModifiedIndex: revision}
	return (&Response{Action: "set", Node: node, index: revision}).print(r.out, r.cmd.Output)
}
