package schedule

import (
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// Kind is what an action does.
type Kind string

// The kinds of actions.
const (
	Place         Kind = "Place"         // puts the placement; nothing was there
	Move          Kind = "Move"          // deletes the placement on From and puts the one on Machine, as one
	Unplace       Kind = "Unplace"       // deletes the placement
	Update        Kind = "Update"        // replaces the placement's value, on the same machine
	SetUnplaced   Kind = "SetUnplaced"   // writes why the unit has no machine
	ClearUnplaced Kind = "ClearUnplaced" // deletes that
	StoreFile     Kind = "StoreFile"     // puts the unit's file, before anything else
	DeleteStray   Kind = "DeleteStray"   // deletes a key below placements/ that no placement can have
	FreezeMoves   Kind = "FreezeMoves"   // writes nothing: says that moves are frozen from now on
	UnfreezeMoves Kind = "UnfreezeMoves" // writes nothing: says that they are not any more
)

// The reasons of actions, beside those of the rules, which have the names of their options.
const (
	ReasonPlaced         = "Placed"   // the unit had no machine, or a global one none of that machine
	ReasonDrain          = "Drain"    // its machine is being drained
	ReasonDeleted        = "Deleted"  // the unit does not exist any more
	ReasonInactive       = "Inactive" // the unit is to be on no machine
	ReasonMachineGone    = rule.ReasonMachineGone
	ReasonDuplicate      = "Duplicate"        // the unit is not global, and was on more than one machine
	ReasonExcepted       = "Excepted"         // a global app becomes one with replicas: it makes room for an instance
	ReasonHashChanged    = "HashChanged"      // the unit has another file now
	ReasonStateChanged   = "StateChanged"     // the unit's desired state is another one now
	ReasonRequested      = "Requested"        // a person asked for the unit to be started again
	ReasonPreference     = "Preference"       // what the unit would rather have than its machine has changed: see PreferMetadata=
	ReasonNoMachineFits  = "NoMachineFits"    // the message says which constraint keeps it off how many machines
	ReasonUnitFile       = "UnitFile"         // the unit or its file cannot be read
	ReasonInline         = "Inline"           // the unit has the text of its file itself: it is stored as a unit file
	ReasonStray          = "Stray"            // a key below placements/ that no placement can have: it is deleted
	ReasonMachinesVanish = "MachinesVanished" // more than half of the machines vanished at once, three or more: nothing is moved
	ReasonMachinesBack   = "MachinesBack"     // enough machines are back, are being drained, or freeze_timeout is over: units are moved again
)

// Action is one decision. Whatever part of a plan's actions is carried out, in whatever order, breaks no constraint.
type Action struct {
	Kind Kind
	Unit string
	// Machine is where the placement is put, replaced or deleted; From where a move comes from.
	Machine, From string
	// Txn: actions of the same number take effect together or not at all.
	Txn int
	// Placement is what is put.
	Placement v1.Placement
	// File is the file that is stored. Nil but for StoreFile.
	File *File
	// Revision is the ModRevision of the key that is deleted or replaced.
	Revision int64
	// Unplaced is what SetUnplaced writes.
	Unplaced *v1.Unplaced
	// Reason is one of the constants, Message the same for people.
	Reason, Message string
}

// File is a unit file and its hash, the name it is stored under.
type File struct{ Hash, Text string }

// String is the action in one line: what is done to what, and why.
func (a Action) String() string {
	what := string(a.Kind) + " " + a.Unit
	switch a.Kind {
	case Place, Update:
		what += " on " + a.Machine
	case Unplace:
		what += " from " + a.Machine
	case Move:
		what += " from " + a.From + " to " + a.Machine
	}
	return fmt.Sprintf("%s: %s: %s", what, a.Reason, a.Message)
}
