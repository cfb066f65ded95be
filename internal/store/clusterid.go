package store

import (
	"context"
	"strconv"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ClusterID returns the ID that the members of etcd have agreed on. It is another one after etcd was restored from a snapshot.
func (c *Client) ClusterID(ctx context.Context) (id string, err error) {
	err = c.call(ctx, "ask for the ID of", "the cluster", func(ctx context.Context, etcd *clientv3.Client) error {
		resp, err := etcd.Get(ctx, "cluster", clientv3.WithCountOnly())
		if err == nil {
			id = strconv.FormatUint(resp.Header.ClusterId, 16)
		}
		return err
	})
	return id, err
}
