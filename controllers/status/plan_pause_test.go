package status

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestPaused: what waits says for what; a roll-out that is complete says nothing of a pause.
func TestPaused(t *testing.T) {
	in := running(t, 2)
	in.Paused = true
	require.Equal(t, ReasonUpdated, v1.FindCondition(Plan(in).Put.Conditions, v1.Progressing).Reason)
	in.setUnit("web@2.service", func(u *v1.Unit) { u.Spec.Hash = "older" })
	progressing := v1.FindCondition(Plan(in).Put.Conditions, v1.Progressing)
	require.Equal(t, ReasonPaused, progressing.Reason)
	require.Equal(t, "1 of 2 instances are of revision 3; paused: fleetctl rollout resume app/web", progressing.Message)
	in.Rejected = &v1.Revision{Number: 4, Rejected: &v1.Rejection{Message: "because"}}
	require.Equal(t, ReasonRollingOut, v1.FindCondition(Plan(in).Put.Conditions, v1.Progressing).Reason, "the return to a former revision goes on")
}
