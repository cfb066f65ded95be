package v1

import (
	"regexp"
	"strconv"
	"strings"
)

// The names derived from an App. Instances are numbered from 1; instance 0 is the per-machine instance of a global app.

// sidekickSuffix is appended to an app's name for the units that announce it, as in the original example.
const sidekickSuffix = "-discovery"

// AppUnit returns the unit name of an instance: example-app@1.service, or router.service.
func AppUnit(app string, instance int32) string { return unitName(app, instance) }

// SidekickUnit returns the name of the unit that announces an instance: example-app-discovery@1.service, or
// router-discovery.service.
func SidekickUnit(app string, instance int32) string { return unitName(app+sidekickSuffix, instance) }

// releaseSuffix is appended to an app's name for the unit that runs its release command.
const releaseSuffix = "-release"

// ReleaseUnit returns the name of the unit that runs an app's release command: example-app-release.service.
func ReleaseUnit(app string) string { return unitName(app+releaseSuffix, 0) }

func unitName(prefix string, instance int32) string {
	if instance == 0 {
		return prefix + ".service"
	}
	return prefix + "@" + strconv.FormatInt(int64(instance), 10) + ".service"
}

// ParseAppUnit inverts AppUnit and SidekickUnit for the units of app. ok is false for any other name.
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

// EndpointName is the name of an instance's endpoint under the announce prefix: example-app/example-app@1.
func EndpointName(app string, instance int32) string {
	return app + "/" + strings.TrimSuffix(AppUnit(app, instance), ".service")
}

// GlobalEndpointName is the endpoint name of a global app's instance on one machine: router/router@<machine id>.
func GlobalEndpointName(app, machine string) string { return app + "/" + app + "@" + machine }

// machineID matches a machine ID (machine-id(5)).
var machineID = regexp.MustCompile(`^[0-9a-f]{32}$`)

// UnitOfEndpoint inverts EndpointName and GlobalEndpointName: it returns the unit that the endpoint announces and, for a
// global app, the machine.
func UnitOfEndpoint(app, instance string) (unit, machine string) {
	if id, ok := strings.CutPrefix(instance, app+"@"); ok && machineID.MatchString(id) {
		return AppUnit(app, 0), id
	}
	return instance + ".service", ""
}

// TakenUnit returns the first unit that the App needs and taken reports as taken, or "". An App is refused for a name
// conflict only by this rule.
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
	if unit := ReleaseUnit(a.Metadata.Name); a.Spec.Release != nil && taken(unit) {
		return unit
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

// NameTakenMessage says who owns the unit and how to resolve the conflict; owner is empty for a unit that a user
// submitted.
func NameTakenMessage(unit, owner string) string {
	if owner == "" {
		return "unit " + unit + " was submitted by a user: destroy it or rename the app"
	}
	return "unit " + unit + " belongs to app " + owner + ": rename one of the two apps"
}

// AppsOfUnit returns the apps that could own a unit of that name: example-app-discovery@1.service is the sidekick of
// example-app or an instance of example-app-discovery.
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
	if releaseOf, ok := strings.CutSuffix(prefix, releaseSuffix); ok {
		apps = append(apps, releaseOf)
	}
	return apps
}
