package wire

import (
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// ApplyRequest is the body of POST /applies: manifests that are stored together, or not at all.
type ApplyRequest struct {
	// Manifests are the texts of Apps and Units, one document each. They are stored as they are.
	Manifests []string `json:"manifests"`
	// Note is shown by the history; at most MaxNote bytes. Of a commit, it is the commit unless it is given.
	Note string `json:"note,omitempty"`
	// Git says that the manifests are of a commit, and has them refused for all that a source would be.
	Git *FromCommit `json:"git,omitempty"`
}

// FromCommit is where manifests are from.
type FromCommit struct {
	Commit v1.SourceCommit `json:"commit"`
	// Files are where each manifest is in the commit, such as prod/web.yaml:1.
	Files []string `json:"files"`
}

// UndoRequest is the body of POST /apps/NAME/undo and of POST /applies/ID/undo.
type UndoRequest struct {
	// To is the revision of the app to return to; 0 is the one before the last change.
	To   int64  `json:"to,omitempty"`
	Note string `json:"note,omitempty"`
}

// MaxNote is the maximum length of a note in bytes.
const MaxNote = 500

// Apply is a recorded apply.
type Apply struct {
	v1.TypeMeta `json:",inline"`
	Metadata    v1.ObjectMeta `json:"metadata"`
	v1.Apply
}

// Revision is a line of an app's history.
type Revision struct {
	// Number is 0 for a manifest that is not accepted.
	Number int64 `json:"revision"`
	// Time is when it was accepted, or written if it is not; zero if an older fleetd did so.
	Time time.Time `json:"time,omitzero"`
	// User is the user who wrote the manifest, From the address of the client on another machine. Both are empty if it was
	// written to etcd directly, and User if fleetd cannot know.
	User string `json:"user,omitempty"`
	From string `json:"from,omitempty"`
	// Apply is the ID of the apply that wrote the manifest; empty if it was written to etcd directly.
	Apply string `json:"apply,omitempty"`
	Note  string `json:"note,omitempty"`
	// Commit is the hash of the commit that the manifest is from; empty if people wrote it. File is where it is in the commit.
	Commit  string `json:"commit,omitempty"`
	Author  string `json:"author,omitempty"`
	Subject string `json:"subject,omitempty"`
	File    string `json:"file,omitempty"`
	// Change is what changed since the revision before, in one line.
	Change string `json:"change"`
	// Outcome is one of the constants below; Message says why, or how far it is.
	Outcome string `json:"outcome"`
	Message string `json:"message,omitempty"`
	// Kept: the manifest's text is kept, so that undo can return to it.
	Kept bool        `json:"kept"`
	Spec *v1.AppSpec `json:"spec,omitempty"`
	// Manifest is the manifest's text; only in the answer about a single revision.
	Manifest string `json:"manifest,omitempty"`
}

// What became of a revision.
const (
	Complete   = "complete"    // all instances are of it, and ready
	InProgress = "in progress" // its roll-out goes on
	Stalled    = "stalled"     // its roll-out has stopped
	Superseded = "superseded"  // a later one was accepted before all instances were of it
	Rejected   = "rejected"    // the manifest is not accepted
	Pending    = "pending"     // the leader has not read the manifest yet
)

// Diff is what differs between two states of an object.
type Diff struct {
	// From and To name the states.
	From  string     `json:"from"`
	To    string     `json:"to"`
	Files []DiffFile `json:"files"`
	// Why is why the object differs from the commit of its source; only in a Drift.
	Why string `json:"why,omitempty"`
}

// Drift is what differs between what is stored and a commit.
type Drift struct {
	Commit v1.SourceCommit `json:"commit"`
	// Objects are those that differ: From is what is stored, To is what the commit says.
	Objects []Diff `json:"objects"`
}

// DiffFile is one text that differs: the object's fields as YAML, or a unit file. A text that does not exist is empty.
type DiffFile struct {
	Name   string `json:"name"`
	Before string `json:"before"`
	After  string `json:"after"`
}
