// Package v1 defines the objects of the API: App, Unit, Machine and what is stored about them. It has types, defaults
// and validation, and uses no network, clock or disk.
package v1

// APIVersion is the apiVersion of every manifest.
const APIVersion = "fleet/v1"

// The kinds of objects.
const (
	KindApp     = "App"
	KindUnit    = "Unit"
	KindSource  = "Source"
	KindMachine = "Machine"
	// KindKey is the kind of events about an etcd key that is ignored or was deleted because it has no meaning.
	KindKey = "Key"
)

// Paths that fleetd provides on every machine and generated unit files refer to. %t is systemd's specifier for the
// runtime directory, /run for the system manager and $XDG_RUNTIME_DIR for a user's (systemd.unit(5)), so the same file
// works under both.
const (
	// EnvironmentFile holds facts about the machine: FLEET_MACHINE_ID, FLEET_MACHINE_IP, FLEET_ETCD_SERVERS ..., and
	// COREOS_PRIVATE_IPV4 for old unit files.
	EnvironmentFile = "%t/fleet/environment"
	// CredentialsFile holds fleetd's etcd user name and password. Unlike the environment, which every app gets, it is
	// readable by root only and passed to announcers and routers by systemd (LoadCredential=).
	CredentialsFile = "%t/fleet/etcd-credentials"
	// CredentialsID is the credential's name in $CREDENTIALS_DIRECTORY.
	CredentialsID = "fleet-etcd"
	// BinDir links to the directory of the running fleetd, which also has announcer and router.
	BinDir = "%t/fleet/bin"
	// HeldDir has a file for each announcer that must not run, named after its unit. Generated sidekicks have a
	// ConditionPathExists= on it, so that neither Wants= of their app nor systemctl start brings a withdrawn one back.
	HeldDir = "%t/fleet/held"
)

// VariableMachineID is the machine's ID in EnvironmentFile.
const VariableMachineID = "FLEET_MACHINE_ID"

// The labels of every container that fleet runs.
const (
	LabelApp      = "fleet.app"
	LabelUnit     = "fleet.unit"
	LabelMachine  = "fleet.machine"
	LabelRevision = "fleet.revision" // a hash of what the unit file is made from
)

// TypeMeta identifies an object's schema.
type TypeMeta struct {
	// APIVersion is always fleet/v1.
	APIVersion string `json:"apiVersion,omitempty"`
	// Kind is the kind of the object: App, Unit or Machine.
	Kind string `json:"kind,omitempty"`
}

// ObjectMeta is the metadata of every object.
type ObjectMeta struct {
	// Name is unique among the objects of a kind.
	Name string `json:"name,omitempty"`
	// Labels are for people and tools to select by. Fleet ignores them.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are arbitrary notes that tools keep with the object.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Owner is the App that generated this unit; empty if a user submitted it. Read-only.
	Owner string `json:"owner,omitempty"`
	// OwnerUID is the UID of that App. Read-only.
	OwnerUID string `json:"ownerUID,omitempty"`
	// UID is the etcd revision that created the object. Read-only.
	UID string `json:"uid,omitempty"`
	// ResourceVersion is the etcd revision of the last change. A write that gives it is refused if the object has
	// changed since.
	ResourceVersion string `json:"resourceVersion,omitempty"`
}
