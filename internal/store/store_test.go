package store

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestConditions: which conditions hold for an absent key, and for keys last changed at revision 7, or at 8 under a lease.
func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		condition Condition
		want      [3]bool
	}{
		"none":      {Condition{}, [3]bool{true, true, true}},
		"absent":    {Absent(), [3]bool{true, false, false}},
		"unchanged": {Unchanged(7), [3]bool{false, true, false}},
		"unleased":  {Unleased(), [3]bool{true, true, false}},
	} {
		require.Equal(t, c.want, [3]bool{c.condition.Holds(KV{}), c.condition.Holds(KV{ModRevision: 7}), c.condition.Holds(KV{ModRevision: 8, Lease: 1})}, name)
		require.Equal(t, name == "none", c.condition.IsZero(), name)
	}
}
