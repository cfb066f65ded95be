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
	Place         Kind = "Place"         // puts the placement; none existed
	Move          Kind = "Move"          // deletes the placement on From and puts the one on Machine, atomically
	Unplace       Kind = "Unplace"       // deletes the placement
	Update        Kind = "Update"        // replaces the placement's value, on the same machine
	SetUnplaced   Kind = "SetUnplaced"   // writes why the unit has no machine
	ClearUnplaced Kind = "ClearUnplaced" // deletes that
	Prepare       Kind = "Prepare"       // asks the machine to prepare the unit's start there, before the unit is moved
	PrepareNoMore Kind = "PrepareNoMore" // takes that back
	StoreFile     Kind = "StoreFile"     // puts the unit's file, before anything else
	DeleteStray   Kind = "DeleteStray"   // deletes a key below placements/ with an invalid name
	FreezeMoves   Kind = "FreezeMoves"   // writes nothing: moves are frozen from now on
	UnfreezeMoves Kind = "UnfreezeMoves" // writes nothing: moves are no longer frozen
)

// The reasons of actions. Those of the rules are named after their options.
const (
	ReasonPlaced         = "Placed"   // the unit had no machine, or a global one was not on that machine
	ReasonDrain          = "Drain"    // its machine is being drained
	ReasonStays          = "Stays"    // the unit was asked to leave its machine, and no longer has to, or fits nowhere else
	ReasonDeleted        = "Deleted"  // the unit was deleted
	ReasonInactive       = "Inactive" // the unit should be on no machine
	ReasonMachineGone    = rule.ReasonMachineGone
	ReasonDuplicate      = "Duplicate"        // the unit is not global, and was on more than one machine
	ReasonExcepted       = "Excepted"         // a global app is restarted there, or makes room for an instance
	ReasonHashChanged    = "HashChanged"      // the unit's file changed
	ReasonStateChanged   = "StateChanged"     // the unit's desired state changed
	ReasonRequested      = "Requested"        // a person asked for the unit to be started again
	ReasonAssigned       = "Assigned"         // the unit's automatic ports changed, without another file
	ReasonPreference     = "Preference"       // the unit's note on what it would prefer to its machine changed: see PreferMetadata=
	ReasonPrepare        = "Prepare"          // the machine is to prepare the unit's next start, while the unit runs there or on the machine that it leaves: its image is pulled
	ReasonNoMachineFits  = "NoMachineFits"    // the message says which constraints rule out how many machines
	ReasonUnitFile       = "UnitFile"         // the unit or its file is unreadable
	ReasonInline         = "Inline"           // the unit contains its file's text: it is stored as a unit file
	ReasonStray          = "Stray"            // a key below placements/ with an invalid name: it is deleted
	ReasonMachinesVanish = "MachinesVanished" // more than half of the machines vanished at once, three or more: nothing is moved
	ReasonMachinesBack   = "MachinesBack"     // enough machines are back or being drained, or freeze_timeout has passed: units are moved again
)

// Action is one decision. Executing any part of a plan's actions in any order violates no constraint.
type Action struct {
	Kind Kind
	Unit string
	// Machine is where the placement is put, replaced or deleted; From is where a move comes from.
	Machine, From string
	// Txn: actions with the same number are applied atomically.
	Txn int
	// Placement is the placement to put.
	Placement v1.Placement
	// Next is the start that the machine is to prepare.
	Next v1.Next
	// File is the file to store; nil except for StoreFile.
	File *File
	// Revision is the ModRevision of the key to delete or replace.
	Revision int64
	// IfDown: a move that waits for nothing because the unit does not run on From is made only if it still does not.
	IfDown bool
	// Unplaced is what SetUnplaced writes.
	Unplaced *v1.Unplaced
	// Reason is one of the constants, Message explains it to people.
	Reason, Message string
}

// File is a unit file and its hash, under which it is stored.
type File struct{ Hash, Text string }

// String returns the action in one line: what is done, to what, and why.
func (a Action) String() string {
	what := string(a.Kind) + " " + a.Unit
	switch a.Kind {
	case Place, Update, Prepare, PrepareNoMore:
		what += " on " + a.Machine
	case Unplace:
		what += " from " + a.Machine
	case Move:
		what += " from " + a.From + " to " + a.Machine
	}
	return fmt.Sprintf("%s: %s: %s", what, a.Reason, a.Message)
}
