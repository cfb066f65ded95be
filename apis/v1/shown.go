package v1

// What only readers see: the API puts it together from what is stored when it is asked, and nothing of it is stored.

// Phase is how far a unit is on a machine, or why it is on none.
type Phase string

// The phases of a unit.
const (
	PhaseInactive    Phase = "Inactive"    // on no machine, and meant to be on none
	PhaseUnplaced    Phase = "Unplaced"    // no machine fits
	PhasePending     Phase = "Pending"     // not placed so far, or its machine has said nothing of it
	PhaseAway        Phase = "Away"        // its machine is not there
	PhaseRefused     Phase = "Refused"     // the machine could not do what was asked: see the reason
	PhaseFailed      Phase = "Failed"      // it failed, and systemd does not start it again
	PhaseRestartLoop Phase = "RestartLoop" // it ends again and again, and systemd starts it again
	PhaseRestarting  Phase = "Restarting"  // it ended, and systemd starts it again
	PhaseStarting    Phase = "Starting"
	PhaseStopping    Phase = "Stopping"
	PhaseStopped     Phase = "Stopped" // it does not run
	PhaseSkipped     Phase = "Skipped" // a condition in its file is not met, which is no failure
	PhaseActive      Phase = "Active"  // a service runs, a timer or a socket waits
	PhaseDone        Phase = "Done"    // it ran, and ended with success
)

// phases is their order: of a unit on several machines the first one is told.
var phases = []Phase{PhaseFailed, PhaseRestartLoop, PhaseRefused, PhaseUnplaced, PhaseRestarting, PhaseAway, PhasePending,
	PhaseStarting, PhaseStopping, PhaseStopped, PhaseSkipped, PhaseActive, PhaseDone, PhaseInactive}

// WorstPhase is the phase of a unit that is on several machines.
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

// UnitFileFacts is what a unit's file says, as far as it can be read.
type UnitFileFacts struct {
	// SHA1 is the hash of the text that the original fleet tells.
	SHA1        string `json:"sha1,omitempty"`
	Description string `json:"description,omitempty"`
	// Global: the unit runs on every machine that matches.
	Global bool `json:"global,omitempty"`
	// MachineOf are the units that it has to be on one machine with, their names with specifiers expanded.
	MachineOf []string `json:"machineOf,omitempty"`
	// Options are those of [X-Fleet], as they are written.
	Options []UnitFileOption `json:"options,omitempty"`
}

// UnitFileOption is one assignment.
type UnitFileOption struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// The phases of an App.
const (
	AppPending     = "Pending"     // nothing is said of it so far
	AppProgressing = "Progressing" // it gets ready, or may by itself
	AppReady       = "Ready"
	AppBroken      = "Broken" // waiting changes nothing: something has to be done first
)

// AppSummary is how an App does, from its conditions.
type AppSummary struct {
	Phase string `json:"phase"`
	// Condition is the type of the condition that breaks it; empty for none.
	Condition string `json:"condition,omitempty"`
	// Message is one line: what is wrong, else what is waited for, else Ready.
	Message string `json:"message"`
	// WaitsForOthers: nothing is wrong but that units that its own have to be beside are not where they have to be.
	WaitsForOthers bool `json:"waitsForOthers,omitempty"`
}

// MachineStatus is how a machine does.
type MachineStatus struct {
	// State is ready, cordoned, draining, or which of its controllers keep failing.
	State string `json:"state"`
	// Warnings say what is wrong there, and what that means.
	Warnings []string `json:"warnings,omitempty"`
}
