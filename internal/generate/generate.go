// Package generate produces the unit files of an App. It is pure, and used by the controller and the API alike, so that a
// plan and a diff show exactly what will run.
package generate

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// Files are the unit files of an App. All instances share them.
type Files struct {
	// Unit runs the app.
	Unit string
	// Sidekick announces it; empty if nothing is announced.
	Sidekick string
}

// restartPause is the time between attempts to run a process that ends: with systemd's default of 100 ms, one that cannot
// start would burn a core. With StartLimitIntervalSec=0 systemd never gives up (systemd.service(5), "RestartSec="), because
// nothing else would retry.
const restartPause = "1s"

// Units returns the unit files of a valid App that has its defaults. Options have a fixed order, so that the same spec gives
// the same bytes.
func Units(name string, spec *v1.AppSpec) (Files, error) {
	g := generator{app: name, spec: spec, instance: "@%i"}
	if spec.Global {
		g.instance = ""
	}
	files := Files{Unit: g.unit()}
	if spec.Announce != nil {
		g.file = unitfile.New()
		g.sidekick()
		files.Sidekick = g.file.String()
	}
	if g.err != nil {
		return Files{}, fmt.Errorf("generating the unit files of app %s: %w", name, g.err)
	}
	return files, nil
}

// SameUnits reports whether two specs differ only in fields that concern no instance: how many there are, which hosts are
// routed to them, how they are replaced.
func SameUnits(a, b *v1.AppSpec) bool { return v1.SameSpec(ofInstances(*a), ofInstances(*b)) }

// ofInstances is the part of a spec that unit files are generated from.
func ofInstances(s v1.AppSpec) *v1.AppSpec {
	s.Replicas, s.Route, s.Update, s.Release = nil, nil, nil, nil
	return &s
}

type generator struct {
	app      string
	spec     *v1.AppSpec
	instance string // what is between the app's name and .service
	// revision is the label of the container: a hash of the unit file without it. The number of the App's revision would change
	// with every manifest, and restart instances whose unit file stays the same.
	revision string
	file     *unitfile.File
	err      error
}

// unit returns the unit file that runs the app.
func (g *generator) unit() string {
	text := g.write()
	if g.spec.Container != nil {
		g.revision = unitfile.Hash(text)[:12]
		text = g.write()
	}
	return text
}

func (g *generator) write() string {
	g.file = unitfile.New()
	g.unitSection()
	g.serviceSection()
	g.otherSections()
	g.fleetSection()
	return g.file.String()
}

// add writes an option. Validation rejects everything that cannot be written, so an error here is a bug, and no unit file is
// written at all.
func (g *generator) add(section, option, value string) {
	if err := g.file.Add(section, option, value); err != nil && g.err == nil {
		g.err = err
	}
}

// set writes an option unless the App passes it through.
func (g *generator) set(section, option, value string) {
	if _, given := g.spec.Unit[section][option]; !given {
		g.add(section, option, value)
	}
}

func (g *generator) unitName() string     { return g.app + g.instance + ".service" }
func (g *generator) sidekickName() string { return g.app + "-discovery" + g.instance + ".service" }

func (g *generator) unitSection() {
	g.add("Unit", "Description", literal(strings.TrimSpace(g.spec.Description)))
	if g.spec.Announce != nil {
		g.add("Unit", "Wants", g.sidekickName())
	}
	if g.spec.Container != nil {
		g.engine(g.spec.Container)
	}
	g.set("Unit", "StartLimitIntervalSec", "0")
	g.passthrough("Unit", nil)
}

func (g *generator) serviceSection() {
	s := g.spec
	g.add("Service", "EnvironmentFile", "-/etc/environment")
	g.add("Service", "EnvironmentFile", "-"+v1.EnvironmentFile)
	for _, file := range s.EnvFiles {
		g.add("Service", "EnvironmentFile", file)
	}
	g.assignedPorts()
	for _, value := range s.Unit["Service"]["ExecStartPre"] {
		g.add("Service", "ExecStartPre", value)
	}
	if s.Container != nil {
		g.container(s.Container)
	} else {
		for _, name := range slices.Sorted(maps.Keys(s.Env)) {
			g.add("Service", "Environment", assignment(name, s.Env[name]))
		}
		g.add("Service", "ExecStart", commandLine(s.Exec.Command))
		g.limits()
	}
	g.set("Service", "Restart", "always")
	g.set("Service", "RestartSec", restartPause)
	g.passthrough("Service", []string{"ExecStartPre"})
}

func (g *generator) limits() {
	if g.spec.Resources == nil {
		return
	}
	if cpu, err := quantity.ParseCPU(g.spec.Resources.Limits.CPU); err == nil {
		percent := strconv.FormatInt(cpu/10, 10)
		if tenths := cpu % 10; tenths != 0 {
			percent += "." + strconv.FormatInt(tenths, 10)
		}
		g.add("Service", "CPUQuota", percent+"%")
	}
	if memory, err := quantity.ParseMemory(g.spec.Resources.Limits.Memory); err == nil {
		g.add("Service", "MemoryMax", quantity.FormatMemory(memory))
	}
}

// assignedPorts lets a unit read the ports that the scheduler has assigned to the instance. Without them it must not start.
func (g *generator) assignedPorts() {
	if len(g.spec.AutoPorts()) > 0 {
		g.add("Service", "EnvironmentFile", v1.PortsDir+"/"+g.unitName())
	}
}

// hostPort is a port as arguments have it: the number, or the variable that holds it.
func hostPort(p v1.Port) string {
	if p.HostPort.IsAuto() {
		return "${" + v1.PortVariable(p.Name) + "}"
	}
	return p.HostPort.String()
}

// otherSections writes the sections that are only passed through.
func (g *generator) otherSections() {
	for _, section := range slices.Sorted(maps.Keys(g.spec.Unit)) {
		if section != "Unit" && section != "Service" && section != unitfile.SectionFleet {
			g.passthrough(section, nil)
		}
	}
}

func (g *generator) passthrough(section string, without []string) {
	options := g.spec.Unit[section]
	for _, option := range slices.Sorted(maps.Keys(options)) {
		for _, value := range options[option] {
			if !slices.Contains(without, option) {
				g.add(section, option, value)
			}
		}
	}
}

// fleetSection says where an instance may run: the original fleet's options, then this project's.
func (g *generator) fleetSection() {
	const section = unitfile.SectionFleet
	s := g.spec
	if s.Global {
		g.add(section, "Global", "true")
	}
	for _, o := range s.Placement.Options() {
		g.add(section, o.Name, o.Value)
	}
	if s.OnPartition == v1.PartitionStop {
		g.add(section, "OnPartition", s.OnPartition)
	}
	g.passthrough(section, nil)
	g.claims()
	g.image()
}

// claims are the resources that an instance takes from its machine.
func (g *generator) claims() {
	const section = unitfile.SectionFleet
	var ports []int32
	for _, p := range g.spec.Ports {
		if !p.HostPort.IsAuto() {
			ports = append(ports, int32(p.HostPort))
		}
	}
	slices.Sort(ports)
	if len(ports) > 0 {
		g.add(section, "Ports", strings.Trim(fmt.Sprint(ports), "[]"))
	}
	if auto := g.spec.AutoPorts(); len(auto) > 0 {
		g.add(section, "AutoPorts", strings.Join(auto, " "))
	}
	if g.spec.Resources == nil {
		return
	}
	if cpu, err := quantity.ParseCPU(g.spec.Resources.Requests.CPU); err == nil && cpu > 0 {
		g.add(section, "CPU", strconv.FormatInt(cpu, 10)+"m")
	}
	if memory, err := quantity.ParseMemory(g.spec.Resources.Requests.Memory); err == nil && memory > 0 {
		g.add(section, "Memory", quantity.FormatMemory(memory))
	}
}

// image is what fleetd pulls before it starts or changes the unit. An app with commands of its own before that, which may log
// in at the registry, pulls by itself, in its unit.
func (g *generator) image() {
	c := g.spec.Container
	if c == nil || c.Pull == v1.PullNever || len(g.spec.Unit["Service"]["ExecStartPre"]) > 0 {
		return
	}
	const section = unitfile.SectionFleet
	g.add(section, "Image", c.Runtime+" "+c.Image)
	if c.Pull == v1.PullIfNotPresent {
		g.add(section, "Pull", c.Pull)
	}
}

// sidekick is the unit that announces an instance while it runs: with BindsTo systemd stops it with the app, even if the
// app's process dies, and the app's Wants starts it again (systemd.unit(5)), unless it is withdrawn: see v1.HeldDir.
func (g *generator) sidekick() {
	g.add("Unit", "Description", literal("Announce "+strings.TrimSpace(g.spec.Description)))
	g.add("Unit", "BindsTo", g.unitName())
	g.add("Unit", "After", g.unitName())
	g.add("Unit", "ConditionPathExists", "!"+v1.HeldDir+"/%n")
	g.add("Unit", "StartLimitIntervalSec", "0")
	g.add("Service", "EnvironmentFile", "-/etc/environment")
	g.add("Service", "EnvironmentFile", "-"+v1.EnvironmentFile)
	g.assignedPorts()
	// The default is for machines with an older fleetd, which does not write that file: without it the unit would not start.
	g.add("Service", "LoadCredential", v1.CredentialsID+":"+v1.CredentialsFile)
	g.add("Service", "SetCredential", v1.CredentialsID+":{}")
	g.add("Service", "ExecStart", g.announcer())
	g.add("Service", "Restart", "always")
	g.add("Service", "RestartSec", restartPause)
	if g.spec.Global {
		g.add(unitfile.SectionFleet, "Global", "true")
		if p := g.spec.Placement; p != nil {
			for _, key := range slices.Sorted(maps.Keys(p.MachineMetadata)) {
				for _, value := range p.MachineMetadata[key] {
					g.add(unitfile.SectionFleet, "MachineMetadata", key+"="+value)
				}
			}
		}
		return
	}
	g.add(unitfile.SectionFleet, "MachineOf", g.unitName())
}

// announcer returns the command line of cmd/announcer.
func (g *generator) announcer() string {
	a := g.spec.Announce
	instance := g.app + "@%i"
	if g.spec.Global {
		instance = g.app + "@${FLEET_MACHINE_ID}"
	}
	port, _ := g.spec.FindPort(a.Port)
	words := []string{v1.BinDir + "/announcer", "--app", g.app, "--instance", instance,
		"--port", hostPort(port), "--prefix", a.Prefix, "--ttl", duration(a.TTL)}
	h := g.spec.HealthCheck
	if h == nil {
		return expandable(words...)
	}
	words = append(words, "--interval", duration(h.Interval), "--timeout", duration(h.Timeout),
		"--healthy-threshold", strconv.Itoa(int(h.HealthyThreshold)), "--unhealthy-threshold", strconv.Itoa(int(h.UnhealthyThreshold)))
	switch {
	case h.HTTP != nil:
		probed, _ := g.spec.FindPort(h.HTTP.Port)
		target := h.HTTP.Path // of the announced address
		if probed != port {
			target = "http://${FLEET_MACHINE_IP}:" + hostPort(probed) + h.HTTP.Path
			ours := strings.Count(target, "${") - strings.Count(h.HTTP.Path, "${") // variables; a path is literal
			return expandable(append(words, "--health-http")...) + " " + strings.Replace(unitfile.Quote(target), "$$", "$", ours)
		}
		return expandable(append(words, "--health-http")...) + " " + unitfile.Quote(target)
	case h.TCP != nil:
		probed, _ := g.spec.FindPort(h.TCP.Port)
		words = append(words, "--health-tcp", hostPort(probed))
	case h.Exec != nil:
		words = append(words, "--health-exec", h.Exec.Command[0])
		if len(h.Exec.Command) > 1 {
			words = append(append(words, "--"), h.Exec.Command[1:]...)
		}
	}
	return expandable(words...)
}

// duration formats d without Go's zero parts: 5m, not 5m0s.
func duration(d v1.Duration) string {
	s := d.String()
	if d.Std()%time.Minute == 0 {
		s = strings.TrimSuffix(s, "0s")
	}
	if d.Std()%time.Hour == 0 {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// literal keeps systemd from expanding specifiers in a text.
func literal(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// assignment returns a literal value of Environment=, where specifiers are expanded and variables are not (systemd.exec(5)).
func assignment(name, value string) string {
	return strings.ReplaceAll(unitfile.Quote(name+"="+value), "$$", "$")
}

// variable matches ${NAME} in Quote's output, with all dollar signs before it, which Quote doubled.
var variable = regexp.MustCompile(`(\$\$)+\{[A-Za-z_][A-Za-z0-9_]*\}`)

// expandable quotes words of a command line in which systemd still expands specifiers and ${NAME}; everything else is
// literal. Right before {NAME} two dollar signs stand for one, as in systemd.service(5), so that ${NAME} can be written
// literally.
func expandable(words ...string) string {
	quoted := strings.ReplaceAll(unitfile.Quote(words...), "%%", "%")
	return variable.ReplaceAllStringFunc(quoted, func(match string) string {
		return match[strings.LastIndexByte(match, '$')/2+1:]
	})
}

// commandLine is a program and its arguments. In the program's path systemd expands only specifiers; repeated as the first
// argument, dollar signs in it would be expanded, so that argument is written separately ("@", systemd.service(5)).
func commandLine(words []string) string {
	if !strings.Contains(words[0], "$") {
		return expandable(words...)
	}
	name := strings.ReplaceAll(unitfile.Quote(words[0]), "%%", "%")
	line := "@" + strings.ReplaceAll(name, "$$", "$") + " " + name
	if len(words) > 1 {
		line += " " + expandable(words[1:]...)
	}
	return line
}
