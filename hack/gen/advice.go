package main

import (
	"fmt"
	"maps"
	"slices"
)

// advice says what to do about a reason, by section. A reason without advice tells what happened: there is nothing to do.
var advice = map[string]map[string]string{
	"Placement": {
		"AutoPorts":        "widen auto_ports= in that machine's fleetd.conf, or update a fleetd that assigns none; or add a machine",
		"CPU":              "request less (resources.requests.cpu, CPU=), remove what else runs there, or add a machine",
		"Conflicts":        "remove the pattern from the file that `fleetctl explain UNIT` names, or add a machine",
		"Cordoned":         "fleetctl uncordon MACHINE",
		"Draining":         "fleetctl uncordon MACHINE, when its maintenance is over",
		"InvalidConfig":    "write it again: fleetctl cordon or uncordon MACHINE",
		"Machine":          "restart fleetd on that machine: it writes its presence again",
		"MachineGone":      "start the machine, or fleetd on it; until then its units run elsewhere, where they fit",
		"MachineID":        "start that machine, or name another one",
		"MachineMetadata":  "allow one of the values that machines have (fleetctl list-machines), or set metadata= on a machine",
		"MachineOf":        "see why that unit has no machine: fleetctl explain UNIT",
		"MachinesVanished": "bring the network or the machines back; of machines that will not return: fleetctl drain MACHINE",
		"Memory":           "request less (resources.requests.memory, Memory=), remove what else runs there, or add a machine",
		"NoMachineFits":    "fleetctl explain UNIT names the constraints, and the smallest change",
		"NoMachines":       "start fleetd on a machine, with etcd_servers= of this cluster",
		"NotWritten":       "make the unit's file or name smaller, as the event says",
		"Ports":            "use hostPort: auto (AutoPorts=), another port, or one machine more",
		"Replaces":         "remove Replaces= from one of the two units",
		"Stuck":            "fleetctl list-machines says what fails there; journalctl -u fleetd on that machine has more",
		"UnitFile":         "mend the line that the message names, and apply or submit it again",
	},
	"Roll-outs and manifests": {
		"DoubtfulManifest": "change the field that the message names, if it is not what you meant",
		"InvalidManifest":  "mend the lines that the message names: fleetctl verify FILE checks them without a cluster",
		"MoveStalled":      "fleetctl describe app NAME says what the instance lacks; fleetctl logs NAME@N shows its output",
		"NameTaken":        "rename the app, or destroy the unit of that name",
		"RevisionRejected": "mend what the message says, and apply the manifest; fleetctl history app/NAME keeps the reason",
		"RolloutStalled":   "fleetctl describe app NAME says what the instance lacks; apply a manifest that works, or fleetctl undo app/NAME",
	},
	"Conditions of an App": {

		"Exited":            "run something that does not end, or say Type=oneshot",
		"Failed":            "fleetctl logs UNIT; then fleetctl start UNIT",
		"InvalidManifest":   "mend the lines that the message names",
		"MachineAway":       "start the machine, or wait until its instances have been placed elsewhere",
		"MachineOf":         "fleetctl explain UNIT",
		"NameTaken":         "rename the app, or destroy the unit of that name",
		"NoRouter":          "run a router: manifests/dev/router.yaml",
		"NotAnnounced":      "fleetctl logs NAME-discovery@N says what the health check sees",
		"NothingWanted":     "raise replicas, or fleetctl start what was stopped",
		"NotReported":       "look at fleetd on that machine: journalctl -u fleetd",
		"Pulling":           "fleetctl describe app NAME says how far it is, or why it cannot be pulled",
		"Rejected":          "mend what the message says, and apply the manifest",
		"RestartLoop":       "fleetctl logs UNIT",
		"RolloutStalled":    "fleetctl describe app NAME says what the instance lacks; fleetctl undo app/NAME returns to the revision before",
		"RouterFailing":     "the router's log says why nginx refuses it: fleetctl logs router on that machine",
		"Stopped":           "fleetctl start UNIT",
		"Unavailable":       "fleetctl describe app NAME says why no instance is ready",
		"Unplaced":          "fleetctl explain app/NAME",
		"WaitingForRouters": "if it lasts: the routers that have not applied it are named in fleetctl describe app NAME",
	},
	"Units on their machine": {
		"Failed":      "fleetctl logs UNIT; then fleetctl start UNIT",
		"LeftAlone":   "move the unit's file on that machine away, or rename the unit",
		"NameRefused": "rename the unit: systemd knows no such name",
		"NotStarted":  "the message names the dependency: see that unit there with systemctl status",
		"PullFailed":  "see that the registry has the image, and that the machine reaches it; it is tried again",
		"Restarting":  "fleetctl logs UNIT",
	},
	"Routers": {
		"HostTaken":   "give one of the two apps another host",
		"InvalidHost": "write a host name in route.hosts",
		"NoApp":       "apply the app, or name the endpoint after a unit",
		"NoHost":      "set route.hosts, or --domain of the router",
		"NotAccepted": "nginx's words are in the message: mend the template or the settings",
	},
}

// checkAdvice returns an error if there is advice for what is no reason of its section.
func checkAdvice(reasons []explainedReason) error {
	for _, title := range slices.Sorted(maps.Keys(advice)) {
		for _, reason := range slices.Sorted(maps.Keys(advice[title])) {
			if !slices.ContainsFunc(reasons, func(e explainedReason) bool { return e.Where == title && e.Reason == reason }) {
				return fmt.Errorf("hack/gen/advice.go: %q has no reason %s", title, reason)
			}
		}
	}
	return nil
}
