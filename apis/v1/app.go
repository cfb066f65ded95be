package v1

import (
	"time"

	"github.com/fleet-starter/fleet/apis/quantity"
)

// App is a web application, or any other service, that runs on some or on all machines.
type App struct {
	TypeMeta `json:",inline"`
	// Metadata names the app.
	Metadata ObjectMeta `json:"metadata"`
	// Spec is what should run.
	Spec AppSpec `json:"spec"`
	// Status is what the controllers observed last. Read-only.
	Status *AppStatus `json:"status,omitempty"`
}

// AppSpec is what should run. Exactly one of container and exec says how an instance is started.
type AppSpec struct {
	// Description is the unit's Description=. Default: the app's name.
	Description string `json:"description,omitempty"`
	// Replicas is how many instances run, each under the unit name <app>@<n>.service, n from 1.
	// Default 1. Not with global.
	Replicas *int32 `json:"replicas,omitempty"`
	// Global runs one instance on every machine that matches placement.machineMetadata, as <app>.service.
	Global bool `json:"global,omitempty"`
	// Container runs each instance in a container.
	Container *Container `json:"container,omitempty"`
	// Exec runs each instance as a plain process.
	Exec *Exec `json:"exec,omitempty"`
	// Env is the environment of the process; a container is given it with "-e". Values are literal, line breaks included.
	Env map[string]string `json:"env,omitempty"`
	// EnvFiles are files with further variables (EnvironmentFile=); a leading "-" lets one be absent. A container
	// does not see them: its args and options can use them as ${VARIABLE}.
	EnvFiles []string `json:"envFiles,omitempty"`
	// Ports are the ports that an instance listens on.
	Ports []Port `json:"ports,omitempty"`
	// Resources are requested for placement and limited on the unit.
	Resources *Resources `json:"resources,omitempty"`
	// Placement restricts the machines.
	Placement *PlacementRules `json:"placement,omitempty"`
	// Announce publishes each healthy instance in etcd, by a sidekick unit <app>-discovery@<n>.service.
	Announce *Announce `json:"announce,omitempty"`
	// HealthCheck decides whether an instance is announced. Default: tcp on the announced port.
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
	// Route has every router send requests for these hosts to the announced instances.
	Route *Route `json:"route,omitempty"`
	// Update says how a changed manifest replaces what runs.
	Update *Update `json:"update,omitempty"`
	// Unit holds any further options of systemd's unit files, by section and name, passed through to the
	// generated unit: a value, or a list of values for an option that may be repeated. ExecStartPre= comes
	// before what is generated, all others after it. What other fields generate is refused here.
	Unit map[string]map[string]StringList `json:"unit,omitempty"`
}

// Container is how a container is run.
type Container struct {
	// Name is the container's name; specifiers (%i) are expanded. Default: <app>-<n>, of a global app <app>.
	Name string `json:"name,omitempty"`
	// Image is the image to run, such as localhost:5000/example-app:latest.
	Image string `json:"image"`
	// Command replaces the image's entry point.
	Command []string `json:"command,omitempty"`
	// Args are the arguments. Specifiers (%i) and ${VARIABLE} are expanded, all else is literal.
	Args []string `json:"args,omitempty"`
	// Pull is when the image is pulled: Always (before each start), IfNotPresent or Never. Default Always.
	Pull string `json:"pull,omitempty"`
	// Volumes are bind mounts, host-path:container-path[:ro].
	Volumes []string `json:"volumes,omitempty"`
	// Runtime is docker or podman. Default docker.
	Runtime string `json:"runtime,omitempty"`
	// Options are further options of "docker run".
	Options []string `json:"options,omitempty"`
}

// The values of Container.Pull and Container.Runtime.
const (
	PullAlways       = "Always"
	PullIfNotPresent = "IfNotPresent"
	PullNever        = "Never"

	RuntimeDocker = "docker"
	RuntimePodman = "podman"
)

// Exec is how a plain process is run.
type Exec struct {
	// Command is the program, by its absolute path, and its arguments. Specifiers (%i, %t) are expanded, and
	// ${VARIABLE} in the arguments; all else is literal: quoting is done for you.
	Command []string `json:"command"`
}

// Port is one port of an instance.
type Port struct {
	// Name is how announce and healthCheck refer to it. Default: the number.
	Name string `json:"name,omitempty"`
	// Port is what the process listens on (inside the container, where there is one).
	Port int32 `json:"port"`
	// HostPort is the machine's port. Two instances that want the same one never share a machine.
	// Default: the same as port.
	HostPort int32 `json:"hostPort,omitempty"`
}

// Resources are amounts of a machine.
type Resources struct {
	// Requests are set aside on the machine when the instance is placed.
	Requests ResourceList `json:"requests,omitempty"`
	// Limits are set on the unit (CPUQuota= and MemoryMax=) or, where there is one, on the container.
	Limits ResourceList `json:"limits,omitempty"`
}

// ResourceList is an amount of each resource.
type ResourceList struct {
	// CPU is in cores: "0.5" or "500m". See [amounts](#amounts).
	CPU string `json:"cpu,omitempty"`
	// Memory is in bytes, or a number with a suffix: 256M, 1.5Gi. See [amounts](#amounts).
	Memory string `json:"memory,omitempty"`
}

// PlacementRules restrict the machines that an instance may run on: the options of [X-Fleet].
type PlacementRules struct {
	// Conflicts are globs on unit names that never share a machine with an instance, such as example-app@*.service.
	Conflicts []string `json:"conflicts,omitempty"`
	// MachineOf are unit names that an instance runs beside, such as db@%i.service.
	MachineOf []string `json:"machineOf,omitempty"`
	// MachineID is the one machine to run on.
	MachineID string `json:"machineID,omitempty"`
	// MachineMetadata is what a machine's metadata must say: any of the values of each key.
	MachineMetadata map[string]StringList `json:"machineMetadata,omitempty"`
	// SpreadOver is a metadata key, such as zone, over whose values the instances are spread evenly.
	SpreadOver string `json:"spreadOver,omitempty"`
}

// Announce is what is published for each healthy instance.
type Announce struct {
	// Port is the name or the number of one of spec.ports. Default: the first.
	Port string `json:"port,omitempty"`
	// Prefix is the directory: the key is <prefix>/<app>/<app>@<n>, the value ip:port. Default /services/web.
	Prefix string `json:"prefix,omitempty"`
	// TTL is how long the key outlives a machine that vanished. Default 30s, at least 5s.
	TTL Duration `json:"ttl,omitempty"`
}

// DefaultAnnouncePrefix is the seed's own directory, which routers read.
const DefaultAnnouncePrefix = "/services/web"

// HealthCheck is one probe: exactly one of http, tcp and exec.
type HealthCheck struct {
	// HTTP asks for a page.
	HTTP *HTTPCheck `json:"http,omitempty"`
	// TCP connects.
	TCP *TCPCheck `json:"tcp,omitempty"`
	// Exec runs a program on the machine.
	Exec *ExecCheck `json:"exec,omitempty"`
	// Interval is the time between two probes. Default 5s.
	Interval Duration `json:"interval,omitempty"`
	// Timeout is how long a probe may take. Default 2s.
	Timeout Duration `json:"timeout,omitempty"`
	// HealthyThreshold is how many probes must pass in a row before an instance is announced. Default 1.
	HealthyThreshold int32 `json:"healthyThreshold,omitempty"`
	// UnhealthyThreshold is how many must fail in a row before it is withdrawn. Default 3.
	UnhealthyThreshold int32 `json:"unhealthyThreshold,omitempty"`
}

// HTTPCheck passes on an answer from 200 to 399.
type HTTPCheck struct {
	// Path is what is asked for. Default /.
	Path string `json:"path,omitempty"`
	// Port is the name or number of one of spec.ports. Default: the announced one.
	Port string `json:"port,omitempty"`
}

// TCPCheck passes when a connection is accepted.
type TCPCheck struct {
	// Port is the name or number of one of spec.ports. Default: the announced one.
	Port string `json:"port,omitempty"`
}

// ExecCheck passes when the command exits with 0.
type ExecCheck struct {
	// Command is run without a shell.
	Command []string `json:"command"`
}

// Route is what routers serve.
type Route struct {
	// Hosts are the host names, such as example-app.example.com or *.example.com. Default: <app>.<domain of the router>.
	// Who asked for a host first keeps it; other apps' condition Routed says who has it.
	Hosts []string `json:"hosts,omitempty"`
	// BodySize is how large the body of a request may be, an amount of memory (100M, 2G); "0" is without limit.
	// Default: the router's, 1G.
	BodySize string `json:"bodySize,omitempty"`
	// Timeout is how long the app may be silent before and within an answer, at most 24h; a websocket may be for a day.
	// Default: the router's, 5m.
	Timeout Duration `json:"timeout,omitempty"`
}

// MaxRouteTimeout is the longest Route.Timeout.
const MaxRouteTimeout = 24 * time.Hour

// Unlimited is a limit that there is none.
const Unlimited = -1

// MaxBody is BodySize in bytes, 0 where the router decides, or Unlimited.
func (r *Route) MaxBody() int64 {
	if r == nil || r.BodySize == "" {
		return 0
	}
	switch n, err := quantity.ParseMemory(r.BodySize); {
	case err != nil:
		return 0 // of a key that no App was accepted for
	case n == 0:
		return Unlimited
	default:
		return n
	}
}

// Update says how instances are replaced: one at a time, the next one when the new one is active, healthy and announced.
type Update struct {
	// MinReady is how long an instance that is not announced has to be active without a restart before it is ready.
	// Default 5s.
	MinReady Duration `json:"minReady,omitempty"`
	// HealthyDeadline is how long a new instance may take before the roll-out is called stalled. Default 5m.
	HealthyDeadline Duration `json:"healthyDeadline,omitempty"`
}

// AppStatus is what the controllers observed.
type AppStatus struct {
	// ObservedRevision is the resourceVersion of the manifest that this status speaks of.
	ObservedRevision int64 `json:"observedRevision,omitempty"`
	// AcceptedRevision is the number of the last accepted spec (revisions/<app>/<n>), which runs.
	AcceptedRevision int64 `json:"acceptedRevision,omitempty"`
	// Replicas counts the instances. A global app wants as many as there are machines that match.
	Replicas ReplicaCounts `json:"replicas"`
	// Conditions are Accepted, Scheduled, Available, Progressing and Ready.
	Conditions []Condition `json:"conditions,omitempty"`
	// Summary says in short how the app does. It is put together for readers; it is never stored.
	Summary *AppSummary `json:"summary,omitempty"`
}

// Of reports whether the status speaks of the app with that UID, and not of a deleted one of the same name.
func (s *AppStatus) Of(appUID int64) bool { return s.ObservedRevision >= appUID }

// ReplicaCounts counts the instances of an app by how far they have come.
type ReplicaCounts struct {
	Desired   int32 `json:"desired"`
	Scheduled int32 `json:"scheduled"`
	Active    int32 `json:"active"`
	Ready     int32 `json:"ready"`
	Updated   int32 `json:"updated"`
}
