package store

import (
	"context"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// DefaultPageSize is the number of keys that List returns if ListOptions has no limit.
const DefaultPageSize = 1000

// Get implements Interface.
func (c *Client) Get(ctx context.Context, key string) (kv KV, ok bool, revision int64, err error) {
	err = c.call(ctx, "get", key, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Get(ctx, key)
		if err != nil {
			return err
		}
		revision = resp.Header.Revision
		if ok = len(resp.Kvs) == 1; ok {
			kv = kvOf(resp.Kvs[0])
		}
		return nil
	})
	return kv, ok, revision, err
}

// List implements Interface.
func (c *Client) List(ctx context.Context, prefix string, opts ListOptions) (Page, error) {
	limit := opts.Limit
	if limit <= 0 {
		limit = DefaultPageSize
	}
	from, end := max(prefix, opts.From), clientv3.GetPrefixRangeEnd(prefix)
	if opts.Before != "" {
		end = min(end, opts.Before)
	}
	if opts.After != "" {
		from = opts.After + "\x00"
	}
	etcdOpts := []clientv3.OpOption{
		clientv3.WithRange(end),
		clientv3.WithLimit(limit),
		clientv3.WithRev(opts.Revision),
	}
	if opts.KeysOnly {
		etcdOpts = append(etcdOpts, clientv3.WithKeysOnly())
	}
	if opts.ChangedAfter > 0 {
		etcdOpts = append(etcdOpts, clientv3.WithMinModRev(opts.ChangedAfter+1))
	}
	var page Page
	err := c.call(ctx, "list", prefix, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Get(ctx, from, etcdOpts...)
		if err != nil {
			return err
		}
		page.Revision = resp.Header.Revision
		if opts.Revision != 0 {
			page.Revision = opts.Revision
		}
		page.More, page.Count = resp.More, resp.Count
		page.KVs = make([]KV, len(resp.Kvs))
		for i, kv := range resp.Kvs {
			page.KVs[i] = kvOf(kv)
			if opts.KeysOnly {
				page.KVs[i].Lease = 0 // the same for every version of etcd
			}
		}
		return nil
	})
	return page, err
}

// Commit implements Interface.
func (c *Client) Commit(ctx context.Context, txn Txn) (revision int64, err error) {
	what, key := "write", ""
	if len(txn.Ops) > 0 {
		key = txn.Ops[0].Key
	}
	if n := len(txn.Ops) - 1; n > 0 {
		key = fmt.Sprintf("%s and %d more", key, n)
	}
	compares, changes := etcdTxn(txn)
	var otherwise []clientv3.Op
	if txn.Fence != (Fence{}) {
		otherwise = append(otherwise, clientv3.OpGet(txn.Fence.Key, clientv3.WithKeysOnly()))
	}
	var refused error
	err = c.call(ctx, what, key, func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Txn(ctx).If(compares...).Then(changes...).Else(otherwise...).Commit()
		if err != nil {
			return err
		}
		revision = resp.Header.Revision
		if !resp.Succeeded {
			refused = ErrConflict
			if len(otherwise) > 0 {
				leader := resp.Responses[0].GetResponseRange().Kvs
				if len(leader) == 0 || leader[0].CreateRevision != txn.Fence.CreateRevision {
					refused = ErrFenced
				}
			}
		}
		return nil
	})
	if err == nil && refused != nil {
		err = fmt.Errorf("%s %s: %w", what, key, refused)
	}
	if err != nil {
		return 0, err
	}
	return revision, nil
}

func etcdTxn(txn Txn) (compares []clientv3.Cmp, changes []clientv3.Op) {
	compares = make([]clientv3.Cmp, 0, 1+len(txn.Ops))
	if txn.Fence != (Fence{}) {
		compares = append(compares, clientv3.Compare(clientv3.CreateRevision(txn.Fence.Key), "=", txn.Fence.CreateRevision))
	}
	changes = make([]clientv3.Op, 0, len(txn.Ops))
	for _, op := range txn.Ops {
		switch op.If.kind {
		case kindAbsent:
			compares = append(compares, clientv3.Compare(clientv3.ModRevision(op.Key), "=", 0))
		case kindUnchanged:
			compares = append(compares, clientv3.Compare(clientv3.ModRevision(op.Key), "=", op.If.revision))
		case kindUnleased:
			compares = append(compares, clientv3.Compare(clientv3.LeaseValue(op.Key), "=", 0))
		}
		switch {
		case op.Check:
		case op.Value == nil:
			changes = append(changes, clientv3.OpDelete(op.Key))
		default:
			changes = append(changes, clientv3.OpPut(op.Key, string(op.Value), clientv3.WithLease(clientv3.LeaseID(op.Lease))))
		}
	}
	return compares, changes
}

func kvOf(kv *mvccpb.KeyValue) KV {
	return KV{
		Key:            string(kv.Key),
		Value:          kv.Value,
		CreateRevision: kv.CreateRevision,
		ModRevision:    kv.ModRevision,
		Lease:          LeaseID(kv.Lease),
	}
}
