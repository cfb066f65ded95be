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

// byCause maps etcd's own errors. What is not listed is decided by its gRPC code, in kindOf.
var byCause = []struct{ cause, kind error }{
	{rpctypes.ErrCompacted, ErrCompacted},
	{rpctypes.ErrLeaseNotFound, ErrLeaseNotFound},
	{rpctypes.ErrNoSpace, ErrNoSpace},
	{rpctypes.ErrAuthFailed, ErrDenied},
	{rpctypes.ErrPermissionDenied, ErrDenied},
	{rpctypes.ErrUserEmpty, ErrDenied},
	{rpctypes.ErrUserNotFound, ErrDenied},
	{rpctypes.ErrInvalidAuthToken, ErrUnavailable}, // the client asks for a new one
	{rpctypes.ErrAuthOldRevision, ErrUnavailable},
	{rpctypes.ErrTooManyOps, ErrInvalid},
	{rpctypes.ErrDuplicateKey, ErrInvalid},
	{rpctypes.ErrRequestTooLarge, ErrInvalid},
	{rpctypes.ErrTooManyRequests, ErrUnavailable},
	{rpctypes.ErrFutureRev, ErrUnavailable}, // a member that lags behind
	{rpctypes.ErrCorrupt, ErrUnavailable},
}

// wrap gives an error of the client one of the package's kinds and says what was being done. The cause is
// kept, so that errors.Is finds both. A caller who cancelled gets context.Canceled, which is no kind.
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
		codes.ResourceExhausted: // larger than gRPC sends; quotas are in the table
		return ErrInvalid
	}
	return ErrUnavailable
}

// watchError undoes what a cancelled watch does to its reason: the code is lost, the text is left.
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
