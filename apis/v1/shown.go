package v1

// Types for display only: the API computes them on read; none is stored.

// Phase is a unit's progress on a machine, or why it is on none.
type Phase string

// The phases of a unit.
const (
	PhaseInactive    Phase = "Inactive"    // on no machine, as desired
	PhaseUnplaced    Phase = "Unplaced"    // no machine fits
	PhasePending     Phase = "Pending"     // not placed yet, or not yet reported by its machine
	PhaseAway        Phase = "Away"        // its machine is gone
	PhaseRefused     Phase = "Refused"     // the machine could not do what was asked: see Reason
	PhaseFailed      Phase = "Failed"      // failed, and systemd does not restart it
	PhaseRestartLoop Phase = "RestartLoop" // keeps exiting and being restarted by systemd
	PhaseRestarting  Phase = "Restarting"  // exited, systemd is about to restart it
	PhaseStarting    Phase = "Starting"
	PhaseStopping    Phase = "Stopping"
	PhaseStopped     Phase = "Stopped" // not running
	PhaseSkipped     Phase = "Skipped" // a condition in its file is not met; not a failure
	PhaseActive      Phase = "Active"  // a service runs, a timer or socket waits
	PhaseDone        Phase = "Done"    // finished successfully
)

// phases is their order of severity.
var phases = []Phase{PhaseFailed, PhaseRestartLoop, PhaseRefused, PhaseUnplaced, PhaseRestarting, PhaseAway, PhasePending,
	PhaseStarting, PhaseStopping, PhaseStopped, PhaseSkipped, PhaseActive, PhaseDone, PhaseInactive}

// WorstPhase returns the most severe phase of a unit across its machines.
func WorstPhase(machines []UnitOnMachine) Phase {
	for _, phase := range phases {
		for _, m := range machines {
			if m.Phase == phase {
				return phase
			}
		}
	}
	return ""
}

// UnitFileFacts is what could be read from a unit file.
type UnitFileFacts struct {
	// SHA1 is the hash of the text, as the original fleet reports it.
	SHA1        string `json:"sha1,omitempty"`
	Description string `json:"description,omitempty"`
	// Global: the unit runs on every matching machine.
	Global bool `json:"global,omitempty"`
	// MachineOf are the units it must share a machine with, with specifiers expanded.
	MachineOf []string `json:"machineOf,omitempty"`
	// Options are the options of [X-Fleet] as written.
	Options []UnitOption `json:"options,omitempty"`
}

// The phases of an App.
const (
	AppPending     = "Pending"     // no status yet
	AppProgressing = "Progressing" // becoming ready, or may without intervention
	AppReady       = "Ready"
	AppBroken      = "Broken" // needs intervention
)

// AppSummary is an App's state, derived from its conditions.
type AppSummary struct {
	Phase string `json:"phase"`
	// Condition is the type of the condition that makes it Broken; empty if none.
	Condition string `json:"condition,omitempty"`
	// Message is one line: what is wrong, else what is pending, else Ready.
	Message string `json:"message"`
	// WaitsForOthers: the only problem is that units which its own must share a machine with are not placed suitably.
	WaitsForOthers bool `json:"waitsForOthers,omitempty"`
}

// MachineStatus is a machine's state.
type MachineStatus struct {
	// State is ready, cordoned or draining, or the list of failing controllers.
	State string `json:"state"`
	// Warnings say what is wrong on the machine and what follows from it.
	Warnings []string `json:"warnings,omitempty"`
}
