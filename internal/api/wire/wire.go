// Package wire defines what the HTTP API and its clients exchange in addition to the objects of apis/v1: lists, watch
// events, joined rows and errors. It has types only and does not import the store.
package wire

import (
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Prefix is the path of the resource API.
const Prefix = "/apis/fleet/v1"

// MaxBody is the maximum size of a request body in bytes: etcd's default request limit less its own overhead.
const MaxBody = 1_500_000

// WarningHeader is the header of an answer with which something is doubtful, as in Kubernetes: 299 fleetd "text".
const WarningHeader = "Warning"

const warningBegin = "299 fleetd "

// Warning is the value of the header for a text.
func Warning(text string) string { return warningBegin + strconv.Quote(text) }

// WarningText is the text of a header's value; "" if it has none.
func WarningText(value string) string {
	quoted, ok := strings.CutPrefix(value, warningBegin)
	if !ok {
		return ""
	}
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return ""
	}
	return text
}

// MaxPlan is the maximum size of a saved plan in bytes.
const MaxPlan = 32 << 20

// The content types of the API.
const (
	JSON      = "application/json"
	YAML      = "application/yaml"
	Text      = "text/plain; charset=utf-8"
	JSONLines = "application/x-ndjson"
	// MergePatch is the content type of PATCH (RFC 7386).
	MergePatch = "application/merge-patch+json"
)

// List is a listing at one revision of the store.
type List[T any] struct {
	v1.TypeMeta `json:",inline"`
	Metadata    ListMeta `json:"metadata"`
	Items       []T      `json:"items"`
}

// ListMeta describes a listing.
type ListMeta struct {
	// ResourceVersion is the store's revision; a watch given it continues from there.
	ResourceVersion string `json:"resourceVersion"`
	// Continue is passed as ?continue= to get the next page; empty on the last one.
	Continue string `json:"continue,omitempty"`
}

// The types of watch events.
const (
	Added    = "ADDED"
	Modified = "MODIFIED"
	Deleted  = "DELETED"
	// Bookmark marks the end of the existing objects; its object is null.
	Bookmark = "BOOKMARK"
	// Error is the last line of a watch that cannot continue; its object is a Status.
	Error = "ERROR"
)

// Event is one line of ?watch=true. The object of a DELETED event has only its name.
type Event[T any] struct {
	Type   string `json:"type"`
	Object T      `json:"object"`
	// Revision is the store's revision at the change.
	Revision int64 `json:"revision"`
}

// RawEvent is an Event with an undecoded object.
type RawEvent = Event[json.RawMessage]

// App is an App as shown to readers: with its status, and with the stored text if that is not a valid manifest.
type App struct {
	v1.App
	// Manifest is the stored text of a manifest that is not accepted; the spec is empty then. GET with "Accept:
	// application/yaml" returns the stored bytes of any manifest.
	Manifest string `json:"manifest,omitempty"`
}

// InstanceState is one row of states/: systemd's state of a unit on one live machine.
type InstanceState struct {
	Machine string       `json:"machine"`
	Unit    string       `json:"unit"`
	State   v1.UnitState `json:"state"`
}

// RestartRequest is the body of POST /apps/NAME/restart.
type RestartRequest struct {
	// Units are the instances to restart; if empty, all that are not stopped by hand.
	Units []string `json:"units,omitempty"`
}

// Restart is the answer to a RestartRequest: the units that are restarted, one after the other. A unit is done when its
// state has this requestedAt.
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
	// Unit is the announced unit; Machine is the machine that it runs on, for a global app.
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
	Hostname   string    `json:"hostname,omitempty"`
	Unit       string    `json:"unit"`
	Identifier string    `json:"identifier,omitempty"`
	PID        string    `json:"pid,omitempty"`
	// Priority is a syslog(3) priority, 0 (emerg) to 7 (debug).
	Priority int    `json:"priority"`
	Message  string `json:"message"`
	// Error ends a stream of entries that cannot continue.
	Error *Status `json:"error,omitempty"`
}

// UnitStatusText is what a unit's process says of itself on its machine.
type UnitStatusText struct {
	Unit    string `json:"unit"`
	Machine string `json:"machine"`
	// StatusText is the service's last STATUS= (sd_notify(3)); empty if it has said nothing.
	StatusText string `json:"statusText"`
}

// Version is the answer of /version.
type Version struct {
	Version   string `json:"version"`
	MachineID string `json:"machineID,omitempty"`
}

// Metadata returns a machine's metadata merged with its configuration: an empty value removes a key.
func Metadata(m *v1.Machine) map[string]string {
	out := map[string]string{}
	maps.Copy(out, m.Spec.Metadata)
	if m.Config != nil {
		maps.Copy(out, m.Config.Metadata)
	}
	maps.DeleteFunc(out, func(_, value string) bool { return value == "" })
	return out
}
