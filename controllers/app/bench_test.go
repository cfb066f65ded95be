package app

import (
	"fmt"
	"testing"
)

// BenchmarkPlan plans an app at rest: the cost of an unnecessary plan.
func BenchmarkPlan(b *testing.B) {
	for _, replicas := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(replicas), func(b *testing.B) {
			w := newWorld(b, "web")
			w.apply("%s", manifestOf("web", replicas, "1", true))
			w.settleAll()
			in := w.input()
			b.ReportAllocs()
			for b.Loop() {
				Plan(in)
			}
		})
	}
}
