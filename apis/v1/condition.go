package v1

import "time"

// Condition is one aspect of an object's state, in the JSON shape of Kubernetes conditions.
type Condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	// ObservedRevision is the resourceVersion of the manifest that the condition describes.
	ObservedRevision   int64     `json:"observedRevision,omitempty"`
	LastTransitionTime time.Time `json:"lastTransitionTime"`
	Reason             string    `json:"reason"`
	Message            string    `json:"message,omitempty"`
}

// The values of Condition.Status.
const (
	ConditionTrue    = "True"
	ConditionFalse   = "False"
	ConditionUnknown = "Unknown"
)

// The conditions of an App.
const (
	// Accepted: the manifest is valid. False: the last accepted spec keeps running.
	Accepted = "Accepted"
	// Scheduled: every instance has a machine.
	Scheduled = "Scheduled"
	// Available: at least one instance is active and, if the app announces, announced.
	Available = "Available"
	// Progressing: instances are being started, replaced or moved. False with reason RolloutStalled or MoveStalled if
	// that has stalled.
	Progressing = "Progressing"
	// Routed is only present while False: a router omits the app, or one of its hosts belongs to another app.
	Routed = "Routed"
	// Ready: every instance is active, announced and at the accepted revision.
	Ready = "Ready"
)

// Condition reasons shared by several packages.
const (
	ReasonInvalidManifest = "InvalidManifest" // of Accepted: the manifest cannot be parsed or is invalid; the last accepted spec keeps running
	ReasonRejected        = "Rejected"        // of Accepted: the revision failed: it was taken back (update.onFailure: revert), or its release command failed; the one before runs
	ReasonPending         = "Pending"         // not considered yet: the leader has not handled the manifest or an instance
	ReasonReleasing       = "Releasing"       // of Progressing and others: the release command of the newest revision has not ended; what ran before goes on
	ReasonMachineOf       = "MachineOf"       // of Scheduled: a unit that an instance must share a machine with has no machine
	ReasonCanary          = "Canary"          // of Progressing and Ready: some instances try the new revision, before all others follow or it is taken back
	ReasonRolloutStalled  = "RolloutStalled"  // of Progressing and Ready: a new instance is not ready within update.healthyDeadline; the roll-out has stopped there
	ReasonMoveStalled     = "MoveStalled"     // of Progressing and Ready: an instance leaving its machine is not ready elsewhere in time
	ReasonNoRouter        = "NoRouter"        // of Routed and Ready: no live router serves the app's announce prefix
	ReasonRouterFailing   = "RouterFailing"   // of Routed and Ready: a router cannot apply the app's configuration and keeps serving the previous one
)

// SetCondition replaces the condition of c's type. The transition time only changes, to now, when the status does.
func SetCondition(conditions []Condition, c Condition, now time.Time) []Condition {
	c.LastTransitionTime = now
	for i := range conditions {
		if conditions[i].Type != c.Type {
			continue
		}
		if conditions[i].Status == c.Status {
			c.LastTransitionTime = conditions[i].LastTransitionTime
		}
		conditions[i] = c
		return conditions
	}
	return append(conditions, c)
}

// FindCondition returns the condition of that type, or nil.
func FindCondition(conditions []Condition, conditionType string) *Condition {
	for i := range conditions {
		if conditions[i].Type == conditionType {
			return &conditions[i]
		}
	}
	return nil
}

// IsTrue reports whether the condition of that type is True.
func IsTrue(conditions []Condition, conditionType string) bool {
	c := FindCondition(conditions, conditionType)
	return c != nil && c.Status == ConditionTrue
}
