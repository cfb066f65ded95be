package schedule

import (
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// outcome is what a plan makes of a unit.
type outcome uint8

const (
	nowhere   outcome = iota // it has no machine: it goes where it fits
	stay                     // it stays where it is
	wait                     // it would have to leave, or get another file, and can't until something changes
	move                     // it has to leave, and stays for now where it fits nowhere else
	evict                    // it has to leave, if need be for nowhere
	blocked                  // the units are not there that it has to be beside
	broken                   // its file cannot be read, or it follows itself: it is left alone
	leave                    // it is to be on no machine
	preempted                // decided with the unit that takes its place
	global                   // each of its placements is looked at by itself
)

// verdict is an outcome with its reason, and what was done about it so far.
type verdict struct {
	epoch   uint64
	outcome outcome
	// reason and message say why: of move and evict why it has to leave, of broken what is wrong.
	reason, message string
	until           index.Wait     // what a unit waits for that stays for now
	keep            *index.Place   // of several placements the one that counts
	at              *index.Machine // where it is by this plan; nil: nowhere
	obstacle        rule.Refusal   // the unit that it waits for, where that is what keeps it from a machine
	pin             rule.Pin       // the machine where the rest of its group is, and that does not fit
	depth           int            // in its group: 1 + the deepest of those that it follows
	done            done
}

// done is what a plan does about a placement.
type done struct {
	acted    bool // an action is about it
	updated  int  // the transaction that updates it; 0: none does
	keepFile bool // it goes on with its former file
	leaving  bool // it is asked to leave, for a drain: it moves when its app has let it go
	former   bool // it names another file than the unit, and goes on so
	asks     bool // its app is asked to let it go, for another file
}

// of is what the current plan, or an earlier one, makes of a unit: see its epoch.
func of(u *index.Unit) *verdict {
	v, ok := u.Scratch.(*verdict)
	if !ok {
		v = &verdict{}
		u.Scratch = v
	}
	return v
}

// seen says that the current plan looks at a unit.
func (p *planner) seen(u *index.Unit) bool { return of(u).epoch == p.x.Epoch }

// stayFor has a unit stay until something changes.
func (v *verdict) stayFor(until index.Wait) { v.outcome, v.at, v.until = wait, v.keep.Machine, until }

// cannotStay has a unit leave.
func (v *verdict) cannotStay(how outcome, why rule.Refusal) {
	v.outcome, v.at, v.reason, v.message = how, nil, why.Reason, why.Message
}

// block has a unit wait for another one, on no machine.
func (v *verdict) block(obstacle rule.Refusal) {
	v.cannotStay(blocked, obstacle)
	v.obstacle = obstacle
}

// mustLeave: rather nowhere than where it is.
func (v *verdict) mustLeave() bool { return v.outcome == evict || v.outcome == blocked }

// prefix says that a unit runs all the same.
func (v *verdict) prefix() string {
	switch {
	case v.keep == nil || v.mustLeave():
		return ""
	case v.outcome == broken:
		return "it stays on " + v.keep.MachineName + " as it was: "
	}
	return "it stays on " + v.keep.MachineName + " for now (" + v.message + "): "
}
