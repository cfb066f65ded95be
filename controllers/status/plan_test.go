package status

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

var now = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// running is an app with that many announced instances, all as they should be.
func running(t *testing.T, replicas int) Input {
	manifest := fmt.Sprintf("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec:\n  replicas: %d\n  exec: {command: [/bin/web]}\n  ports: [{port: 80}]\n  announce: {}\n", replicas)
	app, err := v1.ParseApp([]byte(manifest))
	require.NoError(t, err)
	in := Input{
		Now: now, App: "web", Manifest: []byte(manifest), ManifestRevision: 7,
		Latest: &v1.Revision{Number: 3, ManifestRevision: 7, Spec: app.Spec, UnitFile: "u", SidekickFile: "s"},
		Units:  map[string]*v1.Unit{}, Overrides: map[string]v1.Override{}, Unplaced: map[string]v1.Unplaced{}, Taken: map[string]string{},
		Placements: map[string][]string{}, States: map[string]map[string]*v1.UnitState{}, Endpoints: map[string]int64{}, Machines: map[string]Machine{},
		Routers: map[string]v1.Router{"m1": {Revision: 20}}, EndpointSets: []v1.EndpointSet{{Prefix: v1.DefaultAnnouncePrefix, Revision: 20}},
	}
	for n := int32(1); n <= int32(replicas); n++ {
		machine := fmt.Sprintf("m%d", n)
		for unit, hash := range map[string]string{v1.AppUnit("web", n): "u", v1.SidekickUnit("web", n): "s"} {
			in.Units[unit] = &v1.Unit{Metadata: v1.ObjectMeta{Name: unit, Owner: "web"}, Spec: v1.UnitSpec{Hash: hash, DesiredState: v1.Launched}}
			in.Placements[unit] = []string{machine}
			in.States[unit] = map[string]*v1.UnitState{machine: {ActiveState: "active", SubState: "running", Hash: hash}}
		}
		in.Endpoints[v1.EndpointName("web", n)], in.Machines[machine] = 20, Machine{Schedulable: true}
	}
	return in
}

func (in *Input) setUnit(unit string, change func(*v1.Unit)) {
	change(in.Units[unit])
}

func TestStatus(t *testing.T) {
	stalling := func(in *Input, ago time.Duration) {
		delete(in.Endpoints, "web/web@2")
		in.setUnit("web@2.service", func(u *v1.Unit) {
			u.Rollout = v1.Rollout{Phase: v1.RolloutUpdating, Since: now.Add(-ago)}
		})
	}
	for _, c := range []struct {
		name   string
		change func(in *Input)
		counts v1.ReplicaCounts
		want   string // the conditions that differ from those of a ready app
		after  time.Duration
	}{
		{"ready", func(*Input) {}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3}, "", 0},
		{"invalid manifest", func(in *Input) {
			in.Manifest = []byte("apiVersion: fleet/v1\nkind: App\nmetadata: {name: web}\nspec: {replicas: two}\n")
		},
			v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3},
			"Accepted=False InvalidManifest: line 4: spec.replicas: expected an integer, got the string \"two\"\nline 4: spec.exec: missing: set exec or container; revision 3 keeps running", 0},
		{"just applied", func(in *Input) {
			in.ManifestRevision, in.Manifest = 8, bytes.Replace(in.Manifest, []byte("/bin/web"), []byte("/bin/web2"), 1)
		},
			v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3},
			"Progressing=True Pending: the manifest is about to become a revision\n" +
				"Ready=False Pending: 3 of 3 instances are ready of revision 3; the manifest is about to become a new revision", 0},
		{"applied with another comment", func(in *Input) { in.ManifestRevision, in.Manifest = 8, append(in.Manifest, "# new\n"...) },
			v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3}, "", 0},
		{"name taken", func(in *Input) { in.Taken["web@2.service"] = "" },
			v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3},
			"Accepted=False NameTaken: unit web@2.service was submitted by a user: destroy it or rename the app; revision 3 keeps running", 0},
		{"never accepted", func(in *Input) { in.Latest, in.Manifest = nil, []byte("x: [") }, v1.ReplicaCounts{},
			"Accepted=False InvalidManifest: line 1: not YAML: did not find expected node content\n" +
				"Scheduled=Unknown NotAccepted: no manifest has been accepted yet\nAvailable=Unknown NotAccepted: no manifest has been accepted yet\n" +
				"Progressing=Unknown NotAccepted: no manifest has been accepted yet\nReady=Unknown NotAccepted: no manifest has been accepted yet", 0},
		{"just created", func(in *Input) { in.Placements, in.States, in.Endpoints = nil, nil, nil }, v1.ReplicaCounts{Desired: 3},
			"Scheduled=False Pending: web@1.service is about to be placed (and 2 more)\nAvailable=False Unavailable: no instance is active and announced\n" +
				"Progressing=True Starting: 0 of 3 instances are ready\nReady=False Pending: 0 of 3 instances are ready; web@1.service: about to be placed", 0},
		{"unplaced", func(in *Input) {
			delete(in.Placements, "web@3.service")
			delete(in.States, "web@3.service")
			delete(in.Endpoints, "web/web@3")
			in.Unplaced["web@3.service"] = v1.Unplaced{Message: "0 of 2 machines fit: 2 conflict with web@*.service", Reasons: []v1.Refusal{{Reason: "Conflicts"}}}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 2, Active: 2, Ready: 2, Updated: 2},
			"Scheduled=False Conflicts: web@3.service: 0 of 2 machines fit: 2 conflict with web@*.service\nProgressing=True Starting: 2 of 3 instances are ready\n" +
				"Ready=False Unplaced: 2 of 3 instances are ready; web@3.service: 0 of 2 machines fit: 2 conflict with web@*.service", 0},
		{"a new file fits nowhere", func(in *Input) {
			in.Latest.UnitFile = "new"
			in.setUnit("web@1.service", func(u *v1.Unit) { u.Spec.Hash = "new" })
			in.Unplaced["web@1.service"] = v1.Unplaced{Message: "it stays on m1 for now (m1 has too little Memory): 0 of 3 machines fit", Reasons: []v1.Refusal{{Reason: "Memory"}}}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 0},
			"Scheduled=False Memory: web@1.service: it stays on m1 for now (m1 has too little Memory): 0 of 3 machines fit\n" +
				"Progressing=True RollingOut: 0 of 3 instances are of revision 3; in place, because port 80 of the machine is fixed\n" +
				"Ready=False Unplaced: 0 of 3 instances are ready; web@1.service: it stays on m1 for now (m1 has too little Memory): 0 of 3 machines fit", 0},
		{"failed", func(in *Input) {
			in.States["web@1.service"]["m1"] = &v1.UnitState{ActiveState: "failed", SubState: "failed", Result: "exit-code"}
			delete(in.Endpoints, "web/web@1")
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 2, Ready: 2, Updated: 2},
			"Progressing=True Starting: 2 of 3 instances are ready\nReady=False Failed: 2 of 3 instances are ready; web@1.service: failed, result exit-code", 0},
		{"stopped", func(in *Input) {
			in.Overrides["web@1.service"] = v1.Override{DesiredState: v1.Loaded}
			in.States["web@1.service"]["m1"] = &v1.UnitState{ActiveState: "inactive"}
			delete(in.Endpoints, "web/web@1")
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 2, Ready: 2, Updated: 2},
			"Progressing=False Updated: 2 of 3 instances are of revision 3\nReady=False Stopped: 2 of 3 instances are ready; web@1.service: stopped by hand: start it with fleetctl start", 0},
		{"rolling out", func(in *Input) {
			for _, unit := range []string{"web@2.service", "web@3.service"} {
				in.setUnit(unit, func(u *v1.Unit) { u.Spec.Hash = "old" })
			}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 1},
			"Progressing=True RollingOut: 1 of 3 instances are of revision 3; in place, because port 80 of the machine is fixed\nReady=False OutOfDate: 1 of 3 instances are ready; web@2.service: about to be replaced", 0},
		{"waiting for routers", func(in *Input) {
			in.setUnit("web@3.service", func(u *v1.Unit) { u.Spec.Hash = "old" })
			in.setUnit("web-discovery@3.service", func(u *v1.Unit) { u.Spec.DesiredState = v1.Loaded })
			delete(in.Endpoints, "web/web@3")
			in.EndpointSets[0].Revision = 30
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 2, Updated: 2},
			"Progressing=True WaitingForRouters: 2 of 3 instances are of revision 3; web@3.service stops when the routers on m1 have dropped it\n" +
				"Ready=False OutOfDate: 2 of 3 instances are ready; web@3.service: about to be replaced", 0},
		{"withdrawn, and a router that has failed for an hour still has it", func(in *Input) {
			in.setUnit("web@3.service", func(u *v1.Unit) { u.Spec.Hash = "old" })
			in.setUnit("web-discovery@3.service", func(u *v1.Unit) { u.Spec.DesiredState = v1.Loaded })
			delete(in.Endpoints, "web/web@3")
			in.EndpointSets[0].Revision = 30
			in.Routers["m1"] = v1.Router{Revision: 20, Failing: &v1.RouterFailure{Since: now.Add(-time.Hour), Message: "nginx has not acknowledged table 7: it exited"}}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 2, Updated: 2},
			"Progressing=True WaitingForRouters: 2 of 3 instances are of revision 3; web@3.service stops when the routers on m1 have dropped it; the router on m1 has failed to apply changes since 2026-01-01T11:00:00Z: nginx has not acknowledged table 7: it exited\n" +
				"Ready=False OutOfDate: 2 of 3 instances are ready; web@3.service: about to be replaced", 0},
		{"moving", func(in *Input) {
			in.setUnit("web@3.service", func(u *v1.Unit) {
				u.Rollout = v1.Rollout{Phase: v1.RolloutLeaving, From: "m1", Since: now}
			})
			in.setUnit("web-discovery@3.service", func(u *v1.Unit) { u.Spec.DesiredState = v1.Loaded })
			delete(in.Endpoints, "web/web@3")
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 2, Updated: 3},
			"Progressing=True Moving: web@3.service is to leave m1; 2 of 3 instances are ready\n" +
				"Ready=False Moving: 2 of 3 instances are ready; web@3.service: withdrawn from the routers, about to leave m1", 5 * time.Minute},
		{"another app has its host", func(in *Input) {
			in.Routers["m2"] = v1.Router{Revision: 20, Refusals: leaves(map[string]string{"web": "HostTaken: host www.example.com belongs to app shop", "/services/web/x": "InvalidKey: no"})}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3}, "Routed=False HostTaken: the router on m2: host www.example.com belongs to app shop\n" +
			"Ready=False HostTaken: 3 of 3 instances are ready; the router on m2: host www.example.com belongs to app shop", 0},
		{"a router that cannot apply what changed", func(in *Input) {
			failing := &v1.RouterFailure{Since: now.Add(-time.Hour), Message: "nginx -t did not end within 10s"}
			in.Routers["m2"] = v1.Router{Revision: 1, Failing: failing}
			in.Routers["m3"] = v1.Router{Revision: 20, Failing: failing} // it serves what concerns this app
			for name := range in.Endpoints {
				in.Endpoints[name] = 15
			}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Updated: 3},
			"Progressing=True Starting: 0 of 3 instances are ready\n" +
				"Routed=False RouterFailing: the router on m2 has failed to apply changes since 2026-01-01T11:00:00Z: nginx -t did not end within 10s\n" +
				"Ready=False RouterFailing: 0 of 3 instances are ready; the router on m2 has failed to apply changes since 2026-01-01T11:00:00Z: nginx -t did not end within 10s", 0},
		{"a router refuses an endpoint", func(in *Input) {
			in.Routers["m2"] = v1.Router{Revision: 20, Refusals: leaves(map[string]string{"/services/web/web/web@2": "ReservedPort: port 80 is that of the routers"})}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3}, "Routed=False ReservedPort: the router on m2: web@2: port 80 is that of the routers\n" +
			"Ready=False ReservedPort: 3 of 3 instances are ready; the router on m2: web@2: port 80 is that of the routers", 0},
		{"a router refuses what others announce", func(in *Input) {
			in.Routers["m2"] = v1.Router{Revision: 20, Refusals: leaves(map[string]string{"/services/web/web/evil": "UntrustedAddress: x", "/services/web/web/web@4": "UntrustedAddress: x", "/services/web/web2/web@2": "UntrustedAddress: x"})}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3}, "", 0},
		{"a router that says anything", func(in *Input) {
			in.Routers["m2"] = v1.Router{Revision: 20, Refused: map[string]string{"web": "x\n: y"}}
			in.Routers["m3"] = v1.Router{Revision: 20, Refused: map[string]string{"web": "Long: " + strings.Repeat("x", 1000)}}
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 3, Updated: 3}, "Routed=False Long: the router on m3: " + strings.Repeat("x", 300) +
			"\nReady=False Long: 3 of 3 instances are ready; the router on m3: " + strings.Repeat("x", 300), 0},
		{"a move that stalled", func(in *Input) {
			stalling(in, 5*time.Minute)
			in.setUnit("web@2.service", func(u *v1.Unit) { u.Rollout.From = "m1" })
		}, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 2, Updated: 3},
			"Progressing=False MoveStalled: web@2.service is not ready within 5m0s after it had to leave m1: active, but not announced: its health check fails or has not passed yet\n" +
				"Ready=False NotAnnounced: 2 of 3 instances are ready; web@2.service: active, but not announced: its health check fails or has not passed yet", 0},
		{"stalled", func(in *Input) { stalling(in, 5*time.Minute) }, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 2, Updated: 3},
			"Progressing=False RolloutStalled: revision 3: web@2.service is not ready within 5m0s: active, but not announced: its health check fails or has not passed yet\n" +
				"Ready=False NotAnnounced: 2 of 3 instances are ready; web@2.service: active, but not announced: its health check fails or has not passed yet", 0},
		{"about to stall", func(in *Input) { stalling(in, 4*time.Minute) }, v1.ReplicaCounts{Desired: 3, Scheduled: 3, Active: 3, Ready: 2, Updated: 3},
			"Progressing=True Starting: 2 of 3 instances are ready\n" +
				"Ready=False NotAnnounced: 2 of 3 instances are ready; web@2.service: active, but not announced: its health check fails or has not passed yet", time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := running(t, 3)
			c.change(&in)
			plan := Plan(in)
			require.NotNil(t, plan.Put)
			require.Equal(t, c.counts, plan.Put.Replicas)
			require.Equal(t, c.after, plan.After)
			require.Equal(t, c.want, unusual(plan.Put))
			require.Equal(t, in.ManifestRevision, plan.Put.ObservedRevision)
			if in.Latest != nil {
				require.EqualValues(t, 3, plan.Put.AcceptedRevision)
			}
			in.Current, in.Now = plan.Put, now.Add(time.Second)
			require.Nil(t, Plan(in).Put, "computed again it is the same")
		})
	}
}

// unusual lists the conditions that a ready app does not have.
func unusual(s *v1.AppStatus) string {
	usual := map[string]string{v1.Accepted: "True Accepted", v1.Scheduled: "True Scheduled", v1.Available: "True Available", v1.Progressing: "False Updated", v1.Ready: "True Ready"}
	var lines []string
	for _, condition := range slices.Sorted(maps.Keys(usual)) {
		if v1.FindCondition(s.Conditions, condition) == nil {
			lines = append(lines, "nothing is said of "+condition)
		}
	}
	for _, c := range s.Conditions {
		if usual[c.Type] != c.Status+" "+c.Reason || c.Type == v1.Progressing && !strings.HasPrefix(c.Message, "3 of 3") {
			lines = append(lines, fmt.Sprintf("%s=%s %s: %s", c.Type, c.Status, c.Reason, c.Message))
		}
	}
	return strings.Join(lines, "\n")
}

// TestAUnitThatStaysForNow: a unit that runs and cannot go where it should is reported, and does not make the app unready.
func TestAUnitThatStaysForNow(t *testing.T) {
	in := running(t, 3)
	const why = "it stays on m2 for now (m2 is being drained): 0 of 2 machines fit"
	in.Unplaced["web@2.service"] = v1.Unplaced{Message: why, Reasons: []v1.Refusal{{Reason: "Draining"}}}
	scheduled := v1.FindCondition(Plan(in).Put.Conditions, v1.Scheduled)
	require.Equal(t, v1.ConditionTrue, scheduled.Status)
	require.Equal(t, "web@2.service: "+why, scheduled.Message)
}

func TestTransitionTimesStay(t *testing.T) {
	in := running(t, 1)
	first := Plan(in)
	in.Current, in.CurrentRevision = first.Put, 9
	delete(in.Endpoints, "web/web@1")
	in.Now = now.Add(time.Hour)
	second := Plan(in)
	require.EqualValues(t, 9, second.If)
	require.Equal(t, now, v1.FindCondition(second.Put.Conditions, v1.Accepted).LastTransitionTime)
	require.Equal(t, in.Now, v1.FindCondition(second.Put.Conditions, v1.Ready).LastTransitionTime)
	require.Equal(t, v1.ConditionTrue, v1.FindCondition(first.Put.Conditions, v1.Ready).Status, "the first status is not touched")
}

func TestDeletedAppHasNoStatus(t *testing.T) {
	require.Equal(t, Decision{Reason: ReasonAppDeleted}, Plan(Input{App: "web"}))
	require.Equal(t, Decision{Delete: true, If: 4, Reason: ReasonAppDeleted}, Plan(Input{App: "web", Current: &v1.AppStatus{}, CurrentRevision: 4}))
}

func TestGlobalApp(t *testing.T) {
	in := running(t, 0)
	in.Latest.Spec.Global, in.Latest.Spec.Replicas, in.Latest.Spec.Announce, in.Latest.SidekickFile = true, nil, nil, ""
	in.Units["web.service"] = &v1.Unit{Spec: v1.UnitSpec{Hash: "u", DesiredState: v1.Launched}}
	in.Machines = map[string]Machine{"m1": {Schedulable: true}, "m2222222222": {Schedulable: true}}
	in.Placements["web.service"] = []string{"m1", "m2222222222"}
	in.States["web.service"] = map[string]*v1.UnitState{"m1": {ActiveState: "active", Hash: "u"}}
	plan := Plan(in)
	require.Equal(t, v1.ReplicaCounts{Desired: 2, Scheduled: 2, Active: 1, Ready: 1, Updated: 1}, plan.Put.Replicas)
	require.Equal(t, "1 of 2 instances are ready; web.service on m2222222...: its machine has not reported it", v1.FindCondition(plan.Put.Conditions, v1.Ready).Message)
}

// TestRoutedAgain: when no router leaves the app out any more, the condition is removed.
func TestRoutedAgain(t *testing.T) {
	in := running(t, 3)
	in.Routers["m1"] = v1.Router{Revision: 20, Refusals: leaves(map[string]string{"web": "HostTaken: x"})}
	in.Current = Plan(in).Put
	require.NotNil(t, v1.FindCondition(in.Current.Conditions, v1.Routed))
	in.Routers["m1"] = v1.Router{Revision: 20}
	require.Nil(t, v1.FindCondition(Plan(in).Put.Conditions, v1.Routed))
}
