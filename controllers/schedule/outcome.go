package schedule

import (
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// outcome is a plan's decision about a unit.
type outcome uint8

const (
	nowhere   outcome = iota // it has no machine: it goes where it fits
	stay                     // it stays where it is
	wait                     // it would have to leave, or get another file, and cannot until something changes
	move                     // it has to leave, and stays for now if it fits nowhere else
	evict                    // it has to leave, even if it fits nowhere
	blocked                  // the units that it has to follow have no machine
	broken                   // its file is unreadable, or it follows itself: it is left alone
	leave                    // it should be on no machine
	preempted                // decided with the unit that replaces it
	global                   // each of its placements is decided separately
)

// verdict is an outcome with its reason, and what was done about it so far.
type verdict struct {
	epoch   uint64
	outcome outcome
	// reason and message say why: for move and evict why it has to leave, for broken what is wrong.
	reason, message string
	until           index.Wait     // what it waits for
	keep            *index.Place   // the placement that counts, of several
	at              *index.Machine // where this plan puts it; nil: nowhere
	obstacle        rule.Refusal   // the unit that it waits for, if that is why it has no machine
	pin             rule.Pin       // the machine of the rest of its group, on which it does not fit
	alone           bool           // it leaves because of its machine alone: no other unit needs its place
	depth           int            // in its group: 1 + the deepest of those it follows
	done            done
}

// done is what a plan does about a placement.
type done struct {
	acted    bool // there is an action for it
	updated  int  // the transaction that updates it; 0: none
	keepFile bool // it keeps its former file
	// keepRequest: it keeps its former request, too.
	keepRequest bool
	prepares    string // the machine that is to prepare its start there; "": none
	ahead       ahead  // where it starts with its next file
	leaving     bool   // it is asked to leave: it moves when its app has let it go
	former      bool   // it names a different file than the unit, and keeps it
	asks        bool   // its app is asked to let it go, for another file
}

// of returns the current or an earlier plan's decision about a unit: see its epoch.
func of(u *index.Unit) *verdict {
	v, ok := u.Scratch.(*verdict)
	if !ok {
		v = &verdict{}
		u.Scratch = v
	}
	return v
}

// seen reports whether the current plan includes a unit.
func (p *planner) seen(u *index.Unit) bool { return of(u).epoch == p.x.Epoch }

// stayFor makes a unit stay until something changes.
func (v *verdict) stayFor(until index.Wait) { v.outcome, v.at, v.until = wait, v.keep.Machine, until }

// cannotStay makes a unit leave.
func (v *verdict) cannotStay(how outcome, why rule.Refusal) {
	v.outcome, v.at, v.alone, v.reason, v.message = how, nil, false, why.Reason, why.Message
}

// block makes a unit wait for another one, on no machine.
func (v *verdict) block(obstacle rule.Refusal) {
	v.cannotStay(blocked, obstacle)
	v.obstacle = obstacle
}

// mustLeave reports whether nowhere is better than where it is.
func (v *verdict) mustLeave() bool { return v.outcome == evict || v.outcome == blocked }

// prefix says that a unit keeps running.
func (v *verdict) prefix() string {
	switch {
	case v.keep == nil || v.mustLeave():
		return ""
	case v.outcome == broken:
		return "it stays on " + v.keep.MachineName + " as it was: "
	}
	return "it stays on " + v.keep.MachineName + " for now (" + v.message + "): "
}
