package storetest

import (
	"context"

	"github.com/fleet-starter/fleet/internal/store"
)

// Refusing is a store that refuses every transaction with one of these keys in it, with the key's error.
type Refusing struct {
	store.Interface
	Keys map[string]error
}

// Commit returns the error of the first key that is refused.
func (r Refusing) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	for _, op := range txn.Ops {
		if err := r.Keys[op.Key]; err != nil {
			return 0, err
		}
	}
	return r.Interface.Commit(ctx, txn)
}
