package v1

import (
	"time"

	"github.com/fleet-starter/fleet/apis/quantity"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// App is a web application, or any other service, that runs on some or on all machines.
type App struct {
	TypeMeta `json:",inline"`
	// Metadata names the app.
	Metadata ObjectMeta `json:"metadata"`
	// Spec is what should run.
	Spec AppSpec `json:"spec"`
	// Status is the state that the controllers last observed. Read-only.
	Status *AppStatus `json:"status,omitempty"`
}

// AppSpec is what should run. Exactly one of container and exec must be set.
type AppSpec struct {
	// Description is the unit's Description=. Default: the app's name.
	Description string `json:"description,omitempty"`
	// Replicas is the number of instances, each a unit <app>@<n>.service with n from 1. Default 1. Not with global.
	Replicas *int32 `json:"replicas,omitempty"`
	// Global runs one instance on every machine that matches placement.machineMetadata, as <app>.service.
	Global bool `json:"global,omitempty"`
	// Container runs each instance in a container.
	Container *Container `json:"container,omitempty"`
	// Exec runs each instance as a plain process.
	Exec *Exec `json:"exec,omitempty"`
	// Env is the environment of the process; containers get it with "-e". Values are literal and may contain line
	// breaks.
	Env map[string]string `json:"env,omitempty"`
	// EnvFiles are files with further variables (EnvironmentFile=); a leading "-" makes a file optional. Containers do
	// not see these variables, but their args and options can use them as ${VARIABLE}.
	EnvFiles []string `json:"envFiles,omitempty"`
	// Ports are the ports that an instance listens on.
	Ports []Port `json:"ports,omitempty"`
	// Resources are what an instance requests for placement, and the limits set on it.
	Resources *Resources `json:"resources,omitempty"`
	// Placement restricts the machines that instances may run on.
	Placement *PlacementRules `json:"placement,omitempty"`
	// Announce publishes each healthy instance in etcd, through a sidekick unit <app>-discovery@<n>.service.
	Announce *Announce `json:"announce,omitempty"`
	// HealthCheck decides whether an instance is announced. Default: tcp on the announced port.
	HealthCheck *HealthCheck `json:"healthCheck,omitempty"`
	// Route makes every router proxy these hosts to the announced instances.
	Route *Route `json:"route,omitempty"`
	// OnPartition is what becomes of an instance while its machine is cut off from etcd: with keep it runs on, also when another
	// machine has replaced it; with stop the machine stops it before another one starts it. Default keep.
	OnPartition string `json:"onPartition,omitempty"`
	// Update configures roll-outs of a changed manifest.
	Update *Update `json:"update,omitempty"`
	// Release is a command that runs once before a changed app is rolled out. Only when it has ended with success is anything
	// replaced; if it fails the change is rejected, and what runs goes on. It runs when the instances or the command change, also
	// for an undo, and not for a change of replicas, route or update alone.
	Release *Release `json:"release,omitempty"`
	// Unit sets further options of the generated systemd unit, by section and name: a value, or a list of values for an
	// option that may be repeated. ExecStartPre= goes before the generated options, all others after them. Options that
	// other fields generate are refused.
	Unit map[string]map[string]StringList `json:"unit,omitempty"`
}

// Container runs an instance in a container.
type Container struct {
	// Name is the container's name; specifiers (%i) are expanded. It has to differ between instances that may share a
	// machine. Default: <app>.<n>, for a global app <app>.
	Name string `json:"name,omitempty"`
	// Image is the image to run, such as localhost:5000/example-app:latest.
	Image string `json:"image"`
	// Command overrides the image's entry point.
	Command []string `json:"command,omitempty"`
	// Args are the arguments. Specifiers (%i) and ${VARIABLE} are expanded; everything else is literal.
	Args []string `json:"args,omitempty"`
	// Pull is when the image is pulled: Always (before each start that fleetd makes; systemd restarts what is on the machine),
	// IfNotPresent or Never. Default Always.
	Pull string `json:"pull,omitempty"`
	// Volumes are bind mounts, host-path:container-path[:ro].
	Volumes []string `json:"volumes,omitempty"`
	// Runtime is docker or podman. Default docker.
	Runtime string `json:"runtime,omitempty"`
	// Options are further options of "docker run", such as another --log-driver: its own log is off, because the journal
	// has what the container writes. With --network host no port is published: the container listens on the machine's.
	Options []string `json:"options,omitempty"`
}

// The values of AppSpec.OnPartition.
const (
	PartitionKeep = unitfile.PartitionKeep
	PartitionStop = unitfile.PartitionStop
)

// The values of Container.Pull and Container.Runtime.
const (
	PullAlways       = unitfile.PullAlways
	PullIfNotPresent = unitfile.PullIfNotPresent
	PullNever        = "Never" // the unit file names no image

	RuntimeDocker = unitfile.RuntimeDocker
	RuntimePodman = unitfile.RuntimePodman
)

// Exec runs an instance as a plain process.
type Exec struct {
	// Command is the absolute path of the program and its arguments. Specifiers (%i, %t) are expanded, and ${VARIABLE}
	// in the arguments; everything else is literal and needs no quoting.
	Command []string `json:"command"`
}

// Port is one port of an instance.
type Port struct {
	// Name is what announce and healthCheck refer to. Default: the port number.
	Name string `json:"name,omitempty"`
	// Port is the port that the process listens on (inside the container, if there is one). It may be left out where hostPort is
	// auto and the app is a plain process.
	Port int32 `json:"port,omitempty"`
	// HostPort is the port on the machine: a number, or auto for any free port. Instances with the same number never share a
	// machine. The variable of an automatic port is PORT_ and its name, in capitals and with _ for -; that of the first one also PORT.
	// A process has to listen there, and a container on the machine's network; for other containers the port is published. Default:
	// the same as port.
	HostPort HostPort `json:"hostPort,omitempty"`
}

// Resources are requests and limits.
type Resources struct {
	// Requests are reserved on the machine when the instance is placed.
	Requests ResourceList `json:"requests,omitempty"`
	// Limits are set on the unit (CPUQuota= and MemoryMax=) or, if there is one, on the container.
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
	// Conflicts are globs of unit names that must not share a machine with an instance, such as example-app@*.service.
	Conflicts []string `json:"conflicts,omitempty"`
	// MachineOf are names of units that an instance must share a machine with, such as db@%i.service.
	MachineOf []string `json:"machineOf,omitempty"`
	// MachineID is the ID of the only machine to run on.
	MachineID string `json:"machineID,omitempty"`
	// MachineMetadata is the metadata that a machine must have: for each key, any of the values.
	MachineMetadata map[string]StringList `json:"machineMetadata,omitempty"`
	// SpreadOver is a metadata key, such as zone. Instances are spread evenly over its values.
	SpreadOver string `json:"spreadOver,omitempty"`
	// Prefer is where an instance goes rather than elsewhere, and elsewhere rather than nowhere.
	Prefer *Preferences `json:"prefer,omitempty"`
}

// Preferences are what an instance goes by where several machines fit.
type Preferences struct {
	// Metadata is what a machine's metadata would best say: any of the values of each key. The more keys the better.
	Metadata map[string]StringList `json:"metadata,omitempty"`
}

// Announce configures the endpoint that is published for each healthy instance.
type Announce struct {
	// Port is the name or the number of one of spec.ports. Default: the first.
	Port string `json:"port,omitempty"`
	// Prefix is the etcd directory: the key is <prefix>/<app>/<app>@<n>, the value ip:port. Default /services/web.
	Prefix string `json:"prefix,omitempty"`
	// TTL is how long the key survives its machine's failure. Default 30s, at least 5s.
	TTL Duration `json:"ttl,omitempty"`
}

// DefaultAnnouncePrefix is the directory of the original example, which routers read.
const DefaultAnnouncePrefix = "/services/web"

// HealthCheck is one probe: exactly one of http, tcp and exec.
type HealthCheck struct {
	// HTTP requests a page.
	HTTP *HTTPCheck `json:"http,omitempty"`
	// TCP opens a connection.
	TCP *TCPCheck `json:"tcp,omitempty"`
	// Exec runs a program on the machine.
	Exec *ExecCheck `json:"exec,omitempty"`
	// Interval is the time between probes. Default 5s.
	Interval Duration `json:"interval,omitempty"`
	// Timeout is how long a probe may take. Default 2s.
	Timeout Duration `json:"timeout,omitempty"`
	// HealthyThreshold is how many probes must pass in a row before an instance is announced. Default 1.
	HealthyThreshold int32 `json:"healthyThreshold,omitempty"`
	// UnhealthyThreshold is how many probes must fail in a row before it is withdrawn. Default 3.
	UnhealthyThreshold int32 `json:"unhealthyThreshold,omitempty"`
}

// HTTPCheck passes if the response status is 200 to 399.
type HTTPCheck struct {
	// Path is the path to request. Default /.
	Path string `json:"path,omitempty"`
	// Port is the name or number of one of spec.ports. Default: the announced port.
	Port string `json:"port,omitempty"`
}

// TCPCheck passes if the connection is accepted.
type TCPCheck struct {
	// Port is the name or number of one of spec.ports. Default: the announced port.
	Port string `json:"port,omitempty"`
}

// ExecCheck passes if the command exits with status 0.
type ExecCheck struct {
	// Command is run on the machine, without a shell.
	Command []string `json:"command"`
}

// Route configures the routers.
type Route struct {
	// Hosts are host names, such as example-app.example.com or *.example.com. Default: <app>.<domain of the router>. A
	// host belongs to the app that asked for it first; the Routed condition of other apps names that app.
	Hosts []string `json:"hosts,omitempty"`
	// BodySize is the maximum size of a request body, an amount of memory (100M, 2G); "0" means unlimited. Default: the
	// router's, 1G.
	BodySize string `json:"bodySize,omitempty"`
	// Timeout is how long the app may be silent before and during a response, at most 24h; for websockets it is always a
	// day. Default: the router's, 5m.
	Timeout Duration `json:"timeout,omitempty"`
}

// MaxRouteTimeout is the maximum of Route.Timeout.
const MaxRouteTimeout = 24 * time.Hour

// Unlimited is the value of a limit that is not set.
const Unlimited = -1

// MaxBody is BodySize in bytes: 0 for the router's default, -1 (Unlimited) for no limit.
func (r *Route) MaxBody() int64 {
	if r == nil || r.BodySize == "" {
		return 0
	}
	switch n, err := quantity.ParseMemory(r.BodySize); {
	case err != nil:
		return 0 // not from an accepted App
	case n == 0:
		return Unlimited
	default:
		return n
	}
}

// AppStatus is the observed state.
type AppStatus struct {
	// ObservedRevision is the resourceVersion of the manifest that this status describes.
	ObservedRevision int64 `json:"observedRevision,omitempty"`
	// AcceptedRevision is the number of the running spec, the last one accepted (revisions/<app>/<n>).
	AcceptedRevision int64 `json:"acceptedRevision,omitempty"`
	// Replicas counts the instances. A global app wants one per matching machine.
	Replicas ReplicaCounts `json:"replicas"`
	// Rejected is why the manifest was taken back after it had been accepted (update.onFailure: revert).
	Rejected *Rejection `json:"rejected,omitempty"`
	// Conditions are Accepted, Scheduled, Available, Progressing and Ready.
	Conditions []Condition `json:"conditions,omitempty"`
	// Summary is the app's state in brief. Computed on read, never stored.
	Summary *AppSummary `json:"summary,omitempty"`
}

// Of reports whether the status describes the app with that UID, not a deleted app of the same name.
func (s *AppStatus) Of(appUID int64) bool { return s.ObservedRevision >= appUID }

// ReplicaCounts counts the instances of an app by progress.
type ReplicaCounts struct {
	Desired   int32 `json:"desired"`
	Scheduled int32 `json:"scheduled"`
	Active    int32 `json:"active"`
	Ready     int32 `json:"ready"`
	Updated   int32 `json:"updated"`
}
