package route

import (
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// scale is the sum of the weights of an app with a canary, before they are divided by what they have in common.
const scale = 10000

// weighted gives the instances of an app their weights: those of the canary get their share together, the fresh ones of the revision
// before as much each, and the others the rest. A fresh one never gets more than the others. Where one side is missing, there is nothing
// to share out.
func weighted(upstreams []routing.Upstream, c *v1.RouteCanary) []routing.Upstream {
	if c == nil || c.Percent < 1 || c.Percent > 99 {
		return upstreams
	}
	var canaries, fresh, others int
	for _, u := range upstreams {
		switch {
		case slices.Contains(c.Units, u.Instance):
			canaries++
		case slices.Contains(c.Fresh, u.Instance):
			fresh++
		default:
			others++
		}
	}
	if canaries == 0 || fresh+others == 0 {
		return upstreams
	}
	share := scale * int(c.Percent) / 100
	ofCanary, ofFresh := max(1, share/canaries), max(1, (scale-share)/(fresh+others))
	ofOther := ofFresh
	if others > 0 {
		ofFresh = min(ofCanary, ofFresh)
		ofOther = max(1, (scale-share-ofFresh*fresh)/others)
	}
	common := gcd(gcd(ofCanary, ofFresh), ofOther)
	upstreams = slices.Clone(upstreams)
	for i, u := range upstreams {
		weight := ofOther
		switch {
		case slices.Contains(c.Units, u.Instance):
			weight = ofCanary
		case slices.Contains(c.Fresh, u.Instance):
			weight = ofFresh
		}
		upstreams[i].Weight = weight / common
	}
	return upstreams
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}
