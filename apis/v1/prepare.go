package v1

import "time"

// AnswerPatience is how long a machine may take to say that it prepares a start. Older versions of fleetd do not say so, nor pull
// anything: the unit does.
const AnswerPatience = 30 * time.Second

// Before anything is taken away from an instance, the machine where it is started next prepares what that start needs: it pulls the
// image. For a start on the same machine the app controller asks for it in the unit (Next), and the scheduler passes that on
// (Preparation). For a move the scheduler asks the other machine (preparations/<machine>/<unit>). The machine answers in its
// report of the unit (Prepared).

// Preparation names the start that a machine is to prepare: the file and the request.
type Preparation struct {
	// Hash is the SHA-256 of the unit file.
	Hash string `json:"hash,omitempty"`
	// RequestedAt is the RequestedAt that the unit will have.
	RequestedAt string `json:"requestedAt,omitempty"`
}

// Next is the start that is about to be made of a unit that runs. Stored in the unit, or at preparations/<machine>/<unit>.
type Next struct {
	Preparation
	// Since is when the machine was first asked to prepare it.
	Since time.Time `json:"since,omitzero"`
	// Alone: no instance is started beside it for this start, because its file fitted nowhere while one was there.
	Alone bool `json:"alone,omitempty"`
}

// Equal reports whether two are the same, whatever clock their time was read from.
func (n Next) Equal(o Next) bool {
	return n.Preparation == o.Preparation && n.Since.Equal(o.Since) && n.Alone == o.Alone
}

// PreparedState is how far a machine is with a preparation.
type PreparedState string

// The states of a preparation.
const (
	PreparedPulling PreparedState = "pulling" // the image is being pulled
	PreparedReady   PreparedState = "ready"   // the machine has all that the start needs
	PreparedFailed  PreparedState = "failed"  // the image cannot be pulled, and the machine has none of that name; it is tried again
)

// Prepared is how far a machine is with a preparation; zero if it prepares nothing.
type Prepared struct {
	Preparation
	State PreparedState `json:"state,omitempty"`
	// Since is when the machine began with it.
	Since time.Time `json:"since,omitzero"`
	// Message says what is pulled, or in the words of docker or podman why it cannot be. If ready: why the image that the
	// machine had before is used. Empty where the unit's message says it.
	Message string `json:"message,omitempty"`
}

// Equal reports whether two are the same, whatever clock their time was read from.
func (p Prepared) Equal(o Prepared) bool {
	return p.Preparation == o.Preparation && p.State == o.State && p.Message == o.Message && p.Since.Equal(o.Since)
}

// NotPrepared reports whether the machine cannot start the unit as placed, because its image cannot be pulled. The state's message
// says why.
func (p *Placement) NotPrepared(s *UnitState) bool {
	return s.Prepared.State == PreparedFailed && s.Prepared.Preparation == Preparation{Hash: p.Hash, RequestedAt: p.RequestedAt}
}

// Waits is what keeps the machine from being ready; "" if nothing does.
func (p Prepared) Waits() string {
	if p.State == PreparedReady {
		return ""
	}
	return p.Message
}
