package store

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
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

// LeaseInfo describes a lease.
type LeaseInfo struct {
	// Granted is the time that a renewal gives it, Left what remains of it.
	Granted, Left time.Duration
	// Keys are the keys that are attached to it.
	Keys []string
}

// Lease returns a lease, or ErrLeaseNotFound if it has ended.
func (c *Client) Lease(ctx context.Context, id LeaseID) (info LeaseInfo, err error) {
	err = c.call(ctx, "look up lease", id.String(), func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.TimeToLive(ctx, clientv3.LeaseID(id), clientv3.WithAttachedKeys())
		switch {
		case err != nil:
			return err
		case resp.TTL <= 0: // etcd reports -1, and no error
			return rpctypes.ErrLeaseNotFound
		}
		info = LeaseInfo{Granted: time.Duration(resp.GrantedTTL) * time.Second, Left: time.Duration(resp.TTL) * time.Second}
		for _, key := range resp.Keys {
			info.Keys = append(info.Keys, string(key))
		}
		return nil
	})
	return info, err
}
