package memstore_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// BenchmarkManyWatches changes one key per iteration while 5,000 machines each watch their own prefix.
func BenchmarkManyWatches(b *testing.B) {
	s := memstore.New(memstore.Options{History: 1000})
	for i := range 5000 {
		batches := s.Connect().Watch(b.Context(), fmt.Sprintf("/fleet/placements/m%d/", i), 1)
		go func() {
			for range batches {
			}
		}()
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		_, err := s.Commit(b.Context(), store.Txn{Ops: []store.Op{{Key: fmt.Sprintf("/fleet/placements/m%d/u", n%5000), Value: []byte("x")}}})
		require.NoError(b, err)
	}
}
