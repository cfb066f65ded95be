package app

import (
	"encoding/json"
	"strconv"

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
		if p.candidate != nil {
			route.Count = strconv.FormatInt(p.candidate.ManifestRevision, 10)
		}
		return route
	}
	if len(p.in.ByHand) > 0 {
		return &v1.AppRoute{Prefix: v1.DefaultAnnouncePrefix, Units: p.in.ByHand}
	}
	return nil
}

// sameJSON compares values by what would be stored.
func sameJSON[T any](a, b T) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}
