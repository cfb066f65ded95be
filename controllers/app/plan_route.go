package app

import (
	"encoding/json"
	"strconv"
	"strings"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// route writes what routers have to know about the app. A deleted app loses its hosts at once.
func (p *planner) route() {
	stored, wanted := p.in.Route, p.wantedRoute()
	switch {
	case wanted == nil && stored.Revision == 0:
	case wanted == nil && p.in.Manifest == nil:
		p.first = append(p.first, Action{Kind: DeleteRoute, Reason: AppDeleted, Name: p.in.App, If: stored.Revision})
	case wanted == nil:
		p.first = append(p.first, Action{Kind: DeleteRoute, Reason: NotRouted, Name: p.in.App, If: stored.Revision})
	case stored.Value == nil || !sameJSON(*stored.Value, *wanted):
		p.first = append(p.first, Action{Kind: PutRoute, Reason: RouteChanged, Name: p.in.App, Route: wanted, If: stored.Revision})
	}
}

// wantedRoute is the route of the revision that should run or, if that announces nothing, of units announced by hand under
// the app's name. nil: routers need to know nothing.
func (p *planner) wantedRoute() *v1.AppRoute {
	if p.in.Manifest != nil && p.revision != nil && p.revision.Spec.Announce != nil {
		route := v1.RouteOf(p.revision, p.in.Manifest.UID)
		if p.candidate != nil && p.begunTrial() {
			route.Count = strconv.FormatInt(p.candidate.ManifestRevision, 10)
		}
		route.Canary = p.wantedShare()
		return route
	}
	if len(p.in.ByHand) > 0 {
		return &v1.AppRoute{Prefix: v1.DefaultAnnouncePrefix, Units: p.in.ByHand}
	}
	return nil
}

// wantedShare is the share of requests of the canary. What was taken back, or replaced by a newer manifest, keeps it until its last
// instance is gone: it gets no more requests just because it has failed.
func (p *planner) wantedShare() *v1.RouteCanary {
	if p.candidate != nil {
		weight := p.candidate.Spec.Update.Canary.Weight
		if weight == nil {
			return nil
		}
		share := &v1.RouteCanary{Percent: weight.Value}
		for n := p.firstTried(); p.isTried(n); n++ {
			name := strings.TrimSuffix(v1.AppUnit(p.in.App, n), ".service")
			if p.ofCandidate(n) {
				share.Units = append(share.Units, name)
			} else {
				share.Fresh = append(share.Fresh, name)
			}
		}
		return share
	}
	if p.in.Route.Value == nil || p.in.Route.Value.Canary == nil {
		return nil
	}
	for _, name := range p.in.Route.Value.Canary.Units {
		if u, exists := p.in.Units[name+".service"]; exists && u.Spec.Hash != p.revision.UnitFile {
			return p.in.Route.Value.Canary
		}
	}
	return nil
}

// sameJSON compares values by what would be stored.
func sameJSON[T any](a, b T) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
