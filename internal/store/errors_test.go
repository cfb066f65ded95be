package store

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestKinds: the kinds that errors of etcd, gRPC and contexts map to; none if the caller cancelled.
func TestKinds(t *testing.T) {
	for name, c := range map[string]struct{ err, kind error }{
		"cancelled":                  {fmt.Errorf("x: %w", context.Canceled), nil},
		"cancelled, by gRPC":         {status.Error(codes.Canceled, "x"), nil},
		"too late":                   {fmt.Errorf("x: %w", context.DeadlineExceeded), ErrUnavailable},
		"too late, by gRPC":          {status.Error(codes.DeadlineExceeded, "x"), ErrUnavailable},
		"no leader":                  {rpctypes.ErrNoLeader, ErrUnavailable},
		"no leader, by gRPC":         {rpctypes.ErrGRPCNoLeader, ErrUnavailable},
		"anything else":              {errors.New("x"), ErrUnavailable},
		"compacted":                  {rpctypes.ErrCompacted, ErrCompacted},
		"compacted, by gRPC":         {rpctypes.ErrGRPCCompacted, ErrCompacted},
		"no lease":                   {rpctypes.ErrGRPCLeaseNotFound, ErrLeaseNotFound},
		"full":                       {rpctypes.ErrGRPCNoSpace, ErrNoSpace},
		"wrong password":             {rpctypes.ErrGRPCAuthFailed, ErrDenied},
		"no role for it":             {rpctypes.ErrGRPCPermissionDenied, ErrDenied},
		"an old token":               {rpctypes.ErrGRPCInvalidAuthToken, ErrUnavailable},
		"a proxy wants credentials":  {status.Error(codes.Unauthenticated, "x"), ErrDenied},
		"a proxy forbids it":         {status.Error(codes.PermissionDenied, "x"), ErrDenied},
		"a proxy knows no such call": {status.Error(codes.Unimplemented, "x"), ErrInvalid},
		"larger than gRPC sends":     {status.Error(codes.ResourceExhausted, "x"), ErrInvalid},
		"too many requests":          {rpctypes.ErrGRPCRequestTooManyRequests, ErrUnavailable},
		"too large":                  {rpctypes.ErrGRPCRequestTooLarge, ErrInvalid},
	} {
		require.Equal(t, c.kind, kindOf(c.err), name)
		err := wrap(c.err, "get", "/a")
		require.ErrorIs(t, err, c.err, name)
		if c.kind == nil {
			require.EqualError(t, err, "get /a: "+c.err.Error(), name)
			continue
		}
		require.ErrorIs(t, err, c.kind, name)
		require.EqualError(t, err, "get /a: "+c.kind.Error()+": "+c.err.Error(), name)
	}
	require.NoError(t, wrap(nil, "get", "/a"))
}
