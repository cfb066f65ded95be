package repository

import (
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Change is what a commit does to an object. File is where that is in the commit; empty: it is not in it.
type Change struct {
	Key
	Reason, File string
}

// Events say which commit changes what, with its author and subject. With a source, it is told, and each app; without one, as of fleetctl
// apply --from-git, each object is.
func Events(commit *v1.SourceCommit, source string, changes []Change) (told []v1.Event) {
	from := fmt.Sprintf("commit %s by %s: %s", commit.Short(), commit.Author, commit.Subject)
	for _, c := range changes {
		if source != "" {
			told = append(told, v1.Event{Kind: v1.KindSource, Name: source, Type: v1.EventNormal, Reason: c.Reason, Message: c.Key.String() + ": " + from})
		}
		if source == "" || c.Kind == v1.KindApp {
			told = append(told, v1.Event{Kind: c.Kind, Name: c.Name, Type: v1.EventNormal, Reason: c.Reason, Message: c.where(source) + from})
		}
	}
	return told
}

// where is the source that applies a change, and its file, as far as there are any.
func (c Change) where(source string) string {
	switch {
	case source == "" && c.File == "":
		return ""
	case source == "":
		return c.File + ": "
	case c.File == "":
		return "source/" + source + ": "
	}
	return "source/" + source + ", " + c.File + ": "
}
