// Package version says which fleet this is.
package version

import "runtime/debug"

// Version is set when a release is linked: -ldflags "-X github.com/fleet-starter/fleet/internal/version.Version=1.2.3".
var Version = ""

// String is the release, or what the go command recorded of the checkout it was built from.
func String() string {
	if Version != "" {
		return Version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+dirty"
		}
	}
	if revision == "" {
		return "0.0.0-dev"
	}
	return "0.0.0-" + revision + dirty
}
