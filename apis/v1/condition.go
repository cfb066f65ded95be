package v1

import "time"

// Condition is one aspect of an object's state, with the JSON shape of Kubernetes' conditions.
type Condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
	// ObservedRevision is the resourceVersion of the manifest that the condition speaks of.
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
	// Accepted: the manifest could be read and is valid. False: what was accepted before goes on.
	Accepted = "Accepted"
	// Scheduled: every instance has a machine.
	Scheduled = "Scheduled"
	// Available: at least one instance is active and, where announced, announced.
	Available = "Available"
	// Progressing: instances are being started, replaced or moved. False with reason RolloutStalled or MoveStalled: it stopped.
	Progressing = "Progressing"
	// Routed is there where it is False: a router leaves out the app, or a host of its that another app has.
	Routed = "Routed"
	// Ready: every instance is active, announced and of the accepted revision.
	Ready = "Ready"
)

// Reasons of conditions that more than their writer has to know.
const (
	ReasonInvalidManifest = "InvalidManifest" // of Accepted: the manifest cannot be read, or is not valid; what was accepted before goes on
	ReasonPending         = "Pending"         // not looked at so far: the manifest, or an instance, has not been handled by the leader
	ReasonMachineOf       = "MachineOf"       // of Scheduled: a unit that an instance has to be beside has no machine
	ReasonRolloutStalled  = "RolloutStalled"  // of Progressing and Ready: a new instance is not ready within update.healthyDeadline; the roll-out stops there
	ReasonMoveStalled     = "MoveStalled"     // of Progressing and Ready: an instance that was to leave its machine is not ready elsewhere in time
	ReasonNoRouter        = "NoRouter"        // of Routed and Ready: no live router serves the prefix that the app is announced below
	ReasonRouterFailing   = "RouterFailing"   // of Routed and Ready: a router cannot apply what concerns the app, and goes on with what it served before
)

// SetCondition puts c in place of the condition of its type. The transition time is kept unless the
// status changed, so that recomputing from facts moves nothing; now is used where it did.
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
