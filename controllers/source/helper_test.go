package source

import (
	"context"
	"strings"
	"sync/atomic"

	"github.com/fleet-starter/fleet/internal/store"
)

// stopping is a store that refuses the writes of apps after so many.
type stopping struct {
	store.Interface
	after   atomic.Int64
	refused atomic.Bool
}

func (s *stopping) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	for _, op := range txn.Ops {
		if strings.Contains(op.Key, "/apps/") && s.after.Load() > 0 {
			if s.after.Add(-1) == 0 {
				s.refused.Store(true)
				s.after.Store(-1)
			}
			break
		}
	}
	if s.after.Load() < 0 {
		return 0, store.ErrUnavailable
	}
	return s.Interface.Commit(ctx, txn)
}
