package v1

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/apis/quantity"
)

// MaxReplicas is the maximum number of instances of one App.
const MaxReplicas = 100_000

// Validate returns all errors in an App after Default, by field path. A valid App contains nothing that can break out of
// its line in a generated unit file.
func (a *App) Validate() ManifestErrors {
	v := &validator{app: a.Metadata.Name}
	v.metadata(&a.Metadata)
	v.name("metadata.name", a.Metadata.Name)
	s := &a.Spec
	v.text("spec.description", s.Description)
	v.count(s)
	v.program(s)
	v.environment(s)
	v.ports(s)
	v.resources(s.Resources)
	if s.Placement != nil {
		v.placement(s)
	}
	v.announce(s)
	v.route(s)
	if s.OnPartition != "" {
		v.oneOf("spec.onPartition", s.OnPartition, PartitionKeep, PartitionStop)
	}
	v.update(s)
	v.release(s)
	v.passthrough(s)
	return v.errs
}

type validator struct {
	app  string
	errs ManifestErrors
}

func (v *validator) add(field, format string, args ...any) { v.errs.add(field, format, args...) }

func (v *validator) count(s *AppSpec) {
	switch {
	case s.Global && s.Replicas != nil:
		v.add("spec.replicas", "cannot be given with global, which runs one instance on every machine: remove one of the two")
	case s.Replicas != nil && *s.Replicas < 0:
		v.add("spec.replicas", "%d is negative: write a number from 0 (nothing runs) to %d", *s.Replicas, MaxReplicas)
	case s.Replicas != nil && *s.Replicas > MaxReplicas:
		v.add("spec.replicas", "%d is too many: write a number from 0 to %d, or split the app", *s.Replicas, MaxReplicas)
	}
}

func (v *validator) program(s *AppSpec) {
	switch {
	case s.Container == nil && s.Exec == nil:
		v.add("spec.exec", "missing: set exec or container")
	case s.Container != nil && s.Exec != nil:
		v.add("spec.exec", "cannot be given with container: remove one of the two")
	case s.Exec != nil:
		v.command("spec.exec.command", s.Exec.Command)
	default:
		v.container(s.Container)
		v.sharedName(s)
		v.commandLine("spec.container", sizeOf(s.Container.Command, s.Container.Args, s.Container.Options, s.Container.Volumes)+sizeOfEnv(s.Env))
	}
}

// sizeOfEnv is the size of the variables on a container's command line.
func sizeOfEnv(env map[string]string) (n int) {
	for name, value := range env {
		n += len(name) + len(value) + len(` -e "="`)
	}
	return n
}

func (v *validator) container(c *Container) {
	if c.Name != "" {
		v.specifiers("spec.container.name", c.Name)
		if !containerName.MatchString(expandForCheck(c.Name)) {
			v.add("spec.container.name", "%s is not a valid container name: write letters, digits, _ . - and specifiers such as %%i", quoteShort(c.Name))
		}
	}
	switch {
	case c.Image == "":
		v.add("spec.container.image", "missing: set the image to run, such as localhost:5000/example-app:latest")
	case !imageName.MatchString(c.Image):
		v.add("spec.container.image", "%s is not a valid image name: use one such as localhost:5000/example-app:latest", quoteShort(c.Image))
	}
	v.arguments("spec.container.command", c.Command)
	v.arguments("spec.container.args", c.Args)
	v.arguments("spec.container.options", c.Options)
	v.oneOf("spec.container.pull", c.Pull, PullAlways, PullIfNotPresent, PullNever)
	v.oneOf("spec.container.runtime", c.Runtime, RuntimeDocker, RuntimePodman)
	for i, volume := range c.Volumes {
		v.volume(at("spec.container.volumes", i), volume)
	}
}

// sharedName refuses a name that two instances on one machine would have: the second could not start.
func (v *validator) sharedName(s *AppSpec) {
	name := s.Container.Name
	fixed := len(s.Ports) > len(s.AutoPorts())
	if namesDiffer(name) || s.Global || s.Instances() < 2 || fixed || v.conflictsWithItself(s) {
		return
	}
	v.add("spec.container.name", "%s would be the name of all %d instances, and two of them on one machine cannot both have it: add %%i, such as %s, or keep them apart with placement.conflicts: [%s@*.service]",
		quoteShort(name), s.Instances(), quoteShort(name+".%i"), v.app)
}

// conflictsWithItself reports whether no two instances share a machine.
func (v *validator) conflictsWithItself(s *AppSpec) bool {
	return s.Placement != nil && slices.ContainsFunc(s.Placement.Conflicts, func(glob string) bool {
		matches, err := path.Match(v.expandUnit(glob), AppUnit(v.app, 2)) // as the first instance has it
		return err == nil && matches
	})
}

func (v *validator) volume(field, volume string) {
	if !v.specifiers(field, volume) {
		return
	}
	parts := strings.Split(volume, ":")
	if len(parts) < 2 || len(parts) > 3 {
		v.add(field, "%s is not a bind mount: use host-path:container-path, or host-path:container-path:ro", quoteShort(volume))
		return
	}
	host := parts[0]
	if !strings.HasPrefix(host, "/") && !strings.HasPrefix(host, "%") && !containerName.MatchString(host) {
		v.add(field, "the host path %s is not absolute: begin it with /, a specifier such as %%t, or name a volume", quoteShort(host))
	}
	if !strings.HasPrefix(parts[1], "/") {
		v.add(field, "the container path %s is not absolute: begin it with /", quoteShort(parts[1]))
	}
	if len(parts) == 3 && !volumeOptions.MatchString(parts[2]) {
		v.add(field, "%s are not valid mount options: use ro, or other options of the runtime, separated by commas", quoteShort(parts[2]))
	}
}

func (v *validator) environment(s *AppSpec) {
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		field := keyed("spec.env", name)
		if !envName.MatchString(name) {
			v.add(field, "%s is not a valid variable name: use letters, digits and _, not beginning with a digit", quoteShort(name))
		}
		if v.assigned(s, name) {
			v.add(field, "is the variable of a port with hostPort: auto: remove it")
		}
		value := s.Env[name]
		if i := strings.IndexFunc(value, noncharacter); v.value(field, value) && i >= 0 && s.Container == nil {
			v.add(field, "contains %U, a Unicode noncharacter that systemd refuses: remove it", []rune(value[i:])[0])
		}
	}
	for i, file := range s.EnvFiles {
		field := at("spec.envFiles", i)
		if v.specifiers(field, file) && (!absoluteOrSpecifier(strings.TrimPrefix(file, "-")) || strings.TrimSpace(file) != file) {
			v.add(field, "%s is not an absolute path: begin it with /, or a specifier such as %%t (after a - if the file may be missing)", quoteShort(file))
		}
	}
}

func (v *validator) ports(s *AppSpec) {
	names, numbers, hosts := map[string]int{}, map[int32]int{}, map[HostPort]int{}
	for i, p := range s.Ports {
		field := at("spec.ports", i)
		process, auto := s.Exec != nil && s.Container == nil, p.HostPort.IsAuto()
		if numberless := p.Port == 0 && process && auto; !numberless && v.portNumber(field+".port", p.Port) {
			unique(v, field+".port", numbers, p.Port, i)
		}
		switch {
		case auto || p.HostPort == HostPort(p.Port) && p.Port >= 0:
		case process:
			v.add(field+".hostPort", "differs from port, but a plain process listens on the machine's port itself: remove it, write auto, or run a container")
		default:
			v.portNumber(field+".hostPort", int32(p.HostPort))
		}
		if numbers[p.Port] == i && !auto { // report a duplicate port only once
			unique(v, field+".hostPort", hosts, p.HostPort, i)
		}
		switch digits := strings.Trim(p.Name, "0123456789") == ""; {
		case digits && p.Name == fmt.Sprint(p.Port):
		case p.Name == "" && p.Port == 0:
			if process && auto { // else the number is missing
				v.add(field+".name", "missing: a port without a number needs one, such as http")
			}
		case digits || !IsLabel(p.Name):
			v.add(field+".name", "%s is not a valid port name: use lowercase letters, digits and -, with at least one letter", quoteShort(p.Name))
		default:
			unique(v, field+".name", names, p.Name, i)
		}
	}
}

// assigned reports whether the variable tells a plain process one of its automatic ports.
func (v *validator) assigned(s *AppSpec, variable string) bool {
	auto := s.AutoPorts()
	if s.Exec == nil || len(auto) == 0 {
		return false
	}
	return variable == VariablePort || slices.ContainsFunc(auto, func(port string) bool { return PortVariable(port) == variable })
}

func unique[K comparable](v *validator, field string, seen map[K]int, key K, i int) {
	if first, twice := seen[key]; twice {
		v.add(field, "%v is already used by spec.ports[%d]: port names and numbers must be unique", key, first)
		return
	}
	seen[key] = i
}

func (v *validator) portNumber(field string, port int32) bool {
	if port < 1 || port > 65535 {
		v.add(field, "%d is not a valid port: use a number from 1 to 65535", port)
		return false
	}
	return true
}

func (v *validator) portReference(field, port string, s *AppSpec) {
	if _, ok := s.FindPort(port); ok {
		return
	}
	names := make([]string, len(s.Ports))
	for i, p := range s.Ports {
		names[i] = p.Name
	}
	switch {
	case len(names) == 0:
		v.add(field, "there is no port: list the ports that the process listens on in spec.ports")
	case port == "":
		v.add(field, "missing: set the name or number of one of spec.ports (%s)", strings.Join(names, ", "))
	default:
		v.add(field, "%s is not in spec.ports: use one of %s", quoteShort(port), strings.Join(names, ", "))
	}
}

func (v *validator) resources(r *Resources) {
	if r == nil {
		return
	}
	amount := func(list, resource, value string, parse func(string) (int64, error), least int64) int64 {
		if value == "" {
			return -1
		}
		field := "spec.resources." + list + "." + resource
		n, err := parse(value)
		switch {
		case err != nil:
			v.add(field, "%s is %v", quoteShort(value), err)
			return -1
		case n < least:
			v.add(field, "%s is too little for a process to run: raise it", quoteShort(value))
		}
		return n
	}
	cpu, cpuLimit := amount("requests", "cpu", r.Requests.CPU, quantity.ParseCPU, 0), amount("limits", "cpu", r.Limits.CPU, quantity.ParseCPU, 10)
	memory, memoryLimit := amount("requests", "memory", r.Requests.Memory, quantity.ParseMemory, 0), amount("limits", "memory", r.Limits.Memory, quantity.ParseMemory, 1<<20)
	if cpuLimit >= 0 && cpu > cpuLimit {
		v.add("spec.resources.requests.cpu", "%s exceeds the limit of %s: lower the request or raise the limit", r.Requests.CPU, r.Limits.CPU)
	}
	if memoryLimit >= 0 && memory > memoryLimit {
		v.add("spec.resources.requests.memory", "%s exceeds the limit of %s: lower the request or raise the limit", r.Requests.Memory, r.Limits.Memory)
	}
}

func (v *validator) announce(s *AppSpec) {
	if a := s.Announce; a != nil {
		v.portReference("spec.announce.port", a.Port, s)
		if port, _ := s.FindPort(a.Port); a.Prefix == DefaultAnnouncePrefix || s.Route != nil { // read by routers
			if owner, reserved := ReservedPorts[int(port.HostPort)]; reserved {
				v.add("spec.announce.port", "%d is the port of %s, which routers never proxy to: listen on another port", port.HostPort, owner)
			}
		}
		switch {
		case !IsPrefix(a.Prefix):
			v.add("spec.announce.prefix", "%s is not a valid etcd directory: use an absolute path such as %s, without a trailing /", quoteShort(a.Prefix), DefaultAnnouncePrefix)
		case a.Prefix == "/fleet" || strings.HasPrefix(a.Prefix, "/fleet/"):
			v.add("spec.announce.prefix", "%s is inside fleet's own keys: use a path outside /fleet, such as %s", a.Prefix, DefaultAnnouncePrefix)
		}
		if a.TTL < Duration(5*time.Second) {
			v.add("spec.announce.ttl", "%s is too short, any hiccup would withdraw the instance: use at least 5s", a.TTL)
		}
	}
	h := s.HealthCheck
	if h == nil {
		return
	}
	if s.Announce == nil {
		v.add("spec.healthCheck", "has no effect without announce: add announce, or remove it")
	}
	v.healthCheck(s, h)
}

func (v *validator) healthCheck(s *AppSpec, h *HealthCheck) {
	probes := 0
	if h.HTTP != nil {
		probes++
		v.portReference("spec.healthCheck.http.port", h.HTTP.Port, s)
		if !urlPath.MatchString(h.HTTP.Path) {
			v.add("spec.healthCheck.http.path", "%s is not a valid path: begin it with / and write spaces as %%20", quoteShort(h.HTTP.Path))
		}
	}
	if h.TCP != nil {
		probes++
		v.portReference("spec.healthCheck.tcp.port", h.TCP.Port, s)
	}
	if h.Exec != nil {
		probes++
		v.command("spec.healthCheck.exec.command", h.Exec.Command)
	}
	if probes != 1 {
		v.add("spec.healthCheck", "has %d probes: set exactly one of http, tcp and exec", probes)
	}
	v.positive("spec.healthCheck.interval", h.Interval)
	v.positive("spec.healthCheck.timeout", h.Timeout)
	v.threshold("spec.healthCheck.healthyThreshold", h.HealthyThreshold)
	v.threshold("spec.healthCheck.unhealthyThreshold", h.UnhealthyThreshold)
}

func (v *validator) threshold(field string, n int32) {
	if n < 1 || n > 1000 {
		v.add(field, "%d is out of range: use 1 to 1000", n)
	}
}

func (v *validator) route(s *AppSpec) {
	if s.Route == nil {
		return
	}
	if s.Announce == nil {
		v.add("spec.route", "has no effect without announce, as routers serve only announced instances: add announce")
	}
	if size := s.Route.BodySize; size != "" {
		if _, err := quantity.ParseMemory(size); err != nil {
			v.add("spec.route.bodySize", "%s is %v", quoteShort(size), err)
		}
	}
	if timeout := s.Route.Timeout; timeout != 0 && (timeout < Duration(time.Second) || timeout > Duration(MaxRouteTimeout)) {
		v.add("spec.route.timeout", "%s is out of range: use 1s to 24h", timeout)
	}
	seen := map[string]bool{}
	for i, host := range s.Route.Hosts {
		field := at("spec.route.hosts", i)
		switch {
		case !IsRouteHost(host):
			v.add(field, "%s is not a valid host name: use one such as example-app.example.com or *.example.com, in lowercase", quoteShort(host))
		case seen[host]:
			v.add(field, "duplicate host %s: remove one", host)
		}
		seen[host] = true
	}
}
