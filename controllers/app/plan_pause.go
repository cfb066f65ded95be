package app

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// A person pauses, resumes and aborts the roll-outs of an app by a wish that is stored, so that it holds for every leader.

// paused reports whether nothing else is replaced. Restarts and moves go on, and so does the return from a revision that was taken
// back.
func (p *planner) paused() bool {
	returns := p.revision == p.in.Before && p.in.Latest.Rejected != nil
	return p.in.Wish.Paused && !returns
}

// aborted reports whether a person has asked for the newest revision to be taken back, and there is one to return to.
func (p *planner) aborted() bool {
	latest := p.in.Latest
	return latest != nil && (p.revision == latest || p.candidate == latest) && p.in.Before != nil && p.in.Wish.Aborted == latest.Number
}

// member is the instance of that number as it should be: of the revision or, while its roll-out is paused, of what it has.
func (p *planner) member(n int32) *replica {
	hash, sidekick := p.revision.UnitFile, p.revision.SidekickFile
	unit, stored := p.in.Units[v1.AppUnit(p.in.App, n)]
	if !p.paused() || !stored {
		return p.replica(n, hash, sidekick)
	}
	beside := p.in.Units[v1.SidekickUnit(p.in.App, n)]
	has := ""
	if beside.Unit != nil {
		has = beside.Spec.Hash
	}
	i := p.replica(n, unit.Spec.Hash, has)
	i.held = unit.Spec.Hash != hash || has != sidekick || i.unit.formerly() != ""
	return i
}

// anyHeld reports whether an instance keeps what it has because the roll-out is paused.
func (p *planner) anyHeld() bool {
	return slices.ContainsFunc(p.all, func(i *replica) bool { return i.held })
}
