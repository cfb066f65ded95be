package wire

import v1 "github.com/fleet-starter/fleet/apis/v1"

// Rollout is how far an app is with its newest revision. RolloutRequest is the body of POST /apps/NAME/rollout.
type Rollout struct {
	App string `json:"app"`
	// Revision is the newest one; 0 if none was accepted. Before is the one that abort returns to; 0 if there is none.
	Revision int64 `json:"revision"`
	Before   int64 `json:"before,omitempty"`
	// Outcome is as in Revision; Message says why, or how far it is.
	Outcome string `json:"outcome"`
	Message string `json:"message,omitempty"`
	Paused  bool   `json:"paused,omitempty"`
	// Counted is the revision that Replicas.Updated is of, where that is the one before: Revision waits for its release command, or is
	// tried by its canary.
	Counted int64 `json:"counted,omitempty"`
	// Unobserved: the controllers have not looked at the manifest yet, so that Replicas are not known.
	Unobserved bool             `json:"unobserved,omitempty"`
	Replicas   v1.ReplicaCounts `json:"replicas"`
}

// RolloutRequest asks for one of the actions below.
type RolloutRequest struct {
	Action string `json:"action"`
}

// The actions of a RolloutRequest.
const (
	Pause  = "pause"
	Resume = "resume"
	Abort  = "abort"
)

// ScaleRequest is the body of POST /apps/NAME/scale.
type ScaleRequest struct {
	Replicas *int32 `json:"replicas"`
	Note     string `json:"note,omitempty"`
}
