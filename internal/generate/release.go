package generate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Release returns the unit file that runs the release command of an App once; "" if it has none. It is the app's own unit with
// another program, without what belongs to an instance: its ports, what it requests, and what it must share a machine with.
//
// A machine that is cut off stops it before another one runs it, so that it never runs twice at a time.
func Release(name string, spec *v1.AppSpec) (string, error) {
	if spec.Release == nil {
		return "", nil
	}
	once := *spec
	once.Description = "Release " + strings.TrimSpace(spec.Description)
	once.Ports, once.Announce, once.Global, once.OnPartition = nil, nil, false, v1.PartitionStop
	if spec.Container != nil {
		container := *spec.Container
		container.Name, container.Command, container.Args = "", spec.Release.Command, nil
		container.Options = onceOfRuntime(container.Options)
		once.Container = &container
	} else {
		once.Exec = &v1.Exec{Command: spec.Release.Command}
	}
	if r := spec.Resources; r != nil {
		once.Resources = &v1.Resources{Limits: r.Limits}
	}
	if p := spec.Placement; p != nil {
		once.Placement = &v1.PlacementRules{MachineID: p.MachineID, MachineMetadata: p.MachineMetadata, Prefer: p.Prefer}
	}
	once.Unit = onceOptions(spec)
	if spec.Container == nil {
		once.Unit["Service"]["TimeoutStopSec"] = v1.StringList{stopPatience}
	}
	g := generator{app: name, spec: &once, instance: "-release"}
	text := g.unit()
	if g.err != nil {
		return "", fmt.Errorf("generating the unit file of the release command of app %s: %w", name, g.err)
	}
	return text, nil
}

// stopPatience is how long a command that is stopped has until it is killed. A machine that is cut off stops it a third of agent_ttl before
// another one may run it, 10 s by default: with systemd's 90 s, one that ignores SIGTERM would run on both, and on after its revision was
// rejected. What is in a container is killed by the runtime, after the same time.
const stopPatience = "10s"

// onceOptions are the App's further options for a command that runs once: without those that say how a service that runs on is
// started, stopped and watched, and without directories that are removed when it ends.
func onceOptions(spec *v1.AppSpec) map[string]map[string]v1.StringList {
	service := maps.Clone(spec.Unit["Service"])
	maps.DeleteFunc(service, func(option string, _ v1.StringList) bool { return option != "ExecStartPre" && ofService(option) })
	if service == nil {
		service = map[string]v1.StringList{}
	}
	service["Type"], service["Restart"] = v1.StringList{"oneshot"}, v1.StringList{"no"}
	service["TimeoutStartSec"] = v1.StringList{duration(spec.Release.Timeout)}
	unit := map[string]map[string]v1.StringList{"Service": service}
	if options := spec.Unit["Unit"]; options != nil {
		unit["Unit"] = options
	}
	return unit
}

// ofService reports whether an option of [Service] says how a service that runs on is started, stopped and watched.
func ofService(option string) bool {
	return slices.Contains([]string{"RemainAfterExit", "NotifyAccess", "PIDFile", "GuessMainPID", "BusName", "Sockets", "ExitType", "FinalKillSignal"}, option) ||
		slices.ContainsFunc([]string{"Exec", "Restart", "Timeout", "Runtime", "Watchdog", "Kill", "SendSIG"}, func(prefix string) bool {
			return strings.HasPrefix(option, prefix)
		})
}

// onceOfRuntime are options of docker run without those that publish ports and say how the container is stopped.
func onceOfRuntime(options []string) (left []string) {
	for i := 0; i < len(options); i++ {
		switch name, _, joined := strings.Cut(options[i], "="); name {
		case "-p", "--publish", "--stop-signal", "--stop-timeout":
			if !joined {
				i++
			}
		case "-P", "--publish-all":
		default:
			left = append(left, options[i])
		}
	}
	return left
}
