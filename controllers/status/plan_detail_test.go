package status

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// said is a condition in one line.
func said(t *testing.T, plan Decision, condition string) string {
	t.Helper()
	require.NotNil(t, plan.Put)
	c := v1.FindCondition(plan.Put.Conditions, condition)
	require.NotNil(t, c, condition)
	return c.Status + " " + c.Reason + ": " + c.Message
}

// withdraw keeps an instance out of the routers.
func (in *Input) withdraw(n int32, hash string) {
	in.setUnit(v1.AppUnit("web", n), func(u *v1.Unit) { u.Spec.Hash = hash })
	in.setUnit(v1.SidekickUnit("web", n), func(u *v1.Unit) { u.Spec.DesiredState = v1.Loaded })
	delete(in.Endpoints, v1.EndpointName("web", n))
}

// surge has an instance started beside the others that long ago.
func (in *Input) surge(ago time.Duration) {
	in.Units["web@4.service"] = &v1.Unit{Spec: v1.UnitSpec{Hash: "u", DesiredState: v1.Launched},
		Rollout: v1.Rollout{Phase: v1.RolloutUpdating, Since: in.Now.Add(-ago)}}
	in.Placements["web@4.service"] = []string{"m1"}
}

// TestDetails tests one rule each: what a condition says, and whether it waits for routers.
func TestDetails(t *testing.T) {
	prepares := func(ago time.Duration, prepared v1.Prepared) func(in *Input) {
		return func(in *Input) {
			next := v1.Preparation{Hash: "u", RequestedAt: "now"}
			in.setUnit("web@1.service", func(u *v1.Unit) { u.Next = v1.Next{Preparation: next, Since: in.Now.Add(-ago)} })
			if prepared.State != "" {
				prepared.Preparation = next
				state := *in.States["web@1.service"]["m1"]
				state.Prepared = prepared
				in.States["web@1.service"]["m1"] = &state
			}
		}
	}
	for _, tt := range []struct {
		name      string
		change    func(in *Input)
		condition string
		want      string
		waiting   bool
	}{
		{"a machine is asked to pull", prepares(0, v1.Prepared{}), v1.Progressing,
			"True Pulling: 3 of 3 instances are of revision 3; web@1.service: its machine is asked to pull its image", false},
		{"it pulls", prepares(0, v1.Prepared{State: v1.PreparedPulling, Message: "pulling web:2"}), v1.Progressing,
			"True Pulling: 3 of 3 instances are of revision 3; web@1.service: pulling web:2", false},
		{"it has pulled", prepares(0, v1.Prepared{State: v1.PreparedReady, Message: "an older one"}), v1.Progressing,
			"False Updated: 3 of 3 instances are of revision 3", false},
		{"it cannot pull for long", prepares(time.Hour, v1.Prepared{State: v1.PreparedFailed, Message: "cannot pull web:2: manifest unknown"}), v1.Progressing,
			"False RolloutStalled: revision 3: web@1.service is not ready within 5m0s: cannot pull web:2: manifest unknown", false},
		{"what runs is ready all the while", prepares(time.Hour, v1.Prepared{State: v1.PreparedFailed, Message: "cannot pull web:2: manifest unknown"}), v1.Ready,
			"True Ready: 3 of 3 instances are ready", false},
		{"a wish that is only for a restart stops nothing", func(in *Input) {
			in.Overrides["web@1.service"] = v1.Override{RequestedAt: "2026-01-01T00:00:00Z", Restart: true}
		}, v1.Ready, "True Ready: 3 of 3 instances are ready", false},
		{"a wish to run is none to stop", func(in *Input) {
			in.Overrides["web@1.service"] = v1.Override{DesiredState: v1.Launched}
		}, v1.Ready, "True Ready: 3 of 3 instances are ready", false},
		{"of a sidekick that is stopped by hand no endpoint is waited for", func(in *Input) {
			in.Overrides["web-discovery@1.service"] = v1.Override{DesiredState: v1.Loaded}
			delete(in.Endpoints, "web/web@1")
		}, v1.Ready, "True Ready: 3 of 3 instances are ready", false},
		{"all are stopped: none serves", func(in *Input) {
			for _, unit := range []string{"web@1.service", "web@2.service", "web@3.service"} {
				in.Overrides[unit] = v1.Override{DesiredState: v1.Inactive}
			}
		}, v1.Available, "False Unavailable: no instance is active and announced", false},
		{"what is stopped needs no machine", func(in *Input) {
			in.Overrides["web@2.service"] = v1.Override{DesiredState: v1.Inactive}
			delete(in.Placements, "web@2.service")
			in.Unplaced["web@2.service"] = v1.Unplaced{Message: "no room"}
		}, v1.Scheduled, "True Scheduled: ", false},
		{"what is stopped does not start", func(in *Input) {
			in.Overrides["web@2.service"] = v1.Override{DesiredState: v1.Loaded}
			in.States["web@2.service"]["m2"] = &v1.UnitState{ActiveState: "inactive", Hash: "u"}
		}, v1.Progressing, "False Updated: 3 of 3 instances are of revision 3", false},
		{"what is stopped is not waited for either, however long ago it was touched", func(in *Input) {
			in.Overrides["web@2.service"] = v1.Override{DesiredState: v1.Loaded}
			in.setUnit("web@2.service", func(u *v1.Unit) {
				u.Rollout = v1.Rollout{Phase: v1.RolloutUpdating, Since: now.Add(-time.Hour)}
			})
		}, v1.Progressing, "False Updated: 3 of 3 instances are of revision 3", false},
		{"a revision was taken back", func(in *Input) {
			app, err := v1.ParseAppNamed("web", in.Manifest)
			require.NoError(t, err)
			in.Rejected = &v1.Revision{Number: 4, Spec: app.Spec, ManifestRevision: in.ManifestRevision, Rejected: &v1.Rejection{Message: "web@1.service is not ready after 5m0s: failed"}}
		}, v1.Accepted, "False Rejected: revision 4 was taken back: web@1.service is not ready after 5m0s: failed; revision 3 keeps running", false},
		{"replaced in place", func(in *Input) {
			in.withdraw(2, "old")
			in.Latest.Spec.Ports = []v1.Port{{HostPort: 3000}}
		}, v1.Progressing, "True RollingOut: 2 of 3 instances are of revision 3; in place, because port 3000 of the machine is fixed", false},
		{"one is started beside the others", func(in *Input) { in.surge(time.Minute) }, v1.Progressing,
			"True RollingOut: 3 of 3 instances are of revision 3; web@4.service, started beside the others: its machine has not reported it", false},
		{"one beside the others is not ready in time", func(in *Input) { in.surge(time.Hour) }, v1.Progressing,
			"False RolloutStalled: revision 3: web@4.service is not ready within 5m0s: its machine has not reported it", false},
		{"one beside the others fits nowhere, and the others are replaced in place", func(in *Input) {
			in.surge(time.Hour)
			delete(in.Placements, "web@4.service")
			in.Unplaced["web@4.service"] = v1.Unplaced{Message: "no room"}
		}, v1.Progressing, "True RollingOut: 3 of 3 instances are of revision 3", false},
		{"one beside the others fits nowhere, and none may be missing", func(in *Input) {
			in.surge(time.Hour)
			in.Latest.Spec.Update.MaxUnavailable = &v1.IntOrPercent{}
			delete(in.Placements, "web@4.service")
			in.Unplaced["web@4.service"] = v1.Unplaced{Message: "no room"}
		}, v1.Progressing, "False RolloutStalled: revision 3: web@4.service is not ready within 5m0s: no room", false},
		{"no instance is wanted", func(in *Input) { *in.Latest.Spec.Replicas = 0; in.Units = nil }, v1.Available, "True NothingWanted: no instance is wanted", false},
		{"no instance is wanted, and those of before are there", func(in *Input) { *in.Latest.Spec.Replicas = 0 }, v1.Progressing,
			"True RollingOut: 0 of 0 instances are of revision 3", false},
		{"a unit that is none of the app's instances is no instance of before", func(in *Input) {
			in.Units["stray.service"] = &v1.Unit{}
			in.Units["web-discovery@9.service"] = &v1.Unit{}
		}, v1.Progressing, "False Updated: 3 of 3 instances are of revision 3", false},
		{"unit and sidekick fit nowhere: the unit's reason is told", func(in *Input) {
			delete(in.Placements, "web@2.service")
			in.Unplaced["web-discovery@2.service"] = v1.Unplaced{Message: "where web@2.service is not"}
			in.Unplaced["web@2.service"] = v1.Unplaced{Message: "no room"}
		}, v1.Scheduled, "False Unplaced: web@2.service: no room", false},
		{"the sidekick alone fits nowhere", func(in *Input) {
			in.Unplaced["web-discovery@2.service"] = v1.Unplaced{Message: "m2 has no room for it", Reasons: []v1.Refusal{{}}}
		}, v1.Scheduled, "True Scheduled: web-discovery@2.service: m2 has no room for it", false},
		{"one that was refused comes before one that was not looked at", func(in *Input) {
			delete(in.Placements, "web@1.service")
			delete(in.Placements, "web@2.service")
			delete(in.Placements, "web@3.service")
			in.Unplaced["web@2.service"] = v1.Unplaced{Message: "no room", Reasons: []v1.Refusal{{Reason: "CPU"}}}
			in.Unplaced["web@3.service"] = v1.Unplaced{Message: "no port", Reasons: []v1.Refusal{{Reason: "Ports"}}}
		}, v1.Scheduled, "False CPU: web@2.service: no room (and 2 more)", false},
		{"the first of two that are withdrawn", func(in *Input) {
			in.withdraw(2, "old")
			in.withdraw(3, "old")
			in.EndpointSets[0].Revision = 30
		}, v1.Progressing, "True WaitingForRouters: 1 of 3 instances are of revision 3; web@2.service stops when the routers on m1 have dropped it", true},
		{"what is withdrawn, and announced still", func(in *Input) {
			in.withdraw(2, "old")
			in.Endpoints["web/web@2"] = 20
			in.EndpointSets[0].Revision = 30
		}, v1.Progressing, "True RollingOut: 2 of 3 instances are of revision 3; in place, because port 80 of the machine is fixed", false},
		{"what is withdrawn, and all routers have dropped it", func(in *Input) { in.withdraw(2, "old") }, v1.Progressing,
			"True RollingOut: 2 of 3 instances are of revision 3; in place, because port 80 of the machine is fixed", false},
		{"withdrawn with the file that it should have", func(in *Input) { in.withdraw(2, "u") }, v1.Progressing,
			"True RollingOut: 3 of 3 instances are of revision 3; in place, because port 80 of the machine is fixed", false},
		{"withdrawn, and stopped by a person", func(in *Input) {
			in.withdraw(2, "u")
			in.Overrides["web@2.service"] = v1.Override{DesiredState: v1.Loaded}
			in.EndpointSets[0].Revision = 30
		}, v1.Progressing, "False Updated: 3 of 3 instances are of revision 3", false},
		{"one to be replaced, and one that starts", func(in *Input) {
			in.setUnit("web@1.service", func(u *v1.Unit) { u.Spec.Hash = "old" })
			in.States["web@2.service"]["m2"].ActiveState = "activating"
		}, v1.Progressing, "True RollingOut: 2 of 3 instances are of revision 3; in place, because port 80 of the machine is fixed", false},
		{"an endpoint that no router serves so far", func(in *Input) { in.Endpoints["web/web@2"] = 21 }, v1.Ready,
			"False WaitingForRouters: 2 of 3 instances are ready; web@2.service: announced, but not served yet by the routers on m1", true},
		{"routers that do not know the hosts, in order", func(in *Input) {
			in.RouteRevision = 9
			in.Routers = map[string]v1.Router{}
			for _, m := range []string{"m7", "m2", "m9", "m1", "m4", "m3", "m8"} {
				in.Routers[m] = v1.Router{Routes: 8, Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 20}}}
			}
			in.Routers["m1"] = v1.Router{Routes: 9, Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 20}}}
		}, v1.Ready, "False WaitingForRouters: 0 of 3 instances are ready; web@1.service: announced, but not served yet by the routers on m2, m3, m4 and more", true},
		{"a router that does not know the hosts, before anything is announced", func(in *Input) {
			in.RouteRevision, in.Endpoints = 9, nil
			in.Routers["m1"] = v1.Router{Routes: 8, Served: map[string]v1.Served{v1.DefaultAnnouncePrefix: {Revision: 20}}}
		}, v1.Ready, "False NotAnnounced: 0 of 3 instances are ready; web@1.service: active, but not announced: its health check fails or has not passed yet", true},
		{"routing options without hosts, and no router", func(in *Input) {
			in.Latest.Spec.Route, in.Routers = &v1.Route{BodySize: "1M"}, nil
		}, v1.Ready, "True Ready: 3 of 3 instances are ready", false},
		{"a router refuses the last instance", func(in *Input) {
			in.Routers["m1"] = v1.Router{Revision: 20, Refusals: leaves(map[string]string{"/services/web/web/web@3": "ReservedPort: x"})}
		}, v1.Routed, "False ReservedPort: the router on m1: web@3: x", false},
		{"a router refuses one of before", func(in *Input) {
			in.Routers["m1"] = v1.Router{Revision: 20, Refused: map[string]string{"/services/web/web/web@4": "ReservedPort: x", "/services/web/web/web@2": "NoWord"}}
		}, v1.Ready, "True Ready: 3 of 3 instances are ready", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := running(t, 3)
			tt.change(&in)
			plan := Plan(in)
			require.Equal(t, tt.want, said(t, plan, tt.condition))
			require.Equal(t, tt.waiting, plan.Waiting)
		})
	}
}

// TestGlobalAppIsAnnouncedByMachine: each instance has its own endpoint, and a router may refuse one.
func TestGlobalAppIsAnnouncedByMachine(t *testing.T) {
	in := running(t, 0)
	in.Latest.Spec.Global, in.Latest.Spec.Replicas = true, nil
	for unit, hash := range map[string]string{"web.service": "u", "web-discovery.service": "s"} {
		in.Units[unit] = &v1.Unit{Spec: v1.UnitSpec{Hash: hash, DesiredState: v1.Launched}}
		in.Placements[unit] = []string{"m1", "m2"}
		in.States[unit] = map[string]*v1.UnitState{"m1": {ActiveState: "active", Hash: hash}, "m2": {ActiveState: "active", Hash: hash}}
	}
	in.Machines = map[string]Machine{"m1": {Schedulable: true}, "m2": {Schedulable: true}}
	in.Endpoints[v1.GlobalEndpointName("web", "m1")] = 20
	require.Equal(t, "False NotAnnounced: 1 of 2 instances are ready; web.service on m2: active, but not announced: its health check fails or has not passed yet", said(t, Plan(in), v1.Ready))
	in.Endpoints[v1.GlobalEndpointName("web", "m2")] = 20
	require.Equal(t, "True Ready: 2 of 2 instances are ready", said(t, Plan(in), v1.Ready))
	in.Routers["m1"] = v1.Router{Revision: 20, Refusals: leaves(map[string]string{"/services/web/web/other@m1": "ReservedPort: y", "/services/web/" + v1.GlobalEndpointName("web", "m2"): "ReservedPort: x"})}
	require.Contains(t, said(t, Plan(in), v1.Ready), "False ReservedPort: 2 of 2 instances are ready; the router on m1: web@m2")
}

// TestGlobalAppThatFitsNowhere: it is not ready, whatever the reason.
func TestGlobalAppThatFitsNowhere(t *testing.T) {
	in := plain(t, 0)
	in.Latest.Spec.Global, in.Latest.Spec.Replicas = true, nil
	in.Units["web.service"] = &v1.Unit{Spec: v1.UnitSpec{Hash: "u", DesiredState: v1.Launched}}
	in.Unplaced["web.service"] = v1.Unplaced{Message: "none of the 2 machines has the metadata zone=a", Reasons: []v1.Refusal{{Reason: "MachineMetadata"}}}
	in.Latest.Spec.Placement = &v1.PlacementRules{MachineMetadata: map[string]v1.StringList{"zone": {"a"}}}
	in.Machines = map[string]Machine{"m1": {Schedulable: true}, "m2": {Schedulable: false, Metadata: map[string]string{"zone": "a"}}}
	plan := Plan(in)
	require.Equal(t, v1.ReplicaCounts{Desired: 1}, plan.Put.Replicas)
	require.Equal(t, "False Unplaced: 0 of 1 instances are ready; web.service: none of the 2 machines has the metadata zone=a", said(t, plan, v1.Ready))
	require.Equal(t, "False MachineMetadata: web.service: none of the 2 machines has the metadata zone=a", said(t, plan, v1.Scheduled))
	require.Equal(t, "False Unavailable: no instance is active", said(t, plan, v1.Available))
	require.Equal(t, "True Starting: 0 of 1 instances are ready", said(t, plan, v1.Progressing))
}

// TestLooksAgainWhenTimeChangesTheStatus: at the first time at which the status changes by itself.
func TestLooksAgainWhenTimeChangesTheStatus(t *testing.T) {
	in := plain(t, 2)
	require.Zero(t, Plan(in).After)
	in.States["web@1.service"]["m1"].Since = now.Add(-500 * time.Millisecond)
	in.States["web@2.service"]["m2"].Since = now.Add(-200 * time.Millisecond)
	in.setUnit("web@2.service", func(u *v1.Unit) {
		u.Rollout = v1.Rollout{Phase: v1.RolloutUpdating, Since: now.Add(-time.Minute)}
	})
	require.Equal(t, v1.DefaultMinReady-500*time.Millisecond, Plan(in).After)
	in.States["web@1.service"]["m1"].Since = now.Add(-time.Hour)
	require.Equal(t, v1.DefaultMinReady-200*time.Millisecond, Plan(in).After)
	in.States["web@2.service"]["m2"].ActiveState = "activating"
	require.Equal(t, in.Latest.Spec.Update.HealthyDeadline.Std()-time.Minute, Plan(in).After)
}
