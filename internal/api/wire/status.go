package wire

import (
	"fmt"
	"net/http"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// Status is the answer to a write and the body of every error. It implements error.
type Status struct {
	v1.TypeMeta `json:",inline"`
	// Status is Success or Failure.
	Status string `json:"status"`
	// Code is the HTTP status code.
	Code int `json:"code"`
	// Reason is a machine-readable word, one of the constants below.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Causes are the individual faults of the request.
	Causes []Cause `json:"causes,omitempty"`
	// Warnings name input that was accepted but probably does not do what was meant.
	Warnings []Cause `json:"warnings,omitempty"`
	// ResourceVersion is the revision that a write created or found unchanged.
	ResourceVersion string `json:"resourceVersion,omitempty"`
	// Apply is the ID of the apply that the write is recorded as; empty if nothing changed.
	Apply string `json:"apply,omitempty"`
	// Items are the answers for the manifests of an apply, in the order of the request.
	Items []*Status `json:"items,omitempty"`
	// Diff is what the write changes, for ?diff=true.
	Diff []DiffFile `json:"diff,omitempty"`
}

// Cause is one fault and its place.
type Cause struct {
	// Field is the path of the field, such as spec.ports[0].port; empty if the text could not be parsed.
	Field string `json:"field,omitempty"`
	// Line is the line in the text that was sent, from 1; 0 if unknown.
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	// More is the number of further faults that this entry stands for; 0 for an ordinary cause.
	More int `json:"more,omitempty"`
	// InContents is the same fault located within the text of spec.contents, by line and option.
	InContents *Cause `json:"inContents,omitempty"`
}

// The values of Status.Status.
const (
	Success = "Success"
	Failure = "Failure"
)

// The reasons of successful writes. With ?dryRun=true they say what the write would have done.
const (
	ReasonCreated    = "Created"    // 201: the object did not exist before
	ReasonConfigured = "Configured" // 200: the object was changed
	ReasonUnchanged  = "Unchanged"  // 200: the object is the same; nothing was written
	ReasonDeleted    = "Deleted"    // 200: the object was deleted
)

// The reasons of failures.
const (
	ReasonBadRequest         = "BadRequest"         // 400: the request itself is wrong, not the object
	ReasonForbidden          = "Forbidden"          // 403: cross-origin write
	ReasonNotFound           = "NotFound"           // 404: there is no such object or path
	ReasonMethodNotAllowed   = "MethodNotAllowed"   // 405: the path does not support the method
	ReasonConflict           = "Conflict"           // 409: the object changed since it was read: read it again
	ReasonOwned              = "Owned"              // 409: the unit belongs to an app: change the app
	ReasonPlanOutdated       = "PlanOutdated"       // 409: the cluster has changed since the plan was made: plan again
	ReasonPlanRefused        = "PlanRefused"        // 409: the plan is of another cluster or version, or was edited: plan again
	ReasonSourceRefuses      = "SourceRefuses"      // 409: the source would apply nothing of the files: the message has its reason
	ReasonTooMuch            = "TooMuch"            // 422: the plan would take too long, or the cluster is too large for one
	ReasonElsewhere          = "Elsewhere"          // 409: only another machine can answer, and it cannot be reached
	ReasonExpired            = "Expired"            // 410: the revision is compacted: list again
	ReasonNotKept            = "NotKept"            // 410: the manifest's text was not kept, because it is too large: apply it from its file
	ReasonTooLarge           = "TooLarge"           // 413: the body is larger than 1.5 MB, or an apply larger than one transaction of etcd
	ReasonInvalid            = "Invalid"            // 422: the object is not valid: causes has each fault with its place
	ReasonTooManyRequests    = "TooManyRequests"    // 429: too many watches or logs are open
	ReasonInternal           = "Internal"           // 500: an error in fleetd: see its log
	ReasonMachineUnreachable = "MachineUnreachable" // 502: the machine of the unit does not answer
	ReasonUnavailable        = "Unavailable"        // 503: etcd or systemd does not answer, or another machine has this one's ID
	ReasonOutOfSpace         = "OutOfSpace"         // 507: etcd is full, see the runbook
)

var codes = map[string]int{
	ReasonCreated: http.StatusCreated, ReasonConfigured: http.StatusOK, ReasonUnchanged: http.StatusOK,
	ReasonDeleted: http.StatusOK,

	ReasonBadRequest: http.StatusBadRequest, ReasonForbidden: http.StatusForbidden,
	ReasonNotFound: http.StatusNotFound, ReasonMethodNotAllowed: http.StatusMethodNotAllowed,
	ReasonConflict: http.StatusConflict, ReasonOwned: http.StatusConflict, ReasonElsewhere: http.StatusConflict,
	ReasonPlanOutdated: http.StatusConflict, ReasonPlanRefused: http.StatusConflict, ReasonSourceRefuses: http.StatusConflict, ReasonTooMuch: http.StatusUnprocessableEntity,
	ReasonExpired: http.StatusGone, ReasonNotKept: http.StatusGone, ReasonTooLarge: http.StatusRequestEntityTooLarge,
	ReasonInvalid: http.StatusUnprocessableEntity, ReasonInternal: http.StatusInternalServerError,
	ReasonTooManyRequests:    http.StatusTooManyRequests,
	ReasonMachineUnreachable: http.StatusBadGateway, ReasonUnavailable: http.StatusServiceUnavailable,
	ReasonOutOfSpace: http.StatusInsufficientStorage,
}

// Fail returns a failure with the reason's status code.
func Fail(reason, format string, args ...any) *Status {
	s := newStatus(Failure, reason, fmt.Sprintf(format, args...))
	return s
}

// Done returns a success.
func Done(reason, format string, args ...any) *Status {
	return newStatus(Success, reason, fmt.Sprintf(format, args...))
}

// Invalid returns an error with all faults of the request.
func Invalid(what string, causes []Cause) *Status {
	faults := "1 fault"
	if n := Count(causes); n != 1 {
		faults = fmt.Sprintf("%d faults", n)
	}
	s := Fail(ReasonInvalid, "%s is not valid: %s", what, faults)
	s.Causes = Capped(causes)
	return s
}

// Count returns the number of faults, including those summarized by More.
func Count(causes []Cause) int {
	n := 0
	for _, c := range causes {
		n += max(c.More, 1)
	}
	return n
}

// Capped returns up to v1.MaxManifestErrors causes and summarizes the rest in one entry.
func Capped(causes []Cause) []Cause {
	if len(causes) <= v1.MaxManifestErrors || causes[len(causes)-1].More > 0 {
		return causes
	}
	more := len(causes) - v1.MaxManifestErrors
	return append(causes[:v1.MaxManifestErrors:v1.MaxManifestErrors], Cause{Message: fmt.Sprintf("and %d more", more), More: more})
}

func newStatus(status, reason, message string) *Status {
	code := codes[reason]
	if code == 0 {
		code = http.StatusInternalServerError
	}
	return &Status{
		TypeMeta: v1.TypeMeta{APIVersion: v1.APIVersion, Kind: "Status"},
		Status:   status, Code: code, Reason: reason, Message: message,
	}
}

// Error returns the message and the causes, one per line.
func (s *Status) Error() string {
	lines := []string{s.Message}
	for _, c := range s.Causes {
		lines = append(lines, c.String())
	}
	return strings.Join(lines, "\n")
}

// String returns "line N: field: message", without unknown parts.
func (c Cause) String() string {
	text := c.Message
	if c.Field != "" {
		text = c.Field + ": " + text
	}
	if c.Line > 0 {
		text = fmt.Sprintf("line %d: %s", c.Line, text)
	}
	return text
}
