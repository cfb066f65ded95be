package etcdctl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// Node is a key or a directory in etcd 2's JSON.
type Node struct {
	Key           string     `json:"key"`
	Dir           bool       `json:"dir,omitempty"`
	Value         string     `json:"value"`
	Nodes         []*Node    `json:"nodes"`
	CreatedIndex  int64      `json:"createdIndex"`
	ModifiedIndex int64      `json:"modifiedIndex"`
	Expiration    *time.Time `json:"expiration,omitempty"`
	TTL           int64      `json:"ttl,omitempty"`
}

// Response is the answer to a command in etcd 2's JSON.
type Response struct {
	Action string `json:"action"`
	Node   *Node  `json:"node"`
	Prev   *Node  `json:"prevNode"`
	index  int64
}

// node shows a key. A TTL costs one look-up, which the simple output does without.
func (r *run) node(kv *store.KV) (*Node, error) {
	n := &Node{Key: kv.Key, Value: string(kv.Value), CreatedIndex: kv.CreateRevision, ModifiedIndex: kv.ModRevision}
	if kv.Lease == 0 || r.cmd.Output == outputSimple {
		return n, nil
	}
	info, err := r.store.Lease(r.ctx, kv.Lease)
	if errors.Is(err, store.ErrLeaseNotFound) {
		return n, nil // it ends just now
	}
	if err == nil {
		left := min(info.Left+time.Second, info.Granted) // etcd 3 rounds down, etcd 2 up
		until := r.now().Add(left).UTC()
		n.Expiration, n.TTL = &until, int64(left/time.Second)
	}
	return n, err
}

// tree arranges keys below a directory. Keys and directories that begin with "_" are hidden.
func (r *run) tree(dir string, kvs []store.KV, recursive bool) (*Node, error) {
	root := &Node{Key: dir, Dir: true}
	known := map[string]*Node{dir: root}
	for i := range kvs {
		rest := strings.TrimPrefix(strings.TrimPrefix(kvs[i].Key, dir), "/")
		parts := strings.Split(rest, "/")
		if slices.ContainsFunc(parts, func(p string) bool { return strings.HasPrefix(p, "_") }) {
			continue
		}
		parent := root
		for depth, part := range parts {
			if part == "" || depth > 0 && !recursive {
				break // the mark of a directory
			}
			key := strings.TrimSuffix(parent.Key, "/") + "/" + part
			n := known[key]
			if n == nil {
				n = &Node{Key: key, Dir: true, CreatedIndex: kvs[i].CreateRevision, ModifiedIndex: kvs[i].ModRevision}
				if depth == len(parts)-1 {
					var err error
					if n, err = r.node(&kvs[i]); err != nil {
						return nil, err
					}
				}
				known[key] = n
				parent.Nodes = append(parent.Nodes, n)
			}
			parent = n
		}
	}
	return root, nil
}

// print writes an answer in the format that was asked for.
func (a *Response) print(out io.Writer, format string) error {
	switch format {
	case outputJSON:
		line, err := json.Marshal(a)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, string(line))
		return err
	case outputExtended:
		fmt.Fprintf(out, "Key: %s\nCreated-Index: %d\nModified-Index: %d\n", a.Node.Key, a.Node.CreatedIndex, a.Node.ModifiedIndex)
		if a.Prev != nil {
			fmt.Fprintln(out, "PrevNode.Value:", a.Prev.Value)
		}
		_, err := fmt.Fprintf(out, "TTL: %d\nIndex: %d\n", a.Node.TTL, a.index)
		if a.Action != "delete" {
			_, err = fmt.Fprintf(out, "\n%s\n", a.Node.Value)
		}
		return err
	}
	if a.Action == "delete" {
		_, err := fmt.Fprintln(out, "PrevNode.Value:", a.Prev.Value)
		return err
	}
	_, err := fmt.Fprintln(out, a.Node.Value)
	return err
}

// list prints a listing in the simple format.
func (n *Node) list(out io.Writer, slashes bool) {
	if n.Dir && slashes {
		fmt.Fprintln(out, n.Key+"/")
	} else {
		fmt.Fprintln(out, n.Key)
	}
	for _, child := range n.Nodes {
		child.list(out, slashes)
	}
}
