package forecast

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// A plan on 1,000 machines with 50 apps of 100 announced instances: 10,000 units with the sidekicks.
func BenchmarkPlan(b *testing.B) {
	w := newWorld(b, 1000)
	var all []string
	for n := range 50 {
		all = append(all, named(n, shop(100, "1", auto)))
	}
	w.run(manifests(all...))
	copied, err := Read(b.Context(), w.store, keys, wire.WhatIf{})
	require.NoError(b, err)
	b.Logf("%d keys, %d MB", len(copied.kvs), copied.bytes>>20)
	for name, c := range map[string]struct {
		whatIf wire.WhatIf
		change Change
	}{
		"nothing":  {},
		"scale":    {change: manifests(named(0, shop(110, "1", auto)))},
		"roll-out": {change: manifests(named(0, shop(100, "2", auto)))},
		"drain":    {whatIf: wire.WhatIf{Drain: []string{machine(0)}}},
		"zone":     {whatIf: wire.WhatIf{LoseMetadata: map[string]string{"zone": "a"}, Add: make([]wire.NewMachine, 100)}},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				f, err := Of(b.Context(), copied, Options{Keys: keys, Now: func() time.Time { return w.now }, Timeout: time.Hour}, c.whatIf, c.change)
				runtime.ReadMemStats(&after)
				require.NoError(b, err)
				b.ReportMetric(float64(len(f.Actions)), "actions")
				b.ReportMetric(float64(after.HeapSys>>20), "MB-heap")
			}
		})
	}
}

// Roll-outs on 1,000 machines with 10,000 units: of one app with 1,000 instances, which are replaced one by one, and of 41 apps.
func BenchmarkLargeRollout(b *testing.B) {
	w := newWorld(b, 1000)
	all, next := []string{named(0, shop(1000, "1", auto))}, []string{named(0, shop(1000, "2", auto))}
	for n := 1; n <= 40; n++ {
		all, next = append(all, named(n, shop(100, "1", auto))), append(next, named(n, shop(100, "2", auto)))
	}
	w.run(manifests(all...))
	copied, err := Read(b.Context(), w.store, keys, wire.WhatIf{})
	require.NoError(b, err)
	for name, change := range map[string]Change{"one app": manifests(next[0]), "all apps": manifests(next...)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				f, err := Of(b.Context(), copied, Options{Keys: keys, Now: func() time.Time { return w.now }, Timeout: time.Hour}, wire.WhatIf{}, change)
				require.NoError(b, err)
				b.ReportMetric(float64(len(f.Actions)), "actions")
			}
		})
	}
}

func named(n int, text string) string {
	return strings.ReplaceAll(text, "shop", fmt.Sprintf("shop%d", n))
}
