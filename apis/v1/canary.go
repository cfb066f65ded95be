package v1

import (
	"cmp"
	"time"
)

// Canary has a changed manifest tried by some instances first, beside all those of the revision before. A release command runs before.
type Canary struct {
	// Instances is how many instances of the new revision there are at first, at most replicas. As many fresh ones of the revision
	// before are started with them, to be compared: routers count the responses of both. Default 1.
	Instances int32 `json:"instances,omitempty"`
	// Weight is the share of the app's requests that routers send to these instances together, such as 5%, from 1% to 99%. The fresh ones
	// of the revision before get as many, each as far as that is not more than any other gets. Default: as many as any other instance.
	Weight *IntOrPercent `json:"weight,omitempty"`
	// Pause: the others follow only after fleetctl rollout resume. Without it they do when the comparison has found nothing.
	Pause bool `json:"pause,omitempty"`
	// Requests is how many requests both sides have to have answered before the canary counts as good. Default 500.
	Requests int32 `json:"requests,omitempty"`
	// Timeout is how long so many requests are waited for. After that the others follow, if nothing was found. Default 10m.
	Timeout Duration `json:"timeout,omitempty"`
}

// The defaults of a Canary.
const (
	DefaultCanaryInstances = 1
	DefaultCanaryRequests  = 500
	DefaultCanaryTimeout   = 10 * time.Minute
)

// CanaryResult is why the other instances followed a canary.
type CanaryResult struct {
	At      time.Time `json:"at"`
	Message string    `json:"message"`
}

// Filled returns it with its defaults.
func (c Canary) Filled() Canary {
	c.Instances = cmp.Or(c.Instances, DefaultCanaryInstances)
	c.Requests = cmp.Or(c.Requests, DefaultCanaryRequests)
	c.Timeout = cmp.Or(c.Timeout, Duration(DefaultCanaryTimeout))
	return c
}

// Undecided reports whether a revision has a canary that is not over: it may wait for the release command still.
func (r *Revision) Undecided() bool {
	return r.Spec.Update != nil && r.Spec.Update.Canary != nil && r.Before != 0 && r.Canary == nil && r.Rejected == nil
}

// OnTrial reports whether a revision runs in its canary alone, until that is over; all else is of the revision before.
func (r *Revision) OnTrial() bool { return r.Undecided() && !r.Releasing() }

// TriedSince is when the trial began, at the earliest.
func (r *Revision) TriedSince() time.Time {
	if r.Release != nil {
		return r.Release.Ended
	}
	return r.AcceptedAt
}

// canary checks spec.update.canary.
func (v *validator) canary(s *AppSpec) {
	const field = "spec.update.canary"
	c := s.Update.Canary
	if c == nil {
		return
	}
	v.positive(field+".timeout", c.Timeout)
	none := s.Update.MaxSurge != nil && s.Update.MaxSurge.Value == 0
	switch why := s.whyInPlace(v.app); {
	case s.Global:
		v.add(field, "a global app has one instance on each machine, and no canary: remove it")
	case why != "":
		v.add(field, "no instance can be started beside another one: %s: remove canary, or give the instances ports that are auto", why)
	case none:
		v.add(field, "needs an instance beside the others, and maxSurge is 0: raise maxSurge, or remove canary")
	case c.Instances < 0 || c.Requests < 0:
		v.add(field, "instances and requests are numbers above 0")
	case c.Filled().Instances > s.Instances():
		v.add(field+".instances", "%d is more than replicas, which is %d: use fewer", c.Filled().Instances, s.Instances())
	case s.Announce == nil && c.Weight != nil:
		v.add(field+".weight", "there are no requests to share, because the app is not announced (spec.announce): remove weight")
	case c.Weight != nil && !c.Weight.Percent:
		v.add(field+".weight", "%s is not a share: use a percentage such as 5%%", c.Weight)
	case c.Weight != nil && (c.Weight.Value < 1 || c.Weight.Value > 99):
		v.add(field+".weight", "%s is out of range: use 1%% to 99%%, so that both revisions get requests", c.Weight)
	case s.Announce == nil && !c.Pause:
		v.add(field, "there are no requests to compare, because the app is not announced (spec.announce): add pause: true, or remove canary")
	}
}
