package v1

import (
	"time"
	"unicode/utf8"
)

// MaxKeptManifest is the size in bytes up to which the text of a manifest is kept with its revision and in an Apply. The leader
// has the last ten revisions of every app in memory.
const MaxKeptManifest = 128 << 10

// KeptManifest returns the text that is kept of a manifest: all of it, or nothing if it is too large, or in UTF-16, which JSON
// cannot hold unchanged.
func KeptManifest(raw []byte) string {
	if len(raw) > MaxKeptManifest || !utf8.Valid(raw) {
		return ""
	}
	return string(raw)
}

// Apply is one write of manifests through the API: who made it, and what was there before, so that all of it can be undone.
// Stored at applies/<time>-<id> by the transaction that writes the manifests, so its resourceVersion is theirs; immutable.
type Apply struct {
	Time time.Time `json:"time"`
	// User is the name of the user at the other end of the unix socket; empty if that is not known.
	User string `json:"user,omitempty"`
	// From is the address of a client on another machine; empty for the unix socket.
	From string `json:"from,omitempty"`
	// Note is what the user, or fleetd, has to say about it.
	Note string `json:"note,omitempty"`
	// Commit is the commit that it comes from; nil: people wrote it. Without a Source, fleetctl apply --from-git read it.
	Commit *SourceCommit `json:"commit,omitempty"`
	// Undo: it put something back that was before. A source does not apply again what was taken back.
	Undo bool `json:"undo,omitempty"`
	// Objects are those that changed.
	Objects []AppliedObject `json:"objects"`
}

// AppliedObject is one object of an Apply.
type AppliedObject struct {
	// Kind is App or Unit.
	Kind string `json:"kind"`
	Name string `json:"name"`
	// Created: it did not exist before. Deleted: it has not existed since.
	Created bool `json:"created,omitempty"`
	Deleted bool `json:"deleted,omitempty"`
	// File is where it is in the commit, such as prod/web.yaml:1; empty if it is of none.
	File string `json:"file,omitempty"`
	// Before is the manifest before; empty if there was none, or it is not kept. See KeptManifest.
	Before string `json:"before,omitempty"`
}
