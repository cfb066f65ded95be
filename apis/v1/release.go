package v1

import (
	"slices"
	"strings"
	"time"
)

// Release is a command that runs once before a changed app is rolled out, such as the migration of a database.
type Release struct {
	// Command is the program and its arguments: in a container of the app's image, in place of its entry point, or for a plain
	// process the absolute path of a program. Specifiers and ${VARIABLE} are expanded as in exec.command; there is no instance, so %i
	// is refused. It runs on one machine, as the unit <app>-release.service, with the app's environment, volumes and options, and
	// without its ports. If its machine is lost meanwhile, it is run again on another one, so it has to stand that.
	Command []string `json:"command"`
	// Timeout is how long it may take before it is stopped and counts as failed, at most 24h. Default 10m.
	Timeout Duration `json:"timeout,omitempty"`
}

const (
	defaultReleaseTimeout = Duration(10 * time.Minute)
	maxReleaseTimeout     = Duration(24 * time.Hour)
)

// release checks spec.release.
func (v *validator) release(s *AppSpec) {
	r := s.Release
	if r == nil {
		return
	}
	const field = "spec.release.command"
	switch {
	case len(r.Command) == 0 || r.Command[0] == "":
		v.add(field, "missing: set the program to run and its arguments, such as [bin/migrate, up]")
	case s.Container == nil:
		v.command(field, r.Command)
	default:
		v.arguments(field, r.Command)
	}
	if r.Timeout < Duration(time.Second) || r.Timeout > maxReleaseTimeout {
		v.add("spec.release.timeout", "%s is out of range: use 1s to 24h", r.Timeout)
	}
	v.noInstance(field, r.Command)
	v.noInstance("spec.envFiles", s.EnvFiles)
	if s.Container != nil {
		v.noInstance("spec.container.volumes", s.Container.Volumes)
		v.noInstance("spec.container.options", s.Container.Options)
	}
}

// noInstance refuses words that name the instance where the release command has them, too.
func (v *validator) noInstance(field string, words []string) {
	for i, word := range words {
		plain := strings.ReplaceAll(word, "%%", "")
		if strings.Contains(plain, "%i") || strings.Contains(plain, "%I") {
			v.add(at(field, i), "%s names the instance, and the release command (spec.release) runs in none: remove %%i, or the release command", quoteShort(word))
		}
	}
}

// ReleaseRun is the run of the release command that a revision needs.
type ReleaseRun struct {
	// Revision is the number of the revision that the run was begun for: an earlier one where that has the same command and the same
	// instances, and was replaced while the command ran.
	Revision int64 `json:"revision"`
	// File is the hash of the unit file that runs it.
	File string `json:"file"`
	// Meanwhile is the number of the revision that runs until it has ended; 0: there is none.
	Meanwhile int64 `json:"meanwhile,omitempty"`
	// Ended is when it ended with success; zero: it has not.
	Ended time.Time `json:"ended,omitzero"`
}

// AnnotationRelease is set on the unit of a release command: the number of the revision that it runs for.
const AnnotationRelease = "fleet/release"

// Releasing reports whether the release command that the revision needs has not ended with success.
func (r *Revision) Releasing() bool { return r.Release != nil && r.Release.Ended.IsZero() }

// Fallback is the number of the revision that runs while this one does not, because its release command has not ended, or because it
// was rejected; 0: there is none.
func (r *Revision) Fallback() int64 {
	if r.Releasing() {
		return r.Release.Meanwhile
	}
	return r.Before
}

// Runs is the revision that should run of an app's newest one and its Fallback; nil for none.
func Runs(newest, fallback *Revision) *Revision {
	if newest != nil && (newest.Releasing() || (newest.Rejected != nil || newest.OnTrial()) && fallback != nil) {
		return fallback
	}
	return newest
}

// NeedsRelease reports whether a revision needs a run of its release command after the one that runs before it, which may be nil: if
// its instances, or the command, are not the same. A change of numbers, hosts or how instances are replaced needs none.
func (r *Revision) NeedsRelease(before *Revision) bool {
	switch {
	case r.Spec.Release == nil:
		return false
	case before == nil || before.Spec.Release == nil || before.UnitFile != r.UnitFile:
		return true
	}
	return !slices.Equal(before.Spec.Release.Command, r.Spec.Release.Command)
}
