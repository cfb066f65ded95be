package app

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/canary"
	"github.com/fleet-starter/fleet/internal/instance"
)

// A canary is some instances of a new revision beside all those of the one before, which goes on as the app's revision meanwhile. As
// many of the one before are started with it, so that both warm up alike: the routers' counts of the two are compared. When the canary
// is good the new revision becomes the app's, and its instances are the first ones beside the others; else it is taken back.

// try makes a new revision the candidate, and lets the one before run, where the manifest asks for a canary and the change replaces
// instances.
func (p *planner) try(r *v1.Revision) {
	before := p.in.Latest
	if before != nil && before.Number != r.Before {
		before = p.in.Before
	}
	if !r.Undecided() || before == nil {
		return
	}
	if r.UnitFile == before.UnitFile && r.SidekickFile == before.SidekickFile || before.Spec.Global {
		r.Canary = &v1.CanaryResult{At: p.in.Now.UTC(), Message: "no canary: no instance is replaced one by one"}
		return
	}
	if r.Releasing() { // that comes first
		return
	}
	texts := maps.Clone(p.in.Texts)
	maps.Copy(texts, p.texts)
	p.revision, p.candidate, p.texts = before, r, texts
}

// firstTried is the lowest number of the instances of a trial. They are above those of both revisions, and stay the same.
func (p *planner) firstTried() int32 {
	return max(p.revision.Spec.Instances(), p.candidate.Spec.Instances()) + 1
}

func (p *planner) isTried(n int32) bool {
	return p.candidate != nil && n >= p.firstTried() && n < p.firstTried()+2*p.canaries()
}

func (p *planner) canaries() int32 { return p.candidate.Spec.Update.Canary.Filled().Instances }

// canary finds the instances of the trial. What has one of their numbers and another file, such as of an earlier trial, is removed
// first.
func (p *planner) canary() {
	if p.candidate == nil {
		return
	}
	for n := p.firstTried(); p.isTried(n); n++ {
		of := p.revision
		if p.ofCandidate(n) {
			of = p.candidate
		}
		i := p.replica(n, of.UnitFile, of.SidekickFile)
		i.beside = true
		if i.unit.stored == nil && i.sidekick.stored == nil || i.updated() {
			p.tried = append(p.tried, i)
			p.surplus = slices.DeleteFunc(p.surplus, func(s *replica) bool { return s.number == n })
		}
	}
}

// begunTrial reports whether the canary is there. Only then are responses counted: an instance that had its number and its address before
// would count for it.
func (p *planner) begunTrial() bool {
	for n := p.firstTried(); n < p.firstTried()+p.canaries(); n++ {
		if u, stored := p.in.Units[v1.AppUnit(p.in.App, n)]; !stored || u.Spec.Hash != p.candidate.UnitFile {
			return false
		}
	}
	return true
}

// isCanary reports whether an instance of the trial is of the new revision.
func (p *planner) isCanary(i *replica) bool { return p.ofCandidate(i.number) }

// ofCandidate reports whether the trial's instance of that number is of the new revision.
func (p *planner) ofCandidate(n int32) bool { return n < p.firstTried()+p.canaries() }

// rollCanary brings the instances of the trial to what they should be. They begin together, when nothing else is under way.
func (p *planner) rollCanary() {
	begun := slices.ContainsFunc(p.tried, func(i *replica) bool { return i.unit.stored != nil })
	if !begun && (len(p.surplus) > 0 || slices.ContainsFunc(p.all, p.underWay) || p.in.Wish.Paused) {
		return
	}
	for _, i := range p.tried {
		switch {
		case i.taken != "":
			p.reportTaken(i.taken)
		case !i.wanted():
			p.stop(i)
		case i.restarting():
			p.restart(i, false)
		case i.unit.is() != v1.Launched:
			p.start(i)
		case p.in.Leaving[i.unit.name] != "":
			p.letGo(i, 1)
		case i.withdrawn():
			p.goOn(i, false)
		case i.unit.restart != "":
			p.begin(i)
		default:
			p.keep(i)
			if p.ready(i) {
				p.finish(i)
			}
		}
	}
}

// judgeCanary takes the candidate back, has the others follow it, or waits. It reports whether it has decided.
func (p *planner) judgeCanary() bool {
	if p.candidate == nil || p.candidate != p.in.Latest {
		return false
	}
	p.waiting = true // for the routers' counts
	ready := len(p.tried) > 0
	for _, i := range p.tried {
		if why := p.canaryFails(i); why != "" {
			p.reject(p.candidate, i, why)
			return true
		}
		ready = ready && i.how.State.IsReady()
	}
	c := p.candidate.Spec.Update.Canary.Filled()
	is, was := p.counted()
	figures := fmt.Sprintf("%d requests to the canary, %d of them answered with 5xx, and %d to fresh instances of revision %d, %d with 5xx",
		is.Requests, is.Errors, was.Requests, p.revision.Number, was.Errors)
	enough := min(is.Requests, was.Requests) >= int64(c.Requests)
	switch worse := canary.Worse(is, was); {
	case worse != "":
		p.reject(p.candidate, nil, "the canary is worse than revision "+fmt.Sprint(p.revision.Number)+": "+worse)
	case p.in.Wish.Resumed == p.candidate.Number:
		p.follow("fleetctl rollout resume asked for that; " + figures)
	case c.Pause || p.in.Wish.Paused || !ready:
		return false
	case enough:
		p.follow(figures)
	case p.expired(p.candidate.TriedSince(), c.Timeout.Std()):
		p.follow(fmt.Sprintf("too few requests came within %s to compare by: %s", c.Timeout, figures))
	default:
		return false
	}
	return true
}

// canaryFails is why an instance of the canary has failed; "" if it has not, or may still become ready.
func (p *planner) canaryFails(i *replica) string {
	if !p.isCanary(i) || !i.wanted() || i.unit.stored == nil || i.how.State.IsReady() {
		return ""
	}
	deadline := p.candidate.Spec.Update.HealthyDeadline.Std()
	switch i.how.State {
	case instance.RestartLoop, instance.Failed, instance.Exited:
		return "the canary " + i.unit.name + " " + i.how.Why()
	}
	if i.rollout.UnderWay() && i.rollout.From == "" && p.expired(i.rollout.Since, deadline) {
		return fmt.Sprintf("the canary %s is not ready after %s: %s", i.unit.name, deadline, i.how.Why())
	}
	return ""
}

// counted are the responses of the canary and of the fresh instances of the revision before, of all routers together.
func (p *planner) counted() (is, was canary.Counts) {
	if p.in.Route.Value == nil {
		return is, was
	}
	for _, machine := range slices.Sorted(maps.Keys(p.in.Routers)) {
		for _, c := range p.in.Routers[machine].Counts {
			if c.Token != p.in.Route.Value.Count || c.Token == "" {
				continue
			}
			for _, i := range p.tried {
				if !strings.HasSuffix(c.Endpoint, "/"+v1.EndpointName(p.in.App, i.number)) {
					continue
				}
				counts := canary.Counts{Errors: c.Errors}
				for b, n := range c.Latency {
					counts.Latency[min(b, canary.Buckets-1)] += n
					counts.Requests += n
				}
				if p.isCanary(i) {
					is.Add(counts)
				} else {
					was.Add(counts)
				}
			}
		}
	}
	return is, was
}

// follow has all other instances follow the canary.
func (p *planner) follow(why string) {
	followed := *p.candidate
	followed.Canary = &v1.CanaryResult{At: p.in.Now.UTC(), Message: why}
	p.first = append(p.first, Action{Kind: PutRevision, Reason: CanaryFollowed, Name: p.in.App, NewRevision: &followed, If: p.in.LatestAt})
	p.report(v1.EventNormal, CanaryFollowed, fmt.Sprintf("revision %d: all other instances follow the canary: %s", followed.Number, why))
}
