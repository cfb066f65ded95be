package source

import (
	"context"
	"strings"
	"sync/atomic"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/store"
)

// counting counts the commits that are read.
type counting struct {
	Repositories
	read atomic.Int64
}

func (c *counting) Read(ctx context.Context, spec *v1.SourceSpec, head Head) (v1.SourceCommit, []File, error) {
	c.read.Add(1)
	return c.Repositories.Read(ctx, spec, head)
}

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
