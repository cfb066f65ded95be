package v1

import (
	"net/netip"
	"strings"
	"time"
)

// DesiredState is how far a unit should be brought: the states of the original fleet.
type DesiredState string

// The desired states, in order.
const (
	Inactive DesiredState = "inactive" // known to the cluster, on no machine
	Loaded   DesiredState = "loaded"   // placed, its file on the machine, not started
	Launched DesiredState = "launched" // placed and started
)

// Unit is a systemd unit that fleet places on a machine. Kept in etcd at units/<name>.
type Unit struct {
	TypeMeta `json:",inline"`
	Metadata ObjectMeta `json:"metadata"`
	Spec     UnitSpec   `json:"spec"`
	// Status is put together for readers; it is never stored.
	Status *UnitStatus `json:"status,omitempty"`
}

// UnitSpec is the desired unit. Either contents (what people write) or hash (what is stored) names the file.
type UnitSpec struct {
	// Contents is the unit file's text.
	Contents string `json:"contents,omitempty"`
	// Hash is the SHA-256 of the text, kept once for all units that share it, at unitfiles/<hash>.
	Hash string `json:"hash,omitempty"`
	// DesiredState is inactive, loaded or launched. Default launched.
	DesiredState DesiredState `json:"desiredState,omitempty"`
	// RequestedAt is when a person last asked for the unit to be started: changed, it has a unit that
	// stopped or failed started once more.
	RequestedAt string `json:"requestedAt,omitempty"`
}

// UnitStatus is where a unit is and how it does there.
type UnitStatus struct {
	// Phase is how far the unit is; of one on several machines the least good.
	Phase Phase `json:"phase,omitempty"`
	// Reason is one line on what a person should know of a unit that is on no machine; else see Machines.
	Reason string `json:"reason,omitempty"`
	// StoppedByHand: its app would have it run, a person wants it stopped.
	StoppedByHand bool `json:"stoppedByHand,omitempty"`
	// WaitsForOthers: it fits nowhere for no other reason than that units that it has to be beside are not where they have to be.
	WaitsForOthers bool `json:"waitsForOthers,omitempty"`
	// Changing: a roll-out, a restart or a drain has begun with it, and is not over.
	Changing bool `json:"changing,omitempty"`
	// File is what its file says, where that was asked for (?file=true).
	File *UnitFileFacts `json:"file,omitempty"`
	// Machine is the ID of the machine that it is placed on; empty for global units.
	Machine string `json:"machine,omitempty"`
	// State is what systemd says of it.
	State *UnitState `json:"state,omitempty"`
	// Unplaced says why no machine fits.
	Unplaced *Unplaced `json:"unplaced,omitempty"`
	// Override is a person's wish that goes before the owner's.
	Override *Override `json:"override,omitempty"`
	// Machines are all machines that it is placed on, or that still report it, sorted by ID.
	Machines []UnitOnMachine `json:"machines,omitempty"`
}

// UnitOnMachine is a unit on one machine, for readers; it is never stored.
type UnitOnMachine struct {
	Machine string `json:"machine"`
	// Address is the machine's; empty while the machine is away.
	Address string `json:"address,omitempty"`
	// Placement is what the machine is told; nil where it reports a unit that is no longer its own.
	Placement *Placement `json:"placement,omitempty"`
	// State is what systemd says there; nil before the machine has reported, and while it is away.
	State *UnitState `json:"state,omitempty"`
	// Phase is how far it is there.
	Phase Phase `json:"phase,omitempty"`
	// Reason is one line on what a person should know: what is wrong, who stopped it; empty for nothing.
	Reason string `json:"reason,omitempty"`
	// Outcome says how it ended, where something went wrong, such as "result exit-code, exit status 203 (EXEC)".
	Outcome string `json:"outcome,omitempty"`
}

// UnitState is what systemd says of a unit on one machine. Kept at states/<machine>/<unit>.
type UnitState struct {
	LoadState   string `json:"loadState"`
	ActiveState string `json:"activeState"`
	SubState    string `json:"subState"`
	Result      string `json:"result,omitempty"`
	// Hash is the SHA-256 of the file that systemd has loaded.
	Hash string `json:"hash,omitempty"`
	// DesiredState is the one of the placement that this state answers.
	DesiredState DesiredState `json:"desiredState,omitempty"`
	// RequestedAt is the request that was last acted on.
	RequestedAt  string    `json:"requestedAt,omitempty"`
	InvocationID string    `json:"invocationID,omitempty"`
	Since        time.Time `json:"since,omitzero"`
	// Message says why the machine could not do what was asked, where it could not.
	Message string `json:"message,omitempty"`
	// JobResult says how the start ended that DesiredState and RequestedAt asked for, in systemd's words, where that was
	// neither done nor seen in the unit's own state: dependency, assert, timeout, unsupported, canceled, failed; or skipped,
	// for a Condition...= that was not met, which is no failure.
	JobResult string `json:"jobResult,omitempty"`
	// Restarts is how often systemd has started it again by itself since it was last started on request (NRestarts=).
	Restarts int `json:"restarts,omitempty"`
	// ExitCode says how its main process ended: exited, killed or dumped; ExitStatus with which exit code or signal number.
	ExitCode   string `json:"exitCode,omitempty"`
	ExitStatus int    `json:"exitStatus,omitempty"`
	// Output are the last lines that it logged before it failed: a few, at most 1 KiB.
	Output string `json:"output,omitempty"`
}

// Placement is all that one machine needs to know of one unit. Kept at placements/<machine>/<unit>.
type Placement struct {
	Hash         string       `json:"hash"`
	DesiredState DesiredState `json:"desiredState"`
	RequestedAt  string       `json:"requestedAt,omitempty"`
	// Leaving says that the unit goes to another machine as soon as its app lets it go: see AnnotationLetGo.
	Leaving bool `json:"leaving,omitempty"`
}

// Unplaced says why no machine fits a unit. Kept at unplaced/<unit>.
type Unplaced struct {
	// Message is one line for people: "0 of 3 machines fit: 2 conflict with ..., 1 has port 3000 taken by ...".
	Message string `json:"message"`
	// Reasons are the refusals, those that keep off most machines first.
	Reasons []Refusal `json:"reasons,omitempty"`
}

// Refusal is one constraint that keeps a unit off some machines.
type Refusal struct {
	// Reason is the constraint's name, such as Conflicts, MachineMetadata, Ports, Memory.
	Reason string `json:"reason"`
	// Message names the option, its value and who is in the way.
	Message string `json:"message"`
	// Count is how many machines it keeps off; Machines are some of them.
	Count    int      `json:"count"`
	Machines []string `json:"machines,omitempty"`
}

// Override is a person's wish for one unit that an app owns, as long as that unit exists: see OverrideCounts. Kept at
// overrides/<unit>.
type Override struct {
	DesiredState DesiredState `json:"desiredState,omitempty"`
	RequestedAt  string       `json:"requestedAt,omitempty"`
	// Restart says that the request is for another start of what runs, too: the app controller takes the instance out of
	// the routers, stops and starts it, one instance of an app at a time.
	Restart bool `json:"restart,omitempty"`
}

// Revision is an accepted spec, immutable. Kept at revisions/<app>/<n>, n in ten digits.
type Revision struct {
	Number int64 `json:"number"`
	// AppUID is the UID of the app that it belongs to; 0 where an older fleetd wrote it. See Of.
	AppUID int64 `json:"appUID,omitempty"`
	// ManifestRevision is the resourceVersion of the manifest that it was read from.
	ManifestRevision int64      `json:"manifestRevision"`
	Metadata         ObjectMeta `json:"metadata"`
	Spec             AppSpec    `json:"spec"`
	// UnitFile and SidekickFile are the hashes of what was generated then. They stay, so that a newer fleetd which
	// would write the same spec another way replaces nothing that runs.
	UnitFile     string `json:"unitFile,omitempty"`
	SidekickFile string `json:"sidekickFile,omitempty"`
	// HostsSince is the resourceVersion of the manifest that first asked for each of the spec's hosts, see RouteHosts: who
	// has one keeps it from those who ask later.
	HostsSince map[string]int64 `json:"hostsSince,omitempty"`
}

// Of reports whether the revision belongs to the app with that UID, and not to a deleted one of the same name. One that an
// older fleetd wrote has no UID: it belongs to the app that its manifest is a version of.
func (r *Revision) Of(appUID int64) bool {
	if r.AppUID == 0 {
		return r.ManifestRevision >= appUID
	}
	return r.AppUID == appUID
}

// OverrideCounts reports whether an override that was last written at that revision is a wish for the unit with that UID, of
// the app with that UID. One that is older was for a unit, or an app, of the same name that is deleted.
func OverrideCounts(revision, unitUID, appUID int64) bool {
	return revision > unitUID && revision > appUID
}

// RouteHosts are the host names that an announced app asks for, as they are compared; "" is the app's own name in the domain
// of a router.
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

// Since is HostsSince of one host; of revisions that an older fleetd wrote it is their own manifest's.
func (r *Revision) Since(host string) int64 {
	if since, known := r.HostsSince[host]; known {
		return since
	}
	return r.ManifestRevision
}

// Machine is a machine's presence. Kept at machines/<id> for as long as its lease lives.
type Machine struct {
	TypeMeta `json:",inline"`
	Metadata ObjectMeta  `json:"metadata"`
	Spec     MachineSpec `json:"spec"`
	// Config is what people set for the machine; it is stored apart (machineconfig/<id>) and survives its absence.
	Config *MachineConfig `json:"config,omitempty"`
	// Status is put together for readers; it is never stored.
	Status *MachineStatus `json:"status,omitempty"`
}

// MachineAddress is where a machine is, and the port of its fleetd; 0 where that does not listen on TCP.
type MachineAddress struct {
	Address netip.Addr
	APIPort int
}

// MachineSpec is what a machine says of itself.
type MachineSpec struct {
	// Address is the machine's IP address, its primaryIP in the original's words.
	Address string `json:"address"`
	// Metadata are key=value pairs for placement, from the machine's configuration.
	Metadata map[string]string `json:"metadata,omitempty"`
	// Capacity is what units may request.
	Capacity Capacity `json:"capacity"`
	// Versions of fleetd, systemd and the kernel.
	Versions map[string]string `json:"versions,omitempty"`
	// BootID tells one boot from the next.
	BootID string `json:"bootID,omitempty"`
	// Endpoint is where other machines reach its fleetd over HTTP, where it listens on TCP.
	Endpoint string `json:"endpoint,omitempty"`
	// Failing are the controllers of its fleetd that keep failing, and why. With "node" among them it starts and stops nothing.
	Failing map[string]string `json:"failing,omitempty"`
}

// ControllerNode is the name of the controller that starts and stops the units of its machine.
const ControllerNode = "node"

// Capacity is an amount of each resource: CPU in thousandths of a core, memory in bytes. 0 means not known: not limited.
type Capacity struct {
	CPU    int64 `json:"cpu,omitempty"`
	Memory int64 `json:"memory,omitempty"`
}

// MachineConfig is what people set for a machine. Kept at machineconfig/<id>.
type MachineConfig struct {
	// Cordoned keeps new units off.
	Cordoned bool `json:"cordoned,omitempty"`
	// Drain moves the units that run there elsewhere, one after the other.
	Drain bool `json:"drain,omitempty"`
	// Metadata replaces single keys of the machine's own; an empty value removes one.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Event is something that happened to an object. Kept at events/<time>-<id> for a while.
type Event struct {
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
	Name string    `json:"name"`
	// Type is Normal or Warning.
	Type    string `json:"type"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Count is how often it happened since it was last written, where that is more than once.
	Count int `json:"count,omitempty"`
	// Source is the controller that saw it; Machine where it ran.
	Source  string `json:"source"`
	Machine string `json:"machine,omitempty"`
}

// The types of events.
const (
	EventNormal  = "Normal"
	EventWarning = "Warning"
)

// JobSkipped is the JobResult of a start that a condition of the unit prevented.
const JobSkipped = "skipped"

// StartedOnMachine is the message of a unit that is to be loaded and runs all the same: a timer, a socket, another unit or a
// person on the machine has started it since.
const StartedOnMachine = "started on the machine, not by fleet"

// AnnotationUpdatedAt is on units that a roll-out or a drain touched: when it did (RFC 3339). The deadline counts from there.
const AnnotationUpdatedAt = "fleet/updated-at"

// AnnotationMovedFrom is beside AnnotationUpdatedAt where that was a drain, and no roll-out: the ID of the machine that the
// unit is to leave, or has left.
const AnnotationMovedFrom = "fleet/moved-from"

// AnnotationExcept is on units of a global app that is to be one no longer: the IDs of the machines that they have left
// already, separated by commas, so that others of the app can take their places there one after the other.
const AnnotationExcept = "fleet/except"

// AnnotationLetGo is on units that are in no router any more, so that they may leave a machine that is drained: its ID.
const AnnotationLetGo = "fleet/let-go"

// Active reports whether the unit runs: active, or running and reading its configuration anew.
func (s UnitState) Active() bool {
	return s.ActiveState == "active" || s.ActiveState == "reloading" || s.ActiveState == "refreshing"
}
