// Package version says which fleet this is.
package version

import "runtime/debug"

// Version is set at link time for a release: -ldflags "-X github.com/fleet-starter/fleet/internal/version.Version=1.2.3".
var Version = ""

// String is the release, or the revision that the go command recorded.
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
