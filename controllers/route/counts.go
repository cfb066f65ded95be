package route

import (
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
)

// countInterval is how often counts of responses are published, while an app asks for them and they change.
const countInterval = 2 * time.Second

// countAgain is when to read the counts again; 0: no app asks for any.
func countAgain(plan Decision) time.Duration {
	if slices.ContainsFunc(plan.Table.Routes, func(r routing.Route) bool { return r.Count != "" }) {
		return countInterval
	}
	return 0
}

func sameCounts(a, b []v1.EndpointCounts) bool {
	return slices.EqualFunc(a, b, func(a, b v1.EndpointCounts) bool {
		return a.Endpoint == b.Endpoint && a.Token == b.Token && a.Errors == b.Errors && slices.Equal(a.Latency, b.Latency)
	})
}
