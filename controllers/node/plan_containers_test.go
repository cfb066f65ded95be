package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

func TestPlanContainers(t *testing.T) {
	long := map[string]time.Time{"c1": t0.Add(-time.Minute)}
	placed := map[string]v1.Placement{app: launch("A")}
	for _, tc := range []struct {
		name       string
		unit       SystemdUnit
		placements map[string]v1.Placement
		since      map[string]time.Time
		reason     string // of its removal
		waits      bool   // it may be removed later
	}{
		{"its unit runs", unit("active", "i"), placed, long, "", false},
		{"though it is not placed here, and held", unit("active", "i"), nil, long, "", false},
		{"its unit starts", unit("activating", "i"), placed, long, "", false},
		{"its unit stops", unit("deactivating", "i"), nil, long, "", false},
		{"its unit is about to start", SystemdUnit{ActiveState: "inactive", Job: "start"}, placed, long, "", false},
		{"systemd says nothing of its unit", SystemdUnit{Err: "no answer"}, nil, long, "", false},
		{"nothing is known of its unit", SystemdUnit{}, nil, long, "", false},
		{"its unit has just failed", unit("failed", "i"), placed, nil, "", true},
		{"and stays so", unit("failed", "i"), placed, long, ContainerLeftOver, true},
		{"its unit is stopped", unit("inactive", ""), map[string]v1.Placement{app: load("A")}, long, ContainerLeftOver, true},
		{"the grace is not over", unit("inactive", ""), nil, map[string]time.Time{"c1": t0.Add(-containerGrace + 1)}, "", true},
		{"it is over", unit("inactive", ""), nil, map[string]time.Time{"c1": t0.Add(-containerGrace)}, ContainerNotPlaced, true},
		{"its unit is placed as inactive", unit("inactive", ""), map[string]v1.Placement{app: {DesiredState: v1.Inactive}}, long, ContainerNotPlaced, true},
		{"the clock was set back", unit("inactive", ""), nil, map[string]time.Time{"c1": t0.Add(time.Hour)}, "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := ContainersInput{Now: t0, Containers: []Container{{Runtime: "docker", ID: "c1", Name: "web.1", Unit: app}},
				Placements: tc.placements, Units: map[string]SystemdUnit{app: tc.unit}, Since: tc.since}
			removals, since := PlanContainers(in)
			reason := ""
			if len(removals) > 0 {
				require.Equal(t, "c1", removals[0].ID)
				reason = removals[0].Reason
			}
			require.Equal(t, tc.reason, reason)
			require.Equal(t, tc.waits, !since["c1"].IsZero())
			require.False(t, since["c1"].After(t0))
		})
	}
}

// Two units, one of which runs.
func TestOnlyContainersWithoutAUnitAreRemoved(t *testing.T) {
	in := ContainersInput{Now: t0, Units: map[string]SystemdUnit{"b.service": unit("active", "i"), "a.service": unit("inactive", "")},
		Containers: []Container{{ID: "2", Unit: "a.service"}, {ID: "3", Unit: "b.service"}, {ID: "1", Unit: "a.service"}, {ID: "4", Unit: "c.service"}},
		Since:      map[string]time.Time{"1": {}, "2": {}, "3": {}, "gone": {}}}
	removals, since := PlanContainers(in)
	require.Len(t, removals, 2)
	require.Equal(t, []string{"1", "2"}, []string{removals[0].ID, removals[1].ID})
	require.Len(t, since, 2)
}
