package status

import (
	"fmt"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// tries reports whether the manifest is that of the revision that is tried.
func (p *planner) tries(spec *v1.AppSpec) bool {
	t := p.in.Trial
	return t != nil && (t.ManifestRevision == p.in.ManifestRevision || v1.SameSpec(&t.Spec, spec))
}

// trial says what the canary waits for.
func (p *planner) trial() string {
	c := p.in.Trial.Spec.Update.Canary.Filled()
	what := fmt.Sprintf("revision %d is tried by %d of its instances", p.in.Trial.Number, c.Instances)
	if c.Weight != nil {
		what += fmt.Sprintf(", with %s of the requests", c.Weight)
	}
	switch {
	case c.Pause:
		return what + ", which all others follow after fleetctl rollout resume app/" + p.in.App
	case p.in.Paused:
		return what + "; paused: fleetctl rollout resume app/" + p.in.App
	}
	return what + fmt.Sprintf(", which all others follow when it has answered %d requests no worse than revision %d, or after %s", c.Requests, p.in.Latest.Number, c.Timeout)
}
