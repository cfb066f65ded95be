package store

import (
	"context"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Grant implements Interface. etcd counts in whole seconds: ttl is rounded up.
func (c *Client) Grant(ctx context.Context, ttl time.Duration) (id LeaseID, err error) {
	seconds := int64((ttl + time.Second - 1) / time.Second)
	err = c.call(ctx, "grant lease of", ttl.String(), func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Grant(ctx, seconds)
		if err == nil {
			id = LeaseID(resp.ID)
		}
		return err
	})
	return id, err
}

// KeepAlive implements Interface.
func (c *Client) KeepAlive(ctx context.Context, id LeaseID) (left time.Duration, err error) {
	err = c.call(ctx, "keep alive lease", id.String(), func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.KeepAliveOnce(ctx, clientv3.LeaseID(id))
		if err == nil {
			left = time.Duration(resp.TTL) * time.Second
		}
		return err
	})
	return left, err
}

// Revoke implements Interface.
func (c *Client) Revoke(ctx context.Context, id LeaseID) error {
	return c.call(ctx, "revoke lease", id.String(), func(ctx context.Context, etcd *clientv3.Client) error {
		_, err := etcd.Revoke(ctx, clientv3.LeaseID(id))
		return err
	})
}

// String formats the ID in hexadecimal, as etcdctl does.
func (id LeaseID) String() string { return fmt.Sprintf("%x", int64(id)) }
