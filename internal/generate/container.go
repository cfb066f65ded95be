package generate

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-starter/fleet/apis/quantity"
	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// pullPatience is the time to pull and start a container: systemd's default of 90 s is short for an image.
const pullPatience = "30m"

// container writes the options that run a container: as in the seed, the runtime's client is the unit's process.
//
// The containers of a unit are found by their labels, not by their name: what another unit or a person runs under the same name
// is not removed, unless it has ended, and the start fails with the runtime's own words.
func (g *generator) container(c *v1.Container) {
	runtime := clientOf(c)
	name := c.Name
	if name == "" { // an app's name has no dots, so no other default is the same
		name = g.app + strings.Replace(g.instance, "@", ".", 1)
	}
	// fleetd pulls what Always asks for before it starts the unit. A restart by systemd runs what is on the machine: a registry that
	// is away makes no crash an outage.
	switch logsIn := len(g.spec.Unit["Service"]["ExecStartPre"]) > 0; {
	case c.Pull == v1.PullNever:
	case c.Pull == v1.PullAlways && logsIn: // or may: so fleetd cannot pull for it
		g.add("Service", "ExecStartPre", script(runtime, pullAnew, unitfile.Quote(c.Image)))
	default:
		g.add("Service", "ExecStartPre", script(runtime, pullMissing, unitfile.Quote(c.Image)))
	}
	own := expandable("%n", "${"+v1.VariableMachineID+"}")
	// What a crash of the machine or the runtime has left, or a version that gave containers no labels.
	g.add("Service", "ExecStartPre", "-"+script(runtime, removeLeft, own+" "+expandable(name)))
	g.add("Service", "ExecStart", g.run(c, runtime, name))
	g.add("Service", "ExecStartPost", script(runtime, awaitRunning, own))
	g.add("Service", "ExecStop", expandable(runtime.command("stop", name)...))
	g.add("Service", "ExecStopPost", "-"+script(runtime, removeEnded, own))
	g.set("Service", "TimeoutStartSec", pullPatience)
}

// The scripts of a unit. RUNTIME is the runtime's client, REMOVE its command that kills and removes
// a container; $0 is the image, or $0, $1 and $2 are the unit, the machine and the container's name: none of them has
// characters that a shell would split or expand.
const (
	pullMissing = `RUNTIME image inspect $0 >/dev/null 2>&1 || exec RUNTIME pull $0`
	pullAnew    = `RUNTIME pull $0 || exec RUNTIME image inspect $0 >/dev/null`

	ownFilters = `--filter label=` + v1.LabelUnit + `=$0 --filter label=` + v1.LabelMachine + `=$1`
	removeLeft = `for c in $(RUNTIME ps -aq ` + ownFilters + `); do REMOVE $c; done; ` +
		`for c in $(RUNTIME ps -aq --filter name=^$2$ --filter status=exited); do REMOVE $c; done`
	// awaitRunning ends when the container runs, or with the main process: systemd waits for it either way, and then acts upon how
	// the main process ended.
	awaitRunning = `while kill -0 $MAINPID 2>/dev/null; do test $(RUNTIME ps -q ` + ownFilters + ` 2>/dev/null) && exit; sleep 0.2; done; exit 0`
	// Podman knows nothing of a container that could not be started, and has said why before.
	ended = `{{if .State.Running}}container runs without its client{{else if or .State.ExitCode .State.OOMKilled}}` +
		`container exited with {{.State.ExitCode}}{{if .State.OOMKilled}}, OOMKilled{{end}}{{with .State.Error}}, {{.}}{{end}}{{end}}`
	// removeEnded logs what the runtime knows of a failure before the container is gone.
	removeEnded = `for c in $(RUNTIME ps -aq ` + ownFilters + `); do ` +
		`test $SERVICE_RESULT = success || RUNTIME inspect -f '` + ended + `' $c; ` +
		`REMOVE $c >/dev/null; done`
)

// client is a runtime's client as units use it.
type client struct {
	words  []string
	remove string
}

func clientOf(c *v1.Container) client {
	if c.Runtime == v1.RuntimePodman {
		// Without the option it tells the unit's journal of all that it does. It would wait 10 s before it kills.
		return client{[]string{"/usr/bin/podman", "--events-backend=file"}, "rm -f -t 0"}
	}
	return client{[]string{"/usr/bin/docker"}, "rm -f"}
}

func (c client) command(args ...string) []string { return append(slices.Clone(c.words), args...) }

// script returns a command line for a shell script with these arguments.
func script(c client, text, arguments string) string {
	name := strings.Join(c.words, " ")
	text = strings.NewReplacer("RUNTIME", name, "REMOVE", name+" "+c.remove).Replace(text)
	return unitfile.Quote("/bin/sh", "-c", text) + " " + arguments
}

// run returns the "docker run" command line. Images, ports and the environment are literal.
func (g *generator) run(c *v1.Container, runtime client, name string) string {
	parts := []string{expandable(runtime.command("run", "--name", name)...)}
	for _, label := range [][2]string{{v1.LabelApp, g.app}, {v1.LabelUnit, "%n"}, {v1.LabelMachine, "${" + v1.VariableMachineID + "}"}, {v1.LabelRevision, g.revision}} {
		parts = append(parts, expandable("--label", label[0]+"="+label[1]))
	}
	// The client writes what the container logs to the journal: the runtime's own log, which has no limit, would be a second one.
	// The image is there, or its pull has failed and said why.
	parts = append(parts, "--log-driver none", "--pull=never")
	parts = append(parts, g.published(c)...)
	for _, volume := range c.Volumes {
		parts = append(parts, expandable("-v", volume))
	}
	for _, key := range slices.Sorted(maps.Keys(g.spec.Env)) {
		parts = append(parts, unitfile.Quote("-e", key+"="+g.spec.Env[key]))
	}
	parts = append(parts, g.containerLimits()...)
	parts = append(parts, nonEmpty(expandable(c.Options...))...)
	arguments := c.Args
	if len(c.Command) > 0 { // --entrypoint takes only the program
		parts = append(parts, expandable("--entrypoint", c.Command[0]))
		arguments = append(slices.Clone(c.Command[1:]), c.Args...)
	}
	parts = append(parts, unitfile.Quote(c.Image))
	return strings.Join(append(parts, nonEmpty(expandable(arguments...))...), " ")
}

// published are the options for the ports. A container on the machine's network listens there itself: the runtime would ignore ports to
// publish, with a warning at each start, and the container has to know those that were assigned.
func (g *generator) published(c *v1.Container) (parts []string) {
	if !onHostNetwork(c.Options) {
		for _, p := range g.spec.Ports {
			parts = append(parts, expandable("-p", fmt.Sprintf("%s:%d", hostPort(p), p.Port)))
		}
		return parts
	}
	if auto := g.spec.AutoPorts(); len(auto) > 0 {
		parts = append(parts, unitfile.Quote("-e", v1.VariablePort))
		for _, name := range auto {
			parts = append(parts, unitfile.Quote("-e", v1.PortVariable(name)))
		}
	}
	return parts
}

// onHostNetwork reports whether the runtime's options give the container the machine's own network: the last --network counts.
func onHostNetwork(options []string) (host bool) {
	for i, option := range options {
		name, network, joined := strings.Cut(option, "=")
		if !joined && i+1 < len(options) {
			network = options[i+1]
		}
		if name == "--network" || name == "--net" {
			host = network == "host"
		}
	}
	return host
}

// engine orders the unit after what its container needs, which it waits for. It is not bound to it: systemd starts the unit again
// when the engine has been restarted.
func (g *generator) engine(c *v1.Container) {
	needs := "docker.service"
	if c.Runtime == v1.RuntimePodman { // has no daemon
		needs = "network-online.target"
	}
	for _, option := range []string{"Wants", "After"} {
		given := strings.Join(g.spec.Unit["Unit"][option], " ")
		if !slices.Contains(strings.Fields(given), needs) {
			g.add("Unit", option, needs)
		}
	}
}

// containerLimits are passed to the runtime: the container's processes are not in the unit's cgroup.
func (g *generator) containerLimits() (parts []string) {
	if g.spec.Resources == nil {
		return nil
	}
	if cpu, err := quantity.ParseCPU(g.spec.Resources.Limits.CPU); err == nil {
		parts = append(parts, "--cpus", quantity.FormatCores(cpu))
	}
	if memory, err := quantity.ParseMemory(g.spec.Resources.Limits.Memory); err == nil {
		parts = append(parts, "--memory", strconv.FormatInt(memory, 10))
	}
	return parts
}

func nonEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}
