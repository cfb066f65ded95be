// Package wire holds what the HTTP API and its clients exchange around the objects of apis/v1: lists, watch
// events, joined rows and errors. It has types only and imports no store.
package wire

import (
	"encoding/json"
	"maps"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Prefix is the path of the resource API.
const Prefix = "/apis/fleet/v1"

// MaxBody is how many bytes a request may carry: what etcd takes in one request by default, less its own overhead.
const MaxBody = 1_500_000

// The content types of the API.
const (
	JSON      = "application/json"
	YAML      = "application/yaml"
	Text      = "text/plain; charset=utf-8"
	JSONLines = "application/x-ndjson"
	// MergePatch is RFC 7386, which PATCH takes.
	MergePatch = "application/merge-patch+json"
)

// List is a listing at one revision of the store.
type List[T any] struct {
	v1.TypeMeta `json:",inline"`
	Metadata    ListMeta `json:"metadata"`
	Items       []T      `json:"items"`
}

// ListMeta says what a listing covers.
type ListMeta struct {
	// ResourceVersion is the store's revision: a watch given it goes on from there.
	ResourceVersion string `json:"resourceVersion"`
	// Continue is given back as ?continue= for the next page; empty on the last one.
	Continue string `json:"continue,omitempty"`
}

// The types of watch events.
const (
	Added    = "ADDED"
	Modified = "MODIFIED"
	Deleted  = "DELETED"
	// Bookmark says that everything that existed has been sent; its object is null.
	Bookmark = "BOOKMARK"
	// Error is the last line of a watch that cannot go on; its object is a Status.
	Error = "ERROR"
)

// Event is one line of ?watch=true. The object of a DELETED event has its name and no more.
type Event[T any] struct {
	Type   string `json:"type"`
	Object T      `json:"object"`
	// Revision is the store's revision of the change.
	Revision int64 `json:"revision"`
}

// RawEvent is an Event whose object has not been looked at.
type RawEvent = Event[json.RawMessage]

// App is an App as readers see it: with its status, and with the stored text where that is no valid manifest.
type App struct {
	v1.App
	// Manifest is the stored text of a manifest that is not accepted; the spec is then empty. GET with
	// "Accept: application/yaml" returns the stored bytes of any manifest.
	Manifest string `json:"manifest,omitempty"`
}

// InstanceState is one row of states/: what systemd says of a unit on one live machine.
type InstanceState struct {
	Machine string       `json:"machine"`
	Unit    string       `json:"unit"`
	State   v1.UnitState `json:"state"`
}

// RestartRequest is what POST /apps/NAME/restart takes.
type RestartRequest struct {
	// Units are the instances to restart; all that are not stopped by hand where none is named.
	Units []string `json:"units,omitempty"`
}

// Restart is its answer: what is restarted, one after the other. A unit whose state has that requestedAt has been.
type Restart struct {
	Units       []string `json:"units"`
	RequestedAt string   `json:"requestedAt"`
}

// Endpoint is one announced instance.
type Endpoint struct {
	App      string `json:"app"`
	Instance string `json:"instance"`
	// Address is host:port.
	Address string `json:"address"`
	Key     string `json:"key"`
	// Unit is what is announced; Machine the one where that runs, of a global app.
	Unit    string `json:"unit,omitempty"`
	Machine string `json:"machine,omitempty"`
}

// UnitFile names a stored unit file text.
type UnitFile struct {
	// Hash is the SHA-256 of the text.
	Hash string `json:"hash"`
}

// LogEntry is one line of a unit's journal.
type LogEntry struct {
	Time       time.Time `json:"time"`
	Machine    string    `json:"machine,omitempty"`
	Unit       string    `json:"unit"`
	Identifier string    `json:"identifier,omitempty"`
	PID        string    `json:"pid,omitempty"`
	// Priority is that of syslog(3), 0 (emerg) to 7 (debug).
	Priority int    `json:"priority"`
	Message  string `json:"message"`
	// Error ends a stream of entries that cannot go on.
	Error *Status `json:"error,omitempty"`
}

// Version is the answer of /version.
type Version struct {
	Version   string `json:"version"`
	MachineID string `json:"machineID,omitempty"`
}

// Metadata is a machine's metadata with what people set for it: an empty value removes a key.
func Metadata(m *v1.Machine) map[string]string {
	out := map[string]string{}
	maps.Copy(out, m.Spec.Metadata)
	if m.Config != nil {
		maps.Copy(out, m.Config.Metadata)
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}
