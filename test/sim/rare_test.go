package sim

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rehearse runs a plan of these steps after an app, web, was applied, and returns what happened. Nothing may be violated.
func rehearse(t *testing.T, machines int, steps ...step) string {
	t.Helper()
	return rehearseWith(t, Plan{Seed: 1, Machines: machines, Steps: steps})
}

func rehearseWith(t *testing.T, p Plan) string {
	t.Helper()
	p.Steps = append([]step{{At: time.Second, Do: "apply", A: 0, B: 2, C: 4}}, p.Steps...)
	o := Run(t, p, disks(t)())
	require.Nil(t, o.Violation, "%s\n%s", p, o.Transcript)
	return o.Transcript
}

// A fleetd that is cut off alone is missed, and what its machine runs goes on being announced and routed to meanwhile.
func TestFleetdCutOffAlone(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 40 * time.Second, Do: "cut off one", A: 1, B: 0, C: 0},
		step{At: 75 * time.Second, Do: "reconnect one", A: 1})
	require.Contains(t, told, "fleetd alone is cut off")
	require.Regexp(t, `etcd +r\d+ deletes machines/m2\n`, told)
	require.NotRegexp(t, `etcd +r\d+ deletes routers/m2\n`, told)
	require.Contains(t, told, "fleetd alone is connected")
}

// A router that is cut off alone is missed, and its machine is not.
func TestRouterCutOffAlone(t *testing.T) {
	told := rehearse(t, 3,
		step{At: 40 * time.Second, Do: "cut off one", A: 2, B: 1, C: 0},
		step{At: 75 * time.Second, Do: "reconnect one", A: 2})
	require.Contains(t, told, "router alone is cut off")
	require.Regexp(t, `r\d+ puts routers/m3 .*\n(.*\n)*.*router alone is cut off\n(.*\n)*.*r\d+ deletes routers/m3\n`, told)
	require.NotRegexp(t, `deletes machines/m3\n`, told)
}
