package instance

import (
	"testing"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// TestSummarize: for a ready app, whether another one has its host; for one that is not ready, what is wrong first.
func TestSummarize(t *testing.T) {
	app := func(conditions ...v1.Condition) v1.AppSummary {
		return Summarize(&v1.AppStatus{Conditions: conditions})
	}
	is := func(name, status, reason, message string) v1.Condition {
		return v1.Condition{Type: name, Status: status, Reason: reason, Message: message}
	}
	ready, waits := is(v1.Ready, v1.ConditionTrue, "Ready", ""), is(v1.Ready, v1.ConditionFalse, string(Starting), "1 of 2 are ready")
	taken := is(v1.Routed, v1.ConditionFalse, "HostTaken", "host a belongs to app b")
	stalled, over := is(v1.Progressing, v1.ConditionFalse, v1.ReasonMoveStalled, "m"), is(v1.Progressing, v1.ConditionFalse, "Updated", "")
	rolling := is(v1.Progressing, v1.ConditionTrue, "RollingOut", "1 of 2 replaced")
	for _, c := range []struct {
		name string
		got  v1.AppSummary
		want v1.AppSummary
	}{
		{"nothing known", Summarize(nil), v1.AppSummary{Phase: v1.AppPending, Message: "Pending"}},
		{"nothing said", app(), v1.AppSummary{Phase: v1.AppPending, Message: "Pending"}},
		{"ready", app(ready, over), v1.AppSummary{Phase: v1.AppReady, Message: "Ready"}},
		{"its host is taken", app(ready, taken), v1.AppSummary{Phase: v1.AppBroken, Condition: v1.Routed, Message: "HostTaken: host a belongs to app b"}},
		{"a move stalls", app(stalled, taken), v1.AppSummary{Phase: v1.AppBroken, Condition: v1.Progressing, Message: "MoveStalled: m"}},
		{"not accepted", app(is(v1.Accepted, v1.ConditionFalse, v1.ReasonInvalidManifest, "line 1"), stalled),
			v1.AppSummary{Phase: v1.AppBroken, Condition: v1.Accepted, Message: "InvalidManifest: line 1"}},
		{"no machine fits", app(is(v1.Scheduled, v1.ConditionFalse, "Ports", "taken")), v1.AppSummary{Phase: v1.AppBroken, Condition: v1.Scheduled, Message: "Ports: taken"}},
		{"it waits for others", app(is(v1.Scheduled, v1.ConditionFalse, v1.ReasonMachineOf, "db")),
			v1.AppSummary{Phase: v1.AppBroken, Condition: v1.Scheduled, Message: "MachineOf: db", WaitsForOthers: true}},
		{"not looked at", app(is(v1.Scheduled, v1.ConditionFalse, v1.ReasonPending, ""), waits), v1.AppSummary{Phase: v1.AppProgressing, Message: "1 of 2 are ready"}},
		{"no router so far", app(is(v1.Routed, v1.ConditionFalse, v1.ReasonNoRouter, ""), waits), v1.AppSummary{Phase: v1.AppProgressing, Message: "1 of 2 are ready"}},
		{"a router fails", app(is(v1.Routed, v1.ConditionFalse, v1.ReasonRouterFailing, ""), rolling, waits), v1.AppSummary{Phase: v1.AppProgressing, Message: "1 of 2 replaced"}},
		{"in a restart loop", app(over, is(v1.Ready, v1.ConditionFalse, string(RestartLoop), "web@1")),
			v1.AppSummary{Phase: v1.AppBroken, Condition: v1.Ready, Message: "RestartLoop: web@1"}},
	} {
		require.Equal(t, c.want, c.got, c.name)
	}
}

// TestShow: one line says what a person should know, also about a unit that runs with its old file because its new one fits
// nowhere.
func TestShow(t *testing.T) {
	const id = "8abff2e7000000000000000000000000"
	unplaced := &v1.Unplaced{Message: "it stays on 8abff2e7 for now: too full"}
	stopped := &v1.Override{DesiredState: v1.Loaded}
	at := func(s v1.UnitState) v1.UnitOnMachine {
		return v1.UnitOnMachine{Machine: id, Address: "10.0.0.1", Placement: &v1.Placement{}, State: &s}
	}
	runs, says := at(v1.UnitState{ActiveState: "active"}), at(v1.UnitState{ActiveState: "active", Message: "refused"})
	left, away, silent := runs, v1.UnitOnMachine{Machine: id, Placement: &v1.Placement{}}, v1.UnitOnMachine{Machine: id, Address: "10.0.0.1", Placement: &v1.Placement{}}
	left.Placement = nil
	failed := at(v1.UnitState{ActiveState: "failed", SubState: "failed", Result: "exit-code", ExitCode: "exited", ExitStatus: 203})
	on := func(machines ...v1.UnitOnMachine) v1.UnitStatus { return v1.UnitStatus{Machines: machines} }
	const byHand = "stopped by hand: fleetctl start web@1"
	for name, c := range map[string]struct {
		status v1.UnitStatus
		phase  v1.Phase
		reason string // on its machine, or on none
	}{
		"runs":                       {on(runs), v1.PhaseActive, ""},
		"fits nowhere":               {v1.UnitStatus{Unplaced: unplaced}, v1.PhaseUnplaced, unplaced.Message},
		"its new file does not":      {v1.UnitStatus{Unplaced: unplaced, Machines: []v1.UnitOnMachine{runs}}, v1.PhaseActive, unplaced.Message},
		"its machine says more":      {v1.UnitStatus{Unplaced: unplaced, Machines: []v1.UnitOnMachine{says}}, v1.PhaseActive, "refused"},
		"a machine that it left":     {v1.UnitStatus{Unplaced: unplaced, Machines: []v1.UnitOnMachine{left}}, v1.PhaseActive, ""},
		"and a person stopped it":    {v1.UnitStatus{Unplaced: unplaced, Override: stopped, Machines: []v1.UnitOnMachine{runs}}, v1.PhaseActive, byHand},
		"stopped, on no machine":     {v1.UnitStatus{Unplaced: unplaced, Override: stopped}, v1.PhaseStopped, byHand},
		"started by hand":            {v1.UnitStatus{Override: &v1.Override{DesiredState: v1.Launched}}, v1.PhasePending, ""},
		"not placed so far":          {v1.UnitStatus{}, v1.PhasePending, ""},
		"its machine is away":        {on(away), v1.PhaseAway, "the machine is away"},
		"away, and stopped":          {v1.UnitStatus{Override: stopped, Machines: []v1.UnitOnMachine{away}}, v1.PhaseAway, "the machine is away"},
		"not reported":               {on(silent), v1.PhasePending, ""},
		"failed":                     {on(failed), v1.PhaseFailed, "failed, result exit-code, exit status 203 (EXEC: the program cannot be executed)"},
		"one of two failed":          {on(failed, runs), v1.PhaseFailed, "failed, result exit-code, exit status 203 (EXEC: the program cannot be executed)"},
		"what it left does not tell": {on(runs, v1.UnitOnMachine{Machine: "m2", State: failed.State}), v1.PhaseActive, ""},
		"a few restarts":             {on(at(v1.UnitState{ActiveState: "activating", SubState: "auto-restart", Restarts: 2})), v1.PhaseRestarting, "activating (auto-restart), restarted 2 times"},
		"a restart loop":             {on(at(v1.UnitState{ActiveState: "activating", SubState: "auto-restart", Restarts: 3})), v1.PhaseRestartLoop, "activating (auto-restart), restarted 3 times"},
		"a condition is not met":     {on(at(v1.UnitState{ActiveState: "inactive", JobResult: v1.JobSkipped, Message: "ConditionUser=x"})), v1.PhaseSkipped, "ConditionUser=x"},
		"refused":                    {on(at(v1.UnitState{ActiveState: "inactive", Message: "one of its own"})), v1.PhaseRefused, "one of its own"},
		"pulling":                    {on(at(v1.UnitState{ActiveState: "inactive", Message: "pulling web:1", Prepared: v1.Prepared{State: v1.PreparedPulling}})), v1.PhaseStarting, "pulling web:1"},
		"cannot be pulled":           {on(at(v1.UnitState{ActiveState: "inactive", Message: "cannot pull web:1", Prepared: v1.Prepared{State: v1.PreparedFailed}})), v1.PhaseRefused, "cannot pull web:1"},
		"runs, and its next pulls":   {on(at(v1.UnitState{ActiveState: "active", Prepared: v1.Prepared{State: v1.PreparedPulling, Message: "pulling web:2"}})), v1.PhaseActive, "pulling web:2"},
		"runs, and its next is here": {on(at(v1.UnitState{ActiveState: "active", Prepared: v1.Prepared{State: v1.PreparedReady, Message: "an older image"}})), v1.PhaseActive, ""},
		"ends, and its next fails": {on(at(v1.UnitState{ActiveState: "activating", SubState: "auto-restart", Prepared: v1.Prepared{State: v1.PreparedFailed, Message: "cannot pull web:2"}})),
			v1.PhaseRestarting, "activating (auto-restart); cannot pull web:2"},
		"starting": {on(at(v1.UnitState{ActiveState: "activating"})), v1.PhaseStarting, ""},
		"stopping": {on(at(v1.UnitState{ActiveState: "deactivating"})), v1.PhaseStopping, ""},
		"stopped":  {on(at(v1.UnitState{ActiveState: "inactive"})), v1.PhaseStopped, ""},
		"done":     {on(at(v1.UnitState{ActiveState: "inactive", Result: "success", DesiredState: v1.Launched})), v1.PhaseDone, ""},
	} {
		unit := v1.Unit{Metadata: v1.ObjectMeta{Name: "web@1.service", Owner: "web"}, Spec: v1.UnitSpec{DesiredState: v1.Launched}, Status: &c.status}
		Show(&unit, now)
		require.Equal(t, c.phase, unit.Status.Phase, name)
		reason := unit.Status.Reason
		if len(unit.Status.Machines) > 0 {
			require.Empty(t, reason, name)
			reason = unit.Status.Machines[0].Reason
		}
		require.Equal(t, c.reason, reason, name)
		require.Equal(t, c.status.Override == stopped, unit.Status.StoppedByHand, name)
	}
	unit := v1.Unit{Spec: v1.UnitSpec{DesiredState: v1.Inactive}, Status: &v1.UnitStatus{}}
	Show(&unit, now)
	require.Equal(t, v1.PhaseInactive, unit.Status.Phase, "nothing is to come of it")
	require.False(t, unit.Status.Changing)
	unit.Rollout = v1.Rollout{Phase: v1.RolloutUpdating, Since: now}
	Show(&unit, now)
	require.True(t, unit.Status.Changing)
	unit.Rollout, unit.Next = v1.Rollout{}, v1.Next{Preparation: v1.Preparation{RequestedAt: "now"}}
	Show(&unit, now)
	require.True(t, unit.Status.Changing, "its restart is prepared")
}

// TestWaitsForOthers: only other units' placements keep it off machines.
func TestWaitsForOthers(t *testing.T) {
	because := func(reasons ...string) *v1.Unplaced {
		u := &v1.Unplaced{}
		for _, r := range reasons {
			u.Reasons = append(u.Reasons, v1.Refusal{Reason: r})
		}
		return u
	}
	require.False(t, waitsForOthers(nil))
	require.False(t, waitsForOthers(because()))
	require.False(t, waitsForOthers(because("Ports")))
	require.False(t, waitsForOthers(because("MachineOf", "Ports")))
	require.True(t, waitsForOthers(because("MachineOf", "MachineOf")))
}
