// Package v1 defines the objects that people write and read: App, Unit, Machine and what is kept about
// them. It has types, defaults and validation, and nothing that touches a network, a clock or a disk.
package v1

// APIVersion is what every manifest says in its first line.
const APIVersion = "fleet/v1"

// The kinds of objects.
const (
	KindApp     = "App"
	KindUnit    = "Unit"
	KindMachine = "Machine"
	// KindKey is what events are about that are of no object: a key in etcd that is ignored, or was deleted because it meant nothing.
	KindKey = "Key"
)

// Paths that generated unit files refer to and that fleetd provides on every machine. %t is systemd's
// specifier for the runtime directory: /run for the system manager, $XDG_RUNTIME_DIR for a user's
// (systemd.unit(5), "Specifiers"), so that the same bytes are right under both.
const (
	// EnvironmentFile holds the machine's own facts: FLEET_MACHINE_ID, FLEET_MACHINE_IP,
	// FLEET_ETCD_SERVERS ..., and COREOS_PRIVATE_IPV4 for unit files of old.
	EnvironmentFile = "%t/fleet/environment"
	// CredentialsFile has the user name and password that fleetd has at etcd. The environment is every app's; this file,
	// which root alone can read, is handed to announcers and routers by the service manager (LoadCredential=).
	CredentialsFile = "%t/fleet/etcd-credentials"
	// CredentialsID is what it is called where it is loaded, in $CREDENTIALS_DIRECTORY.
	CredentialsID = "fleet-etcd"
	// BinDir leads to the directory that the running fleetd was started from, with announcer and router.
	BinDir = "%t/fleet/bin"
	// HeldDir has a file for each announcer that must not run, by the name of its unit. Generated sidekicks have a
	// ConditionPathExists= on it, so that nothing brings a withdrawn one back: no Wants= of its app, no systemctl start.
	HeldDir = "%t/fleet/held"
)

// TypeMeta says what an object is.
type TypeMeta struct {
	// APIVersion is always fleet/v1.
	APIVersion string `json:"apiVersion,omitempty"`
	// Kind is the kind of the object: App, Unit or Machine.
	Kind string `json:"kind,omitempty"`
}

// ObjectMeta is what every object has.
type ObjectMeta struct {
	// Name identifies the object among those of its kind.
	Name string `json:"name,omitempty"`
	// Labels are for people and tools to select by; nothing in fleet depends on them.
	Labels map[string]string `json:"labels,omitempty"`
	// Annotations are notes that tools keep with the object.
	Annotations map[string]string `json:"annotations,omitempty"`
	// Owner is the App that generated this unit; empty where a person wrote it. Read-only.
	Owner string `json:"owner,omitempty"`
	// OwnerUID is the UID of that App. Read-only.
	OwnerUID string `json:"ownerUID,omitempty"`
	// UID is the etcd revision that created the object. Read-only.
	UID string `json:"uid,omitempty"`
	// ResourceVersion is the etcd revision of the last change. Given with a write, the write is
	// refused when the object has changed since.
	ResourceVersion string `json:"resourceVersion,omitempty"`
}
