package schedule

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/controllers/schedule/index"
	"github.com/fleet-starter/fleet/controllers/schedule/rule"
)

// Before a unit leaves a machine on which it runs, because that is drained or does not match its file any more, the machine that
// it moves to prepares its start there: it pulls the image. Until that is done the unit stays, and its app is not asked to let it
// go. One whose machine is gone or has too little, or whose place another one needs, does not wait for that.

// unprepared reports whether a machine still has to prepare the start of units that move there, and asks it to. The units wait.
func (p *planner) unprepared(movers []*index.Unit, m *index.Machine) bool {
	var first *index.Unit
	for _, u := range movers {
		v, asked := of(u), u.PreparingOn(m.ID)
		if v.keep == nil || v.keep.Machine == m || u.Fleet.Pulls().Name == "" {
			continue
		}
		needs := waitsForImage(u, m) && v.keep.Machine.Runs(u)
		if needs || asked != nil { // until it has moved
			v.done.prepares = m.ID
		}
		if needs && !p.prepared(u, asked, m) && first == nil {
			first = u
		}
	}
	if first == nil {
		return false
	}
	for _, u := range movers {
		if u.Family != nil {
			u.Family.Mark = p.x.Epoch
		}
	}
	p.waitForDrain(movers, first.Name+" waits for its image on "+m.ID, index.ForDrain|index.ForTime)
	return true
}

// waitsForImage reports whether a unit stays where it is until another machine has its image, if it runs.
func waitsForImage(u *index.Unit, m *index.Machine) bool {
	v := of(u)
	return v.alone && v.keep.Machine != m && u.Fleet.Pulls().Name != "" && u.DesiredState == v1.Launched && u.LetGo != v.keep.MachineName
}

// prepared reports whether a machine has what the unit's start there needs, or there is no use in waiting for it.
func (p *planner) prepared(u *index.Unit, asked *index.Preparing, m *index.Machine) bool {
	start := v1.Preparation{Hash: u.Hash, RequestedAt: u.RequestedAt}
	if asked == nil || asked.Next.Preparation != start {
		p.askToPrepare(u, m, start, of(u).message+": it moves when "+m.ID+" has pulled its image")
		return false
	}
	if is, answered := asked.Answer(); answered {
		return is.State == v1.PreparedReady
	}
	left := min(v1.AnswerPatience, v1.AnswerPatience-p.in.Now.Sub(asked.Next.Since))
	if left > 0 {
		p.after(left)
	}
	return left <= 0
}

// askToPrepare asks a machine to prepare a start before the unit is moved there.
func (p *planner) askToPrepare(u *index.Unit, m *index.Machine, start v1.Preparation, why string) {
	p.act(Action{Kind: Prepare, Unit: u.Name, Machine: m.ID, Next: v1.Next{Preparation: start, Since: p.in.Now.UTC()},
		Reason: ReasonPrepare, Message: why})
}

// target returns the machine that prepares a move of one of the units, if it still fits, else the best one; nil if none fits.
func (p *planner) target(movers []*index.Unit) *index.Machine {
	return p.targetOf(p.rules.Search(movers...), movers)
}

func (p *planner) targetOf(q *rule.Search, movers []*index.Unit) *index.Machine {
	for _, u := range movers {
		for _, asked := range u.Preparing {
			if m := p.x.Machine(asked.Machine); m != nil && asked.Next.Hash == u.Hash && q.Fits(m) {
				return m
			}
		}
	}
	return q.Find()
}

// dropPreparations takes back what machines are asked to prepare in vain, or have prepared and got.
func (p *planner) dropPreparations() {
	var units []*index.Unit
	for _, u := range p.work {
		if len(u.Preparing) > 0 {
			units = append(units, u)
		}
	}
	slices.SortFunc(units, index.ByName)
	for _, u := range units {
		for _, asked := range u.Preparing {
			if done := of(u).done; asked.Machine != done.prepares && asked.Machine != done.ahead.on {
				p.act(Action{Kind: PrepareNoMore, Unit: u.Name, Machine: asked.Machine, Revision: asked.Mod, Reason: ReasonPrepare,
					Message: "nothing is to be prepared any more"})
			}
		}
	}
}
