package instance

import v1 "github.com/fleet-starter/fleet/apis/v1"

// Release is how far a release command is.
type Release struct {
	// Ended: with success. Failed: with an error. Stuck: it cannot be started for now. None of them: it is about to be started, or runs.
	Ended, Failed, Stuck bool
	// Why is the rest of a sentence that begins with "its release command".
	Why string
	// State is what its machine reports of the run; nil: nothing yet.
	State *v1.UnitState
}

// OfRelease computes how far the run is that the unit of a release command asks for. State is that of its machine, whose ID is machine.
func OfRelease(in Input, machine string) Release {
	switch {
	case in.Away && in.Unplaced != nil:
		return Release{Why: "is on a machine that is not present, and fits on no other one: " + in.Unplaced.Message}
	case in.Away:
		return Release{Why: "is on a machine that is not present: it is run again on another one"}
	case !in.Placed && in.Unplaced != nil:
		return Release{Stuck: true, Why: "has no machine: " + in.Unplaced.Message}
	case !in.Placed:
		return Release{Why: "is about to be placed"}
	}
	on := " on " + ShortMachine(machine)
	if s := in.State; s == nil || s.RequestedAt != in.Unit.Spec.RequestedAt || s.Hash != in.Unit.Spec.Hash {
		if s != nil && (s.Prepared.State == v1.PreparedFailed || s.Message != "" && s.DesiredState == v1.Launched) {
			return Release{Stuck: true, Why: "cannot be started" + on + ": " + waits(s), State: s}
		}
		return Release{Why: "is about to be started" + on}
	}
	in.Hash, in.Oneshot = in.Unit.Spec.Hash, true
	how := Of(in)
	release := Release{State: in.State}
	switch s := in.State; {
	case how.Work == Done:
		release.Ended = true
	case how.Work == Failed:
		release.Failed, release.Why = true, "failed"+on+": "+describe(s)
	case Up(s):
		release.Why = "runs" + on
	case s.JobResult != "":
		release.Failed, release.Why = true, "could not be started"+on+": "+describe(s)
	default:
		release.Stuck, release.Why = true, "does not run"+on+": "+waits(s)
	}
	return release
}

// waits is why a unit does not run, in the words of its machine.
func waits(s *v1.UnitState) string {
	if why := s.Prepared.Waits(); why != "" {
		return why
	}
	return describe(s)
}
