package etcdctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// attempts is how often a command is tried again when someone else changes its key at the same time.
const attempts = 20

// run is one command.
type run struct {
	ctx   context.Context
	cmd   *Command
	store Store
	in    io.Reader
	out   io.Writer
	now   func() time.Time
}

// commands are the implementations of verbs.
var commands = map[string]func(*run) error{
	"set": (*run).set, "mk": (*run).mk, "update": (*run).update, "rm": (*run).rm, "get": (*run).get, "ls": (*run).ls,
	"mkdir": (*run).mkdir, "setdir": (*run).setdir, "updatedir": (*run).updatedir, "rmdir": (*run).rmdir,
}

// do runs the command, again if its key changed meanwhile.
func (r *run) do() error {
	err := error(nil)
	for range attempts {
		if err = commands[r.cmd.Verb](r); !errors.Is(err, store.ErrConflict) {
			return err
		}
	}
	return err
}

// key is the first argument.
func (r *run) key() (string, error) {
	if len(r.cmd.Args) == 0 {
		return "", usageError{"key required"}
	}
	return r.cmd.Args[0], nil
}

// value is the second argument, or standard input.
func (r *run) value() (string, error) {
	if len(r.cmd.Args) > 1 {
		return r.cmd.Args[1], nil
	}
	data, err := io.ReadAll(r.in)
	if err != nil || len(data) == 0 {
		return "", usageError{"value required"}
	}
	r.cmd.Args = append(r.cmd.Args, string(data)) // for the next attempt
	return string(data), nil
}

// target is the key of the command, looked up, and its value.
func (r *run) target() (f found, value string, err error) {
	key, err := r.key()
	if err == nil {
		value, err = r.value()
	}
	if err == nil {
		f, err = r.find(key)
	}
	return f, value, err
}

func (r *run) set() error {
	f, value, err := r.target()
	if err == nil {
		err = f.writable()
	}
	if err == nil {
		err = r.compare(&f)
	}
	if err != nil {
		return err
	}
	action := "set"
	if r.cmd.SwapValue != "" || r.cmd.SwapIndex != 0 {
		action = "compareAndSwap"
	}
	return r.put(action, &f, f.path, value)
}

func (r *run) mk() error {
	f, value, err := r.target()
	if err != nil {
		return err
	}
	if r.cmd.InOrder {
		switch {
		case f.key != nil:
			return fail(codeNotDir, f.path, f.index)
		case f.fileAbove:
			return fail(codeNotDir, f.parent, f.index)
		}
		return r.put("create", &found{index: f.index}, fmt.Sprintf("%s/%020d", f.path, f.index+1), value)
	}
	switch err := f.writable(); {
	case f.path == "/":
		return err
	case f.exists():
		return fail(codeNodeExist, f.path, f.index)
	case err != nil:
		return err
	}
	return r.put("create", &f, f.path, value)
}

func (r *run) update() error {
	f, value, err := r.target()
	switch {
	case err != nil:
		return err
	case f.path == "/":
		return f.writable()
	case !f.exists():
		return f.missing()
	case f.dir:
		return f.writable()
	}
	return r.put("update", &f, f.path, value)
}

// compare checks the conditions on the current key.
func (r *run) compare(f *found) error {
	if r.cmd.SwapValue == "" && r.cmd.SwapIndex == 0 {
		return nil
	}
	if f.key == nil {
		return f.missing()
	}
	if want := r.cmd.SwapValue; want != "" && want != string(f.key.Value) {
		return fail(codeTestFailed, fmt.Sprintf("[%s != %s]", want, f.key.Value), f.index)
	}
	if want := r.cmd.SwapIndex; want != 0 && want != f.key.ModRevision {
		return fail(codeTestFailed, fmt.Sprintf("[%d != %d]", want, f.key.ModRevision), f.index)
	}
	return nil
}

// put writes a key that is as it was found, and prints it.
func (r *run) put(action string, f *found, path, value string) error {
	lease, renewed, err := r.lease(f.key)
	if err != nil {
		return err
	}
	answer := Response{Action: action, index: f.index}
	if f.key != nil {
		if answer.Prev, err = r.node(f.key); err != nil {
			return err
		}
	}
	written := store.KV{Key: path, Value: []byte(value), Lease: lease}
	if renewed && string(f.key.Value) == value { // the lease was all there was to write
		written.CreateRevision, written.ModRevision = f.key.CreateRevision, f.key.ModRevision
	} else {
		condition := store.Absent()
		if f.key != nil {
			condition = store.Unchanged(f.key.ModRevision)
		}
		revision, err := r.store.Commit(r.ctx, store.Txn{Ops: []store.Op{{Key: path, Value: written.Value, Lease: lease, If: condition}}})
		if err != nil {
			if lease != 0 && !renewed {
				_ = r.store.Revoke(r.ctx, lease) // it holds nothing, and ends by itself otherwise
			}
			return err
		}
		written.CreateRevision, written.ModRevision, answer.index = revision, revision, revision
	}
	if answer.Node, err = r.node(&written); err != nil {
		return err
	}
	return answer.print(r.out, r.cmd.Output)
}

// lease returns the lease for the key: the one it has, renewed, if that is of the same TTL and of this key alone, else a new one;
// none without --ttl. A lease that a key no longer has ends by itself: it may be another program's.
func (r *run) lease(old *store.KV) (id store.LeaseID, renewed bool, err error) {
	want := time.Duration(r.cmd.TTL) * time.Second
	if want <= 0 {
		return 0, false, nil
	}
	if old != nil && old.Lease != 0 {
		info, err := r.store.Lease(r.ctx, old.Lease)
		if err == nil && info.Granted == want && len(info.Keys) == 1 {
			_, err = r.store.KeepAlive(r.ctx, old.Lease)
			if err == nil {
				return old.Lease, true, nil
			}
		}
		if err != nil && !errors.Is(err, store.ErrLeaseNotFound) {
			return 0, false, err
		}
	}
	id, err = r.store.Grant(r.ctx, want)
	return id, false, err
}

func (r *run) get() error {
	key, err := r.key()
	if err != nil {
		return err
	}
	f, err := r.find(key)
	switch {
	case err != nil:
		return err
	case f.dir && f.path == "/":
		return errDirectory("")
	case f.dir:
		return errDirectory(f.path)
	case f.key == nil:
		return f.missing()
	}
	node, err := r.node(f.key)
	if err != nil {
		return err
	}
	return (&Response{Action: "get", Node: node, index: f.index}).print(r.out, r.cmd.Output)
}

func (r *run) ls() error {
	key := "/"
	if len(r.cmd.Args) > 0 {
		key = r.cmd.Args[0]
	}
	f, err := r.find(key)
	switch {
	case err != nil:
		return err
	case !f.exists():
		return f.missing()
	}
	answer := Response{Action: "get", index: f.index}
	if f.dir {
		kvs, err := r.all(f.path)
		if err != nil {
			return err
		}
		if answer.Node, err = r.tree(f.path, kvs, r.cmd.Recursive); err != nil {
			return err
		}
	} else if answer.Node, err = r.node(f.key); err != nil {
		return err
	}
	if r.cmd.Output != outputSimple {
		return answer.print(r.out, r.cmd.Output)
	}
	if !f.dir {
		_, err := fmt.Fprintln(r.out, f.path)
		return err
	}
	for _, n := range answer.Node.Nodes {
		n.list(r.out, r.cmd.Slashes)
	}
	return nil
}
