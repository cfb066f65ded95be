package store

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// etcd's client replaces gRPC's reason for a call that reached its deadline (connection refused, unknown certificate
// authority, no such host) by a bare "context deadline exceeded". These interceptors sit below it and record the
// reason.

func (c *Client) noteUnary(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	c.note(err)
	return err
}

func (c *Client) noteStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := open(ctx, desc, cc, method, opts...)
	c.note(err)
	return stream, err
}

func (c *Client) note(err error) {
	if err == nil {
		c.trouble.Store(nil)
		return
	}
	message := status.Convert(err).Message()
	c.trouble.Store(&message)
}

// explain adds the recorded reason to an error that lacks one.
func (c *Client) explain(err error) error {
	if trouble := c.trouble.Load(); trouble != nil && errors.Is(err, context.DeadlineExceeded) && *trouble != err.Error() {
		return fmt.Errorf("%w: %s", err, *trouble)
	}
	return err
}
