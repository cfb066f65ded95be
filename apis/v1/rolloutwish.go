package v1

// RolloutWish is what a person asks of the roll-outs of an app. It counts for the app that it was written for, not for another one
// of the same name. Stored at rollouts/<app>.
type RolloutWish struct {
	// Paused: no further instance is replaced, also by a later manifest, until the roll-out is resumed. What has begun is finished.
	Paused bool `json:"paused,omitempty"`
	// Resumed is the revision whose canary all other instances are to follow; Aborted the one that is to be taken back.
	Resumed int64 `json:"resumed,omitempty"`
	Aborted int64 `json:"aborted,omitempty"`
}
