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
		container.Options = withoutPorts(container.Options)
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
	g := generator{app: name, spec: &once, instance: "-release"}
	text := g.unit()
	if g.err != nil {
		return "", fmt.Errorf("generating the unit file of the release command of app %s: %w", name, g.err)
	}
	return text, nil
}

// onceOptions are the App's further options for a command that runs once: without those that say how a service that runs on is
// started, stopped and watched, and without directories that are removed when it ends.
func onceOptions(spec *v1.AppSpec) map[string]map[string]v1.StringList {
	service := maps.Clone(spec.Unit["Service"])
	maps.DeleteFunc(service, func(option string, _ v1.StringList) bool {
		if option == "ExecStartPre" {
			return false
		}
		return slices.Contains([]string{"RemainAfterExit", "NotifyAccess", "WatchdogSec", "PIDFile", "GuessMainPID", "BusName", "Sockets"}, option) ||
			slices.ContainsFunc([]string{"Exec", "Restart", "Timeout", "Runtime"}, func(prefix string) bool { return strings.HasPrefix(option, prefix) })
	})
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

// withoutPorts leaves out the options of docker run that publish ports.
func withoutPorts(options []string) (left []string) {
	for i := 0; i < len(options); i++ {
		switch name, _, joined := strings.Cut(options[i], "="); name {
		case "-p", "--publish":
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
