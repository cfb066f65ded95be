package v1

import (
	"cmp"
	"maps"
	"time"
)

// RolloutPhase is how far a roll-out, a restart or a move to another machine is with an instance of an app. Which phase follows
// which, and on what, is a table of docs/architecture.md.
type RolloutPhase string

// The phases of a roll-out.
const (
	RolloutServing     RolloutPhase = ""            // none is under way
	RolloutWithdrawing RolloutPhase = "withdrawing" // it leaves the routers, to be replaced or restarted
	RolloutLeaving     RolloutPhase = "leaving"     // it leaves the routers, to go to another machine
	RolloutLetGo       RolloutPhase = "let-go"      // no request reaches it: it may go to another machine
	RolloutRestarting  RolloutPhase = "restarting"  // no request reaches it: it stops, to be started again
	RolloutUpdating    RolloutPhase = "updating"    // it has been replaced or restarted, or need not be: it is to be ready
	RolloutArriving    RolloutPhase = "arriving"    // it has moved, or need not: it is to be ready
	RolloutMakingRoom  RolloutPhase = "making-room" // a global unit that is to be replaced by instances leaves one machine at a time
)

// Rollout is how far a roll-out is with an instance of an app. The app controller keeps it in the unit of the instance; that of
// the sidekick has none.
type Rollout struct {
	Phase RolloutPhase `json:"phase"`
	// Since is when it last took the instance on: the deadline counts from there. Not each phase begins anew.
	Since time.Time `json:"since"`
	// From is the machine that the instance is to leave, or has left, where nothing else happens to it; empty in a roll-out or a
	// restart, also where the instance goes to another machine on the way.
	From string `json:"from,omitempty"`
	// LetGo is the machine that it may leave: in the phase let-go, and in no other.
	LetGo string `json:"letGo,omitempty"`
}

// Equal reports whether two are the same, whatever clock their time was read from.
func (r Rollout) Equal(o Rollout) bool {
	return r.Phase == o.Phase && r.Since.Equal(o.Since) && r.From == o.From && r.LetGo == o.LetGo
}

// UnderWay reports whether there is something under way.
func (r Rollout) UnderWay() bool { return r.Phase != RolloutServing }

// The annotations that said the same in the version before. They are written for this one release, beside the field: while
// machines are upgraded one by one a fleetd of that version may lead next, which drops the field and goes on with these.
const (
	annotationUpdatedAt = "fleet/updated-at"
	annotationMovedFrom = "fleet/moved-from"
	annotationLetGo     = "fleet/let-go"
)

// Annotate returns a unit's annotations with those of the roll-out.
func (r Rollout) Annotate(are map[string]string) map[string]string {
	at := ""
	if r.UnderWay() {
		at = r.Since.UTC().Format(time.RFC3339Nano)
	}
	for _, note := range []struct{ name, value string }{{annotationUpdatedAt, at}, {annotationMovedFrom, r.From}, {annotationLetGo, r.LetGo}} {
		are = WithAnnotation(are, note.name, note.value)
	}
	return are
}

// WithAnnotation returns annotations with one more, or, where the value is empty, without that.
func WithAnnotation(are map[string]string, name, value string) map[string]string {
	if are[name] == value {
		return are
	}
	shall := maps.Clone(are)
	if shall == nil {
		shall = map[string]string{}
	}
	if shall[name] = value; value == "" {
		delete(shall, name)
	}
	return shall
}

// RolloutOf is how far a roll-out is with an instance. Where the version before has written the unit, its annotations say it
// together with the desired states of both units; sidekick is nil where there is none. Without it, the phase of such a unit is
// no more than a guess, and all else is right.
func RolloutOf(unit, sidekick *Unit) Rollout {
	switch {
	case unit == nil:
		return Rollout{}
	case unit.Rollout.UnderWay():
		return unit.Rollout
	}
	notes := unit.Metadata.Annotations
	at, err := time.Parse(time.RFC3339Nano, notes[annotationUpdatedAt])
	if err != nil {
		return Rollout{}
	}
	r := Rollout{Since: at, From: notes[annotationMovedFrom], LetGo: notes[annotationLetGo]}
	switch withdrawn := sidekick != nil && sidekick.Spec.DesiredState != Launched; {
	case r.LetGo != "":
		r.Phase = RolloutLetGo
	case unit.Spec.DesiredState != Launched:
		r.Phase = RolloutRestarting
	case notes[AnnotationExcept] != "":
		r.Phase = RolloutMakingRoom
	case withdrawn && r.From != "":
		r.Phase = RolloutLeaving
	case withdrawn:
		r.Phase = RolloutWithdrawing
	default:
		r.Phase = r.back()
	}
	return r
}

// Back is the roll-out of an instance that returns to its work.
func (r Rollout) Back() Rollout {
	if r.UnderWay() {
		r.Phase, r.LetGo = r.back(), ""
	}
	return r
}

// Out is the roll-out of an instance that leaves the routers once more, before it was ready.
func (r Rollout) Out() Rollout {
	switch r.Phase {
	case RolloutUpdating, RolloutMakingRoom:
		r.Phase = RolloutWithdrawing
	case RolloutArriving:
		r.Phase = RolloutLeaving
	}
	return r
}

func (r Rollout) back() RolloutPhase {
	if r.From != "" {
		return RolloutArriving
	}
	return RolloutUpdating
}

// String is the phase, for people.
func (p RolloutPhase) String() string { return cmp.Or(string(p), "serving") }
