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
	copied, err := Read(b.Context(), w.store, keys)
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

func named(n int, text string) string {
	return strings.ReplaceAll(text, "shop", fmt.Sprintf("shop%d", n))
}
