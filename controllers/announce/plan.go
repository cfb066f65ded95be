package announce

import "time"

// Health is the result of the probes so far.
type Health struct {
	// Passed and Failed count the latest consecutive results; one of them is 0.
	Passed, Failed int
	// Message is why the last probe failed.
	Message string
}

// After returns the health after one more probe.
func (h Health) After(err error) Health {
	if err != nil {
		return Health{Failed: h.Failed + 1, Message: err.Error()}
	}
	return Health{Passed: h.Passed + 1}
}

// Thresholds are the numbers of consecutive probes that change what is announced.
type Thresholds struct {
	Healthy, Unhealthy int
}

// Input is everything that the decision needs.
type Input struct {
	Health     Health
	Thresholds Thresholds
	// Announced reports whether the endpoint is in etcd, as far as this process knows.
	Announced bool
	// Interval is the time between probes.
	Interval time.Duration
	// Stopping reports that the instance, and so this process, is being stopped.
	Stopping bool
}

// Action is what to do with the endpoint.
type Action string

// The actions.
const (
	Keep     Action = "Keep"
	Announce Action = "Announce"
	Withdraw Action = "Withdraw"
)

// Why an action is taken.
const (
	ReasonHealthy   = "Healthy"   // the health check passed healthyThreshold times in a row
	ReasonUnhealthy = "Unhealthy" // the health check failed unhealthyThreshold times in a row
	ReasonStopping  = "Stopping"  // the sidekick is being stopped: it withdraws the endpoint first
)

// Decision is one action with its reason, and when to look again.
type Decision struct {
	Action  Action
	Reason  string
	Message string
	After   time.Duration
}

// Plan decides whether the instance is announced. Between the thresholds nothing changes, so one slow answer does not
// move traffic.
func Plan(in Input) Decision {
	switch {
	case in.Stopping && in.Announced:
		return Decision{Action: Withdraw, Reason: ReasonStopping}
	case in.Stopping:
		return Decision{Action: Keep, Reason: ReasonStopping}
	case !in.Announced && in.Health.Passed >= max(1, in.Thresholds.Healthy):
		return Decision{Action: Announce, Reason: ReasonHealthy, After: in.Interval}
	case in.Announced && in.Health.Failed >= max(1, in.Thresholds.Unhealthy):
		return Decision{Action: Withdraw, Reason: ReasonUnhealthy, Message: in.Health.Message, After: in.Interval}
	case !in.Announced && in.Health.Failed >= max(1, in.Thresholds.Unhealthy):
		return Decision{Action: Keep, Reason: ReasonUnhealthy, Message: in.Health.Message, After: in.Interval}
	}
	return Decision{Action: Keep, After: in.Interval}
}
