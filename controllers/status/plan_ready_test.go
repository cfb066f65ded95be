package status

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/instance"
)

// plain is an app that is not announced.
func plain(t *testing.T, replicas int) Input {
	in := running(t, replicas)
	in.Latest.Spec.Announce, in.Latest.SidekickFile, in.Endpoints = nil, "", nil
	for n := int32(1); n <= int32(replicas); n++ {
		delete(in.Units, v1.SidekickUnit("web", n))
	}
	in.Manifest = []byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec: {}\n") // its contents do not matter here
	return in
}

func readyOf(t *testing.T, in Input) (status, reason, message string) {
	t.Helper()
	plan := Plan(in)
	require.NotNil(t, plan.Put)
	c := v1.FindCondition(plan.Put.Conditions, v1.Ready)
	return c.Status, c.Reason, c.Message
}

// TestReadyNeedsEvidence: an instance is not ready without evidence that it does its work, and the reason is the instance's state.
func TestReadyNeedsEvidence(t *testing.T) {
	state := func(s v1.UnitState) func(*Input) {
		return func(in *Input) {
			s.Hash, s.DesiredState = "u", v1.Launched
			in.States["web@1.service"]["m1"] = &s
		}
	}
	other := func(in *Input) { in.Latest.Spec.Announce.Prefix = "/services/other" }
	hosts := func(in *Input) { in.Latest.Spec.Route = &v1.Route{Hosts: []string{"a.test"}} }
	for _, c := range []struct {
		name   string
		of     func(*testing.T, int) Input
		change func(*Input)
		ready  string
		reason instance.State
	}{
		{"a process that cannot run", plain, state(v1.UnitState{ActiveState: "activating", SubState: "auto-restart", Restarts: 7}), v1.ConditionFalse, instance.RestartLoop},
		{"the same, in one of its starts", plain, state(v1.UnitState{ActiveState: "active", SubState: "running", Restarts: 7, Since: now.Add(-time.Second)}), v1.ConditionFalse, instance.RestartLoop},
		{"a unit that is active for 100 ms", plain, state(v1.UnitState{ActiveState: "active", SubState: "running", Since: now.Add(-100 * time.Millisecond)}), v1.ConditionFalse, instance.Settling},
		{"a unit that is active for 5 s", plain, state(v1.UnitState{ActiveState: "active", SubState: "running", Since: now.Add(-5 * time.Second)}), v1.ConditionTrue, instance.Ready},
		{"one that failed", plain, state(v1.UnitState{ActiveState: "failed", Result: "exit-code"}), v1.ConditionFalse, instance.Failed},
		{"a job that is done", plain, func(in *Input) {
			state(v1.UnitState{ActiveState: "inactive", Result: "success"})(in)
			in.Latest.Spec.Unit = map[string]map[string]v1.StringList{"Service": {"Type": {"oneshot"}}}
		}, v1.ConditionTrue, instance.Ready},
		{"a server that ended", plain, state(v1.UnitState{ActiveState: "inactive", Result: "success"}), v1.ConditionFalse, instance.Exited},
		{"a router that has not answered", running, func(in *Input) { in.Endpoints["web/web@1"] = 21 }, v1.ConditionFalse, instance.Unrouted},
		{"a router that does not know its hosts", running, func(in *Input) {
			in.Routers["m1"] = v1.Router{Routes: 4, Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 20}}}
			in.RouteRevision = 5
		}, v1.ConditionFalse, instance.Unrouted},
		{"no router at all", running, func(in *Input) { in.Routers = nil }, v1.ConditionTrue, instance.Ready},
		{"another prefix, announced, no router below it", running, other, v1.ConditionTrue, instance.Ready},
		{"another prefix, no endpoint", running, func(in *Input) { other(in); in.Endpoints = nil }, v1.ConditionFalse, instance.Unannounced},
		{"hosts, and no router below its prefix", running, func(in *Input) { other(in); hosts(in) }, v1.ConditionFalse, ReasonNoRouter},
		{"hosts, no router, and no endpoint", running, func(in *Input) { other(in); hosts(in); in.Endpoints = nil }, v1.ConditionFalse, instance.Unannounced},
		{"hosts, and no router", running, func(in *Input) { hosts(in); in.Routers = nil }, v1.ConditionFalse, ReasonNoRouter},
		{"hosts, and a router", running, hosts, v1.ConditionTrue, instance.Ready},
		{"what a router said of the hosts before", running, func(in *Input) {
			in.RouteRevision = 5
			in.Routers["m1"] = v1.Router{Routes: 4, Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 20}}, Refusals: leaves(map[string]string{"web": "HostTaken: x"})}
		}, v1.ConditionFalse, instance.Unrouted},
		{"its machine is away", running, func(in *Input) { delete(in.Machines, "m1"); delete(in.States, "web@1.service") }, v1.ConditionFalse, instance.MachineAway},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := c.of(t, 1)
			c.change(&in)
			ready, reason, message := readyOf(t, in)
			require.Equal(t, c.ready+" "+string(c.reason), ready+" "+reason, message)
		})
	}
}

// TestGlobalAppWantsWhatItsRulesMatch: even before the scheduler's pass, and whatever machines come and go.
func TestGlobalAppWantsWhatItsRulesMatch(t *testing.T) {
	in := plain(t, 0)
	in.Latest.Spec.Global, in.Latest.Spec.Replicas = true, nil
	in.Latest.Spec.Placement = &v1.PlacementRules{MachineMetadata: map[string]v1.StringList{"zone": {"a"}}}
	in.Units["web.service"] = &v1.Unit{Spec: v1.UnitSpec{Hash: "u", DesiredState: v1.Launched}}
	a := map[string]string{"zone": "a"}
	in.Machines = map[string]Machine{"m1": {true, a}, "m2": {true, a}, "other": {true, nil}, "cordoned": {false, a}}
	ready, reason, message := readyOf(t, in)
	require.Equal(t, "False Pending 0 of 2 instances are ready; web.service on m1: about to be placed", ready+" "+reason+" "+message)

	in.States["web.service"] = map[string]*v1.UnitState{}
	for _, m := range []string{"m1", "cordoned", "away"} { // one that is away does not count
		in.Placements["web.service"] = append(in.Placements["web.service"], m)
		in.States["web.service"][m] = &v1.UnitState{ActiveState: "active", Hash: "u"}
	}
	in.Unplaced["web.service"] = v1.Unplaced{Message: "1 of the 2 machines that match has no room: 1 has port 80 taken"}
	require.EqualValues(t, 3, Plan(in).Put.Replicas.Desired)
	_, reason, message = readyOf(t, in)
	require.Equal(t, "Unplaced", reason)
	require.Contains(t, message, "web.service on m2: 1 of the 2 machines")

	in.Units["web@1.service"] = &v1.Unit{Spec: v1.UnitSpec{Hash: "old", DesiredState: v1.Launched}} // it was not global before
	_, reason, message = readyOf(t, in)
	require.Equal(t, "Pending", reason)
	require.Contains(t, message, "where an old instance makes room")
	require.Equal(t, "False Pending", v1.FindCondition(Plan(in).Put.Conditions, v1.Scheduled).Status+" "+v1.FindCondition(Plan(in).Put.Conditions, v1.Scheduled).Reason)

	in.Machines = nil
	_, reason, _ = readyOf(t, in)
	require.Equal(t, "Pending", reason, "no machine is there")
}

// TestWorstIsReported: what waiting does not fix comes first.
func TestWorstIsReported(t *testing.T) {
	in := running(t, 3)
	delete(in.Endpoints, "web/web@1")
	in.Overrides["web@2.service"] = v1.Override{DesiredState: v1.Loaded}
	_, reason, _ := readyOf(t, in)
	require.Equal(t, "Stopped", reason)
	in.States["web@3.service"]["m3"].ActiveState = "failed"
	_, reason, _ = readyOf(t, in)
	require.Equal(t, "Failed", reason)
}

// leaves are refusals, by what is left out.
func leaves(texts map[string]string) []v1.RouteRefusal { return v1.Router{Refused: texts}.LeftOut() }
