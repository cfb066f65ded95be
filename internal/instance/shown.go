package instance

import (
	"cmp"
	"slices"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Show completes a unit for its readers: its phase, here and on each machine, and what a person should know.
func Show(unit *v1.Unit, now time.Time) {
	status := unit.Status
	status.StoppedByHand = stoppedByHand(unit)
	status.WaitsForOthers = waitsForOthers(status.Unplaced)
	status.Changing = v1.RolloutOf(unit, nil).UnderWay() || unit.Next != (v1.Next{})
	stopped := ""
	if status.StoppedByHand {
		stopped = "stopped by hand: fleetctl start " + strings.TrimSuffix(unit.Metadata.Name, ".service")
	}
	for i := range status.Machines {
		m := &status.Machines[i]
		m.Phase, m.Outcome = phaseOn(m), Outcome(m.State)
		m.Reason = cmp.Or(reasonOn(m, status.Unplaced, stopped, now), stopped)
	}
	if len(status.Machines) > 0 {
		placed := slices.DeleteFunc(slices.Clone(status.Machines), func(m v1.UnitOnMachine) bool { return m.Placement == nil })
		status.Phase = cmp.Or(v1.WorstPhase(placed), v1.WorstPhase(status.Machines))
		return
	}
	status.Reason = stopped
	switch {
	case status.StoppedByHand:
		status.Phase = v1.PhaseStopped
	case status.Unplaced != nil:
		status.Phase, status.Reason = v1.PhaseUnplaced, status.Unplaced.Message
	case unit.Spec.DesiredState == v1.Inactive:
		status.Phase = v1.PhaseInactive
	default:
		status.Phase = v1.PhasePending
	}
}

// announcedSoon is how long an instance that runs may take to be announced before that needs a reason.
const announcedSoon = 3 * time.Second

// ShowUnannounced completes a unit of an announced app that has no endpoint, if it should have one: nothing else tells of an instance
// that hangs.
func ShowUnannounced(unit *v1.Unit, now time.Time) {
	_, sidekick, ok := v1.ParseAppUnit(unit.Metadata.Owner, unit.Metadata.Name)
	if !ok || sidekick || len(unit.Status.Machines) != 1 {
		return // of a global app the endpoint has another name
	}
	switch v1.RolloutOf(unit, nil).Phase {
	case v1.RolloutWithdrawing, v1.RolloutLeaving, v1.RolloutLetGo:
		return // it has been withdrawn
	}
	m := &unit.Status.Machines[0]
	if m.Reason == "" && m.Placement != nil && m.Phase == v1.PhaseActive && now.Sub(m.State.Since) >= announcedSoon {
		m.Reason = unannounced
	}
}

// unannounced is why an instance that runs has no endpoint.
const unannounced = "active, but not announced: its health check fails or has not passed yet"

// stoppedByHand reports whether a person wants it stopped and its app does not.
func stoppedByHand(unit *v1.Unit) bool {
	o := unit.Status.Override
	return o != nil && unit.Metadata.Owner != "" && o.DesiredState != "" && o.DesiredState != v1.Launched
}

// waitsForOthers reports whether only other units' placements keep it off machines.
func waitsForOthers(why *v1.Unplaced) bool {
	return why != nil && len(why.Reasons) > 0 &&
		!slices.ContainsFunc(why.Reasons, func(r v1.Refusal) bool { return r.Reason != v1.ReasonMachineOf })
}

// phaseOn is a unit's phase on a machine.
func phaseOn(m *v1.UnitOnMachine) v1.Phase {
	s := m.State
	switch {
	case s == nil && m.Address == "":
		return v1.PhaseAway
	case s == nil:
		return v1.PhasePending
	}
	switch activity := ActivityOf(s); {
	case activity == Active:
		return v1.PhaseActive
	case activity == Failing:
		return v1.PhaseFailed
	case activity == Restarting && s.Restarts >= LoopRestarts:
		return v1.PhaseRestartLoop
	case s.JobResult == v1.JobSkipped:
		return v1.PhaseSkipped
	case activity == Inactive && s.Prepared.State == v1.PreparedPulling:
		return v1.PhaseStarting
	case s.Message != "":
		return v1.PhaseRefused
	case activity == Restarting:
		return v1.PhaseRestarting
	case activity == Activating:
		return v1.PhaseStarting
	case activity == Stopping:
		return v1.PhaseStopping
	case activity == Ended:
		return v1.PhaseDone
	}
	return v1.PhaseStopped
}

// reasonOn says what is wrong with a unit on a machine; "" if nothing is, or if it is just stopped.
func reasonOn(m *v1.UnitOnMachine, unplaced *v1.Unplaced, stopped string, now time.Time) string {
	if m.State == nil {
		if m.Address == "" {
			return "the machine is away"
		}
		return ""
	}
	trouble := Trouble(m.State, now)
	if next := m.State.Prepared.Waits(); next != "" && trouble != "" {
		trouble += "; " + next
	} else if next != "" {
		trouble = next
	}
	if trouble == "" && stopped == "" && m.Placement != nil && unplaced != nil {
		return unplaced.Message // it runs as before, and cannot be as it should
	}
	return trouble
}

// Summarize condenses an App's status.
func Summarize(status *v1.AppStatus) v1.AppSummary {
	if status == nil || len(status.Conditions) == 0 {
		return v1.AppSummary{Phase: v1.AppPending, Message: v1.AppPending}
	}
	if c := breaks(status.Conditions); c != nil {
		return v1.AppSummary{Phase: v1.AppBroken, Condition: c.Type, Message: c.Reason + ": " + c.Message,
			WaitsForOthers: c.Type == v1.Scheduled && c.Reason == v1.ReasonMachineOf}
	}
	if v1.IsTrue(status.Conditions, v1.Ready) {
		return v1.AppSummary{Phase: v1.AppReady, Message: v1.AppReady}
	}
	progress, ready := message(status.Conditions, v1.Progressing), message(status.Conditions, v1.Ready)
	if !v1.IsTrue(status.Conditions, v1.Progressing) || strings.HasPrefix(ready, progress) {
		progress = ready // there is none, or Ready says as much and more
	}
	return v1.AppSummary{Phase: v1.AppProgressing, Message: cmp.Or(progress, v1.AppProgressing)}
}

// breaks returns the condition that keeps an app from being ready, or from having a host, and that waiting will not fix; nil
// if there is none.
func breaks(conditions []v1.Condition) *v1.Condition {
	for _, name := range []string{v1.Accepted, v1.Scheduled, v1.Progressing, v1.Routed, v1.Ready} {
		if c := v1.FindCondition(conditions, name); c != nil && c.Status == v1.ConditionFalse && !passing(*c) {
			return c
		}
	}
	return nil
}

// passing reports whether a condition is False only for the moment.
func passing(c v1.Condition) bool {
	switch c.Type {
	case v1.Progressing: // False is also the rest after a roll-out
		return c.Reason != v1.ReasonRolloutStalled && c.Reason != v1.ReasonMoveStalled
	case v1.Scheduled:
		return c.Reason == v1.ReasonPending || c.Reason == v1.ReasonReleasing // else it names the constraint
	case v1.Routed:
		return c.Reason == v1.ReasonNoRouter || c.Reason == v1.ReasonRouterFailing // one may come, or recover; else another app has the host
	case v1.Ready:
		return !State(c.Reason).Final()
	}
	return false
}

func message(conditions []v1.Condition, name string) string {
	if c := v1.FindCondition(conditions, name); c != nil {
		return c.Message
	}
	return ""
}
