package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/etcdtest"
)

// BenchmarkWrite writes 10,000 groups of one operation per iteration, batched or each in its own transaction.
func BenchmarkWrite(b *testing.B) {
	const n = 10_000
	for name, write := range map[string]func(s store.Interface, groups []store.Group) error{
		"batched": func(s store.Interface, groups []store.Group) error {
			_, err := store.LastRevision(store.Write(b.Context(), s, groups, store.Fence{}))
			return err
		},
		"single": func(s store.Interface, groups []store.Group) error {
			for _, g := range groups {
				if _, err := s.Commit(b.Context(), store.Txn{Ops: g}); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		b.Run(name, func(b *testing.B) {
			client := etcdtest.Start(b, etcdtest.WithoutProxy()).Client()
			groups := puts(n)
			b.ReportAllocs()
			for b.Loop() {
				require.NoError(b, write(client, groups))
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "keys/s")
		})
	}
}
