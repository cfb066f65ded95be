package schedule

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// machinesOf counts in how many transactions each machine is.
type machinesOf struct {
	store.Interface
	mu    sync.Mutex
	count map[string]int
}

func (m *machinesOf) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	m.mu.Lock()
	here := map[string]bool{}
	for _, op := range txn.Ops {
		here[strings.Split(op.Key, "/")[3]] = true
	}
	for machine := range here {
		m.count[machine]++
	}
	m.mu.Unlock()
	return m.Interface.Commit(ctx, txn)
}

func TestMachinesHearOfTheirUnitsAtOnce(t *testing.T) {
	s := &machinesOf{Interface: memstore.New(memstore.Options{}), count: map[string]int{}}
	c := &Controller{Options: Options{Store: s}}
	const machines, each = 100, 20
	var groups []store.Group
	for unit := range each {
		for machine := range machines {
			groups = append(groups, store.Group{{Key: fmt.Sprintf("/fleet/placements/m%02d/%d.service", machine, unit), Value: []byte("{}"), If: store.Absent()}})
		}
	}
	_, err := s.Interface.Commit(t.Context(), store.Txn{Ops: []store.Op{groups[1234][0]}}) // somebody was there first
	require.NoError(t, err)
	results := c.byMachine(t.Context(), groups)
	for i, r := range results {
		if i == 1234 {
			require.ErrorIs(t, r.Err, store.ErrConflict)
		} else {
			require.NoError(t, r.Err, i)
		}
	}
	shared := 0
	for machine, n := range s.count {
		if machine != "m34" && n > 1 { // the transaction that conflicts is cut into pieces
			shared++
		}
	}
	require.LessOrEqual(t, shared, machines*each/(store.MaxTxnOps-1)+6, "a machine is in more than one transaction only where one ends within it")
}
