package instance

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// A release command whose machine is not present is run again on another one, where one fits.
func TestReleaseWhoseMachineIsAway(t *testing.T) {
	in := Input{Unit: &v1.Unit{}, Away: true, Placed: true}
	require.Equal(t, Release{Why: "is on a machine that is not present: it is run again on another one"}, OfRelease(in, ""))
	in.Unplaced = &v1.Unplaced{Message: "0 of 2 machines fit"}
	require.Equal(t, Release{Why: "is on a machine that is not present, and fits on no other one: 0 of 2 machines fit"}, OfRelease(in, ""))
}
