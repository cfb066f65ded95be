package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// byCause maps etcd's own errors. Others are mapped by their gRPC code, in kindOf.
var byCause = []struct{ cause, kind error }{
	{rpctypes.ErrCompacted, ErrCompacted},
	{rpctypes.ErrLeaseNotFound, ErrLeaseNotFound},
	{rpctypes.ErrNoSpace, ErrNoSpace},
	{rpctypes.ErrAuthFailed, ErrDenied},
	{rpctypes.ErrPermissionDenied, ErrDenied},
	{rpctypes.ErrUserEmpty, ErrDenied},
	{rpctypes.ErrUserNotFound, ErrDenied},
	{rpctypes.ErrInvalidAuthToken, ErrUnavailable}, // the client requests a new one
	{rpctypes.ErrAuthOldRevision, ErrUnavailable},
	{rpctypes.ErrTooManyOps, ErrInvalid},
	{rpctypes.ErrDuplicateKey, ErrInvalid},
	{rpctypes.ErrRequestTooLarge, ErrInvalid},
	{rpctypes.ErrTooManyRequests, ErrUnavailable},
	{rpctypes.ErrFutureRev, ErrUnavailable}, // the member lags behind
	{rpctypes.ErrCorrupt, ErrUnavailable},
}

// wrap adds one of the package's error kinds and what was being done. The cause is kept, so that errors.Is finds both.
// If the caller cancelled, the error is context.Canceled without a kind.
func wrap(err error, what, key string) error {
	if err == nil {
		return nil
	}
	if kind := kindOf(err); kind != nil {
		return fmt.Errorf("%s %s: %w: %w", what, key, kind, err)
	}
	return fmt.Errorf("%s %s: %w", what, key, err)
}

func kindOf(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return ErrUnavailable
	}
	etcdErr := rpctypes.Error(err)
	for _, row := range byCause {
		if errors.Is(etcdErr, row.cause) || errors.Is(err, row.cause) {
			return row.kind
		}
	}
	switch codeOf(etcdErr) {
	case codes.Canceled:
		return nil
	case codes.Unauthenticated, codes.PermissionDenied:
		return ErrDenied
	case codes.InvalidArgument, codes.OutOfRange, codes.Unimplemented,
		codes.ResourceExhausted: // larger than gRPC's limit; quotas are in the table
		return ErrInvalid
	}
	return ErrUnavailable
}

// watchError restores the error of a cancelled watch, of which only the text remains, not the code.
func watchError(err error) error {
	for _, row := range byCause {
		if strings.Contains(err.Error(), rpctypes.ErrorDesc(row.cause)) {
			return fmt.Errorf("%w: %w", row.cause, err)
		}
	}
	return err
}

func codeOf(err error) codes.Code {
	var etcdErr rpctypes.EtcdError
	if errors.As(err, &etcdErr) {
		return etcdErr.Code()
	}
	return status.Code(err)
}
