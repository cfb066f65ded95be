package announce

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPlan(t *testing.T) {
	thresholds := Thresholds{Healthy: 2, Unhealthy: 3}
	for _, tt := range []struct {
		name   string
		in     Input
		action Action
		reason string
	}{
		{"not probed yet", Input{}, Keep, ""},
		{"one pass is not enough", Input{Health: Health{Passed: 1}}, Keep, ""},
		{"healthy", Input{Health: Health{Passed: 2}}, Announce, ReasonHealthy},
		{"healthy and announced", Input{Health: Health{Passed: 9}, Announced: true}, Keep, ""},
		{"two failures are let pass", Input{Health: Health{Failed: 2}, Announced: true}, Keep, ""},
		{"unhealthy", Input{Health: Health{Failed: 3}, Announced: true}, Withdraw, ReasonUnhealthy},
		{"unhealthy and withdrawn", Input{Health: Health{Failed: 9}}, Keep, ReasonUnhealthy},
		{"may still be starting", Input{Health: Health{Failed: 2}}, Keep, ""},
		{"stopping", Input{Health: Health{Passed: 9}, Announced: true, Stopping: true}, Withdraw, ReasonStopping},
		{"stopping before it was announced", Input{Health: Health{Passed: 9}, Stopping: true}, Keep, ReasonStopping},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.in.Thresholds, tt.in.Interval = thresholds, time.Second
			got := Plan(tt.in)
			require.Equal(t, tt.action, got.Action)
			require.Equal(t, tt.reason, got.Reason)
			require.Equal(t, !tt.in.Stopping, got.After > 0, "looks again unless it is being stopped")
		})
	}
}

// Whatever the probes return: an endpoint is announced only after enough consecutive passes, withdrawn only after enough
// consecutive failures.
func TestPlanThresholdsHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		thresholds := Thresholds{Healthy: rapid.IntRange(1, 5).Draw(t, "healthy"), Unhealthy: rapid.IntRange(1, 5).Draw(t, "unhealthy")}
		var health Health
		announced, run := false, 0
		var last bool
		for _, pass := range rapid.SliceOf(rapid.Bool()).Draw(t, "probes") {
			var err error
			if !pass {
				err = errors.New("no")
			}
			if pass == last {
				run++
			} else {
				run, last = 1, pass
			}
			health = health.After(err)
			switch Plan(Input{Health: health, Thresholds: thresholds, Announced: announced}).Action {
			case Announce:
				require.True(t, pass && run == thresholds.Healthy || run > thresholds.Healthy, "after %d passes", run)
				announced = true
			case Withdraw:
				require.True(t, !pass && run >= thresholds.Unhealthy, "after %d failures", run)
				announced = false
			}
			if pass && run >= thresholds.Healthy {
				require.True(t, announced)
			}
			if !pass && run >= thresholds.Unhealthy {
				require.False(t, announced)
			}
		}
	})
}
