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
func (g *generator) container(c *v1.Container) {
	runtime := "/usr/bin/" + c.Runtime
	name := c.Name
	if name == "" {
		name = g.app + strings.Replace(g.instance, "@", "-", 1)
	}
	if c.Pull == v1.PullAlways {
		g.add("Service", "ExecStartPre", unitfile.Quote(runtime, "pull", c.Image))
	}
	// A container left over from a crash of the machine or the runtime would still have the name.
	g.add("Service", "ExecStartPre", "-"+expandable(runtime, "rm", "-f", name))
	g.add("Service", "ExecStart", g.run(c, runtime, name))
	g.add("Service", "ExecStop", expandable(runtime, "stop", name))
	g.add("Service", "ExecStopPost", "-"+expandable(runtime, "rm", "-f", name))
	g.set("Service", "TimeoutStartSec", pullPatience)
}

// run returns the "docker run" command line. Images, ports and the environment are literal.
func (g *generator) run(c *v1.Container, runtime, name string) string {
	parts := []string{expandable(runtime, "run", "--name", name)}
	if c.Pull == v1.PullNever {
		parts = append(parts, "--pull=never")
	}
	for _, p := range g.spec.Ports {
		parts = append(parts, unitfile.Quote("-p", fmt.Sprintf("%d:%d", p.HostPort, p.Port)))
	}
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
