package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestAStartWithoutItsImageIsNotWaitedFor: docker has said why it cannot be pulled. An answer to an earlier request says nothing.
func TestAStartWithoutItsImageIsNotWaitedFor(t *testing.T) {
	const words = "cannot pull web:2: manifest unknown"
	for _, tc := range []struct {
		placed, prepared v1.Preparation
		state            v1.PreparedState
		requestedAt      string
		fails            bool
	}{
		{v1.Preparation{Hash: "h"}, v1.Preparation{Hash: "h"}, v1.PreparedFailed, "", true},
		{v1.Preparation{Hash: "h", RequestedAt: "now"}, v1.Preparation{Hash: "h", RequestedAt: "now"}, v1.PreparedFailed, "now", true},
		{v1.Preparation{Hash: "h"}, v1.Preparation{Hash: "h"}, v1.PreparedFailed, "now", false},
		{v1.Preparation{Hash: "h"}, v1.Preparation{Hash: "next"}, v1.PreparedFailed, "", false},
		{v1.Preparation{Hash: "h"}, v1.Preparation{Hash: "h"}, v1.PreparedPulling, "", false},
	} {
		m := v1.UnitOnMachine{
			Placement: &v1.Placement{Hash: tc.placed.Hash, RequestedAt: tc.placed.RequestedAt, DesiredState: v1.Launched},
			State: &v1.UnitState{ActiveState: "inactive", DesiredState: v1.Launched, Message: words,
				Prepared: v1.Prepared{Preparation: tc.prepared, State: tc.state}},
		}
		done, err := unitHasOn(m, v1.Launched, tc.requestedAt)
		require.False(t, done)
		if tc.fails {
			require.EqualError(t, err, words)
		} else {
			require.NoError(t, err)
		}
	}
}
