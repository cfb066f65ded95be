package v1

import (
	"net/netip"
	"strings"
	"time"
)

// DesiredState is the state that a unit is to reach, as in the original fleet.
type DesiredState string

// The desired states, in order of progress.
const (
	Inactive DesiredState = "inactive" // known to the cluster, on no machine
	Loaded   DesiredState = "loaded"   // placed, its file on the machine, not started
	Launched DesiredState = "launched" // placed and started
)

// Unit is a systemd unit that fleet places on a machine. Stored in etcd at units/<name>.
type Unit struct {
	TypeMeta `json:",inline"`
	Metadata ObjectMeta `json:"metadata"`
	Spec     UnitSpec   `json:"spec"`
	// Rollout is how far a roll-out is with an instance of an app: see RolloutOf.
	Rollout Rollout `json:"rollout,omitzero"`
	// Next is the start that the unit's machine is to prepare while it goes on as it is; zero if there is none.
	Next Next `json:"next,omitzero"`
	// Status is computed on read, never stored.
	Status *UnitStatus `json:"status,omitempty"`
}

// UnitSpec is the desired unit. The file is given by contents (in manifests) or by hash (in etcd).
type UnitSpec struct {
	// Contents is the unit file's text.
	Contents string `json:"contents,omitempty"`
	// Hash is the SHA-256 of the text, which is stored once for all units that share it, at unitfiles/<hash>.
	Hash string `json:"hash,omitempty"`
	// DesiredState is inactive, loaded or launched. Default launched.
	DesiredState DesiredState `json:"desiredState,omitempty"`
	// RequestedAt is when a user last asked for the unit to be started. Changing it starts a stopped or failed unit
	// again.
	RequestedAt string `json:"requestedAt,omitempty"`
	// PreferMachine is the ID of the machine that the unit goes to if it fits there, such as one that runs it already: see
	// fleetctl import --from-fleet. It goes to any other rather than to none, and does not move when that machine joins.
	PreferMachine string `json:"preferMachine,omitempty"`
}

// UnitStatus is where a unit is placed and its state there.
type UnitStatus struct {
	// Phase is the unit's progress; for a unit on several machines the most severe phase.
	Phase Phase `json:"phase,omitempty"`
	// Reason explains in one line the state of a unit that is on no machine; for others see Machines.
	Reason string `json:"reason,omitempty"`
	// StoppedByHand: its app wants it to run, but a user stopped it.
	StoppedByHand bool `json:"stoppedByHand,omitempty"`
	// WaitsForOthers: no machine fits only because the units it must share a machine with are not placed suitably.
	WaitsForOthers bool `json:"waitsForOthers,omitempty"`
	// Changing: a roll-out, restart or drain of the unit is in progress.
	Changing bool `json:"changing,omitempty"`
	// File is what its file says; only set on request (?file=true).
	File *UnitFileFacts `json:"file,omitempty"`
	// Machine is the ID of the machine it is placed on; empty for global units.
	Machine string `json:"machine,omitempty"`
	// State is the state that systemd reports.
	State *UnitState `json:"state,omitempty"`
	// Unplaced says why no machine fits.
	Unplaced *Unplaced `json:"unplaced,omitempty"`
	// Override is a user's request that takes precedence over the owner's.
	Override *Override `json:"override,omitempty"`
	// Machines are the machines it is placed on or that still report it, sorted by ID.
	Machines []UnitOnMachine `json:"machines,omitempty"`
}

// UnitOnMachine is a unit on one machine. Computed on read, never stored.
type UnitOnMachine struct {
	Machine string `json:"machine"`
	// Address is the machine's address; empty while the machine is gone.
	Address string `json:"address,omitempty"`
	// Placement is the machine's assignment; nil if it reports a unit that it no longer has.
	Placement *Placement `json:"placement,omitempty"`
	// State is what systemd reports there; nil until the machine has reported, and while it is gone.
	State *UnitState `json:"state,omitempty"`
	// Phase is its progress there.
	Phase Phase `json:"phase,omitempty"`
	// Reason explains the phase in one line: what is wrong, or who stopped it. Empty if there is nothing to say.
	Reason string `json:"reason,omitempty"`
	// Outcome is how it ended, if not successfully, such as "result exit-code, exit status 203 (EXEC)".
	Outcome string `json:"outcome,omitempty"`
}

// UnitState is the state of a unit on one machine as systemd reports it. Stored at states/<machine>/<unit>.
type UnitState struct {
	LoadState   string `json:"loadState"`
	ActiveState string `json:"activeState"`
	SubState    string `json:"subState"`
	Result      string `json:"result,omitempty"`
	// Hash is the SHA-256 of the file that systemd has loaded.
	Hash string `json:"hash,omitempty"`
	// DesiredState is that of the placement which this state answers.
	DesiredState DesiredState `json:"desiredState,omitempty"`
	// RequestedAt is the last request that was acted on.
	RequestedAt  string    `json:"requestedAt,omitempty"`
	InvocationID string    `json:"invocationID,omitempty"`
	Since        time.Time `json:"since,omitzero"`
	// Message is why the machine could not do what was asked, if it could not.
	Message string `json:"message,omitempty"`
	// JobResult is how the start requested by DesiredState and RequestedAt ended, in systemd's words, unless it
	// succeeded or the unit's own state shows it: dependency, assert, timeout, unsupported, canceled, failed; or skipped
	// for an unmet Condition...=, which is not a failure.
	JobResult string `json:"jobResult,omitempty"`
	// Restarts is how often systemd has restarted it since its last requested start (NRestarts=).
	Restarts int `json:"restarts,omitempty"`
	// ExitCode is how its main process ended: exited, killed or dumped; ExitStatus is the exit code or signal number.
	ExitCode   string `json:"exitCode,omitempty"`
	ExitStatus int    `json:"exitStatus,omitempty"`
	// Output is the last lines logged before it failed, at most 1 KiB.
	Output string `json:"output,omitempty"`
	// Prepared is how far the machine is with the start to prepare, or with the one of now. Machines with an older fleetd
	// prepare nothing.
	Prepared Prepared `json:"prepared,omitzero"`
}

// Placement is what one machine needs to know about one unit. Stored at placements/<machine>/<unit>.
type Placement struct {
	Hash         string       `json:"hash"`
	DesiredState DesiredState `json:"desiredState"`
	RequestedAt  string       `json:"requestedAt,omitempty"`
	// Leaving: the unit moves to another machine as soon as its app releases it, see Rollout.LetGo.
	Leaving bool `json:"leaving,omitempty"`
	// Next is the start to prepare; zero if there is none. See Unit.Next.
	Next Preparation `json:"next,omitzero"`
	// Ports are the automatic ports that it has there.
	Assigned Assignment `json:"ports,omitempty"`
	// Note is a sentence about what the unit would rather have than this machine. Empty: nothing.
	Note string `json:"note,omitempty"`
}

// Unplaced is why no machine fits a unit. Stored at unplaced/<unit>.
type Unplaced struct {
	// Message is one line for display: "0 of 3 machines fit: 2 conflict with ..., 1 has port 3000 taken by ...".
	Message string `json:"message"`
	// Reasons are the constraints that failed, those that rule out most machines first.
	Reasons []Refusal `json:"reasons,omitempty"`
	// Next: the unit has a machine and runs there. It is its next file that fits on none: see Unit.Next.
	Next bool `json:"next,omitempty"`
}

// Refusal is one constraint that rules out some machines.
type Refusal struct {
	// Reason is the constraint's name, such as Conflicts, MachineMetadata, Ports, Memory.
	Reason string `json:"reason"`
	// Message names the option, its value and the unit in conflict.
	Message string `json:"message"`
	// Count is the number of machines it rules out; Machines lists some of them.
	Count    int      `json:"count"`
	Machines []string `json:"machines,omitempty"`
}

// Override is a user's request for one unit of an app. It is valid as long as the unit exists, see OverrideCounts.
// Stored at overrides/<unit>.
type Override struct {
	DesiredState DesiredState `json:"desiredState,omitempty"`
	RequestedAt  string       `json:"requestedAt,omitempty"`
	// Restart requests a restart even if the unit is running: the app controller takes the instance out of the routers,
	// stops and starts it, one instance of an app at a time.
	Restart bool `json:"restart,omitempty"`
}

// Revision is an accepted spec, immutable. Stored at revisions/<app>/<n>, n with ten digits.
type Revision struct {
	Number int64 `json:"number"`
	// AppUID is the UID of its app; 0 if an older fleetd wrote it. See Of.
	AppUID int64 `json:"appUID,omitempty"`
	// ManifestRevision is the resourceVersion of the manifest it was read from.
	ManifestRevision int64      `json:"manifestRevision"`
	Metadata         ObjectMeta `json:"metadata"`
	Spec             AppSpec    `json:"spec"`
	// UnitFile and SidekickFile are the hashes of the generated files. They are kept so that a newer fleetd which
	// generates different text for the same spec does not replace running units.
	UnitFile     string `json:"unitFile,omitempty"`
	SidekickFile string `json:"sidekickFile,omitempty"`
	// HostsSince maps each of RouteHosts to the resourceVersion of the manifest that first asked for it. The oldest
	// claim to a host wins.
	HostsSince map[string]int64 `json:"hostsSince,omitempty"`
	// AcceptedAt is when it was accepted; zero if an older fleetd wrote it.
	AcceptedAt time.Time `json:"acceptedAt,omitzero"`
	// Manifest is the manifest's text, comments included; empty if KeptManifest keeps none, or an older fleetd wrote it.
	Manifest string `json:"manifest,omitempty"`
	// Before is the number of the revision to return to if this one is rejected: the last one that all instances were of when this
	// one was accepted, or its release command ended. 0: there was none.
	Before int64 `json:"before,omitempty"`
	// Complete is when all instances were of this revision, and ready. Zero if they never were, or an older fleetd led then.
	Complete time.Time `json:"complete,omitzero"`
	// Release is the run of spec.release that it needs before its instances are started; nil: it needs none.
	Release *ReleaseRun `json:"release,omitempty"`
	// Canary is why all instances followed its canary; nil: it has none, or that is still tried. Written once.
	Canary *CanaryResult `json:"canary,omitempty"`
	// Rejected is why it was taken back; nil: it was not. Written once, like Complete and the end of Release: all else never changes.
	Rejected *Rejection `json:"rejected,omitempty"`
}

// Rejection is why a revision was taken back.
type Rejection struct {
	At time.Time `json:"at"`
	// Since is when Unit was begun with, or the revision accepted: what was logged before is of another one. Zero if an older fleetd wrote it.
	Since time.Time `json:"since,omitzero"`
	// Message is what was seen, in one line.
	Message string `json:"message"`
	// Unit is the instance that failed, or the unit of the release command, Machine where it did. Output is the last lines that it logged, at most 1 KiB.
	Unit    string `json:"unit"`
	Machine string `json:"machine,omitempty"`
	Output  string `json:"output,omitempty"`
}

// Of reports whether the revision belongs to the app with that UID, not to a deleted app of the same name. Revisions of
// an older fleetd have no UID; their manifest decides.
func (r *Revision) Of(appUID int64) bool {
	if r.AppUID == 0 {
		return r.ManifestRevision >= appUID
	}
	return r.AppUID == appUID
}

// OverrideCounts reports whether an override last written at revision applies to the unit and app with these UIDs. An
// older one was for a deleted unit or app of the same name.
func OverrideCounts(revision, unitUID, appUID int64) bool {
	return revision > unitUID && revision > appUID
}

// RouteHosts are the host names of an announced app, normalized for comparison; "" is <app>.<domain of the router>.
func (s *AppSpec) RouteHosts() []string {
	switch {
	case s.Announce == nil:
		return nil
	case s.Route == nil || len(s.Route.Hosts) == 0:
		return []string{""}
	}
	hosts := make([]string, len(s.Route.Hosts))
	for i, host := range s.Route.Hosts {
		hosts[i] = strings.ToLower(host)
	}
	return hosts
}

// Since is HostsSince of one host; for revisions of an older fleetd, ManifestRevision.
func (r *Revision) Since(host string) int64 {
	if since, known := r.HostsSince[host]; known {
		return since
	}
	return r.ManifestRevision
}

// Machine is a machine's presence. Stored at machines/<id> while its lease lives.
type Machine struct {
	TypeMeta `json:",inline"`
	Metadata ObjectMeta  `json:"metadata"`
	Spec     MachineSpec `json:"spec"`
	// Config is what users set for the machine; stored apart (machineconfig/<id>), it survives the machine's absence.
	Config *MachineConfig `json:"config,omitempty"`
	// Status is computed on read, never stored.
	Status *MachineStatus `json:"status,omitempty"`
}

// MachineAddress is a machine's IP address and the port of its fleetd; 0 if that does not listen on TCP.
type MachineAddress struct {
	Address netip.Addr
	APIPort int
}

// MachineSpec is what a machine reports about itself.
type MachineSpec struct {
	// Address is the machine's IP address (primaryIP in the original fleet).
	Address string `json:"address"`
	// Metadata are key=value pairs for placement, from the machine's configuration.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Capacity is what units can request in total.
	Capacity Capacity `json:"capacity"`
	// AutoPorts are the ports that units may be assigned. Machines with an older fleetd have none.
	PortRange PortRange `json:"autoPorts,omitzero"`
	// Versions of fleetd, systemd and the kernel.
	Versions map[string]string `json:"versions,omitempty"`
	// BootID changes with every boot.
	BootID string `json:"bootID,omitempty"`
	// Endpoint is the HTTP address of its fleetd for other machines, if it listens on TCP.
	Endpoint string `json:"endpoint,omitempty"`
	// Failing maps the controllers of its fleetd that keep failing to the reason. With "node" among them, the machine
	// starts and stops no units.
	Failing map[string]string `json:"failing,omitempty"`
}

// ControllerNode is the name of the controller that starts and stops a machine's units.
const ControllerNode = "node"

// Capacity is an amount of each resource: CPU in millicores, memory in bytes. 0 means unknown: unlimited.
type Capacity struct {
	CPU    int64 `json:"cpu,omitempty"`
	Memory int64 `json:"memory,omitempty"`
}

// MachineConfig is what users set for a machine. Stored at machineconfig/<id>.
type MachineConfig struct {
	// Cordoned keeps new units off the machine.
	Cordoned bool `json:"cordoned,omitempty"`
	// Drain moves the machine's units elsewhere, one at a time.
	Drain bool `json:"drain,omitempty"`
	// Metadata overrides single keys of the machine's own metadata; an empty value removes one.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Event is something that happened to an object. Stored at events/<time>-<id> for a limited time.
type Event struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	Name string    `json:"name"`
	// Type is Normal or Warning.
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Count is how often it happened since it was last written, if more than once.
	Count int `json:"count,omitempty"`
	// Source is the controller that recorded it, Machine where that ran.
	Source  string `json:"source"`
	Machine string `json:"machine,omitempty"`
}

// The types of events.
const (
	EventNormal  = "Normal"
	EventWarning = "Warning"
)

// JobSkipped is the JobResult of a start prevented by a condition of the unit.
const JobSkipped = "skipped"

// StartedOnMachine is the message of a unit that should only be loaded but runs: a timer, a socket, another unit or a
// user on the machine has started it.
const StartedOnMachine = "started on the machine, not by fleet"

// AnnotationExcept is set on units of a global app: the IDs of the machines that they have left, comma-separated, while they are
// restarted or replaced there, or make room for another unit of an app that stops being global.
const AnnotationExcept = "fleet/except"

// AnnotationFormer is set on units of a global app: the IDs of the machines that its roll-out or restart has not come to yet,
// comma-separated. They keep the file that they have.
const AnnotationFormer = "fleet/former"

// Active reports whether the unit runs: active or reloading.
func (s UnitState) Active() bool {
	return s.ActiveState == "active" || s.ActiveState == "reloading" || s.ActiveState == "refreshing"
}
