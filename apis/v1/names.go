package v1

import (
	"regexp"
	"strconv"
	"strings"
)

// The names of what an App becomes. Instances are numbered from 1; instance 0 stands for the one instance per
// machine of a global app.

// sidekickSuffix is what the seed puts behind an app's name for the unit that announces it.
const sidekickSuffix = "-discovery"

// AppUnit is the unit of an instance: example-app@1.service, or router.service.
func AppUnit(app string, instance int32) string { return unitName(app, instance) }

// SidekickUnit is the unit that announces an instance: example-app-discovery@1.service, or router-discovery.service.
func SidekickUnit(app string, instance int32) string { return unitName(app+sidekickSuffix, instance) }

func unitName(prefix string, instance int32) string {
	if instance == 0 {
		return prefix + ".service"
	}
	return prefix + "@" + strconv.FormatInt(int64(instance), 10) + ".service"
}

// ParseAppUnit undoes AppUnit and SidekickUnit for units of that app. ok is false for any other name.
func ParseAppUnit(app, unit string) (instance int32, sidekick, ok bool) {
	rest, isApp := strings.CutPrefix(unit, app)
	rest, isService := strings.CutSuffix(rest, ".service")
	if !isApp || !isService {
		return 0, false, false
	}
	rest, sidekick = strings.CutPrefix(rest, sidekickSuffix)
	if rest == "" {
		return 0, sidekick, true
	}
	number, isInstance := strings.CutPrefix(rest, "@")
	n, err := strconv.ParseInt(number, 10, 32)
	if !isInstance || err != nil || n < 1 || strconv.FormatInt(n, 10) != number {
		return 0, false, false
	}
	return int32(n), sidekick, true
}

// EndpointName is the name of an instance's endpoint below the announce prefix: example-app/example-app@1.
func EndpointName(app string, instance int32) string {
	return app + "/" + strings.TrimSuffix(AppUnit(app, instance), ".service")
}

// GlobalEndpointName is EndpointName for the instance of a global app on one machine: router/router@<machine id>.
func GlobalEndpointName(app, machine string) string { return app + "/" + app + "@" + machine }

// machineID is the ID of a machine, as machine-id(5) has it.
var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// UnitOfEndpoint undoes EndpointName and GlobalEndpointName: which unit an endpoint of that name announces, and on which
// machine, where it is one of a global app.
func UnitOfEndpoint(app, instance string) (unit, machine string) {
	if id, ok := strings.CutPrefix(instance, app+"@"); ok && machineID.MatchString(id) {
		return AppUnit(app, 0), id
	}
	return instance + ".service", ""
}

// TakenUnit returns the first of the units that an App needs for which taken holds, or "". It is the one rule by
// which an App is refused for names that somebody else has.
func TakenUnit(a *App, taken func(unit string) bool) string {
	names := func(instance int32) []string {
		if a.Spec.Announce == nil {
			return []string{AppUnit(a.Metadata.Name, instance)}
		}
		return []string{AppUnit(a.Metadata.Name, instance), SidekickUnit(a.Metadata.Name, instance)}
	}
	first, last := int32(1), a.Spec.Instances()
	if a.Spec.Global {
		first, last = 0, 0
	}
	for n := first; n <= last; n++ {
		for _, unit := range names(n) {
			if taken(unit) {
				return unit
			}
		}
	}
	return ""
}

// NameTakenMessage says to a person who has the unit.
func NameTakenMessage(unit, owner string) string {
	if owner == "" {
		return "the unit " + unit + " was submitted by a person: destroy it, or name the app otherwise"
	}
	return "the unit " + unit + " belongs to the app " + owner + ": name one of the two apps otherwise"
}

// AppsOfUnit returns the apps that could want a unit of that name: example-app-discovery@1.service is the sidekick of
// example-app, or an instance of example-app-discovery.
func AppsOfUnit(unit string) []string {
	prefix, isService := strings.CutSuffix(unit, ".service")
	if !isService {
		return nil
	}
	app, _, _ := strings.Cut(prefix, "@")
	apps := []string{app}
	if sidekickOf, ok := strings.CutSuffix(app, sidekickSuffix); ok {
		apps = append(apps, sidekickOf)
	}
	return apps
}
