package schedule

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestFirstPass: everything that existed at the start, however much, is decided by the first pass, without waiting for more.
func TestFirstPass(t *testing.T) {
	s := memstore.New(memstore.Options{})
	ctx, keys := t.Context(), keyspace.New("")
	const text, units = "[Service]\nExecStart=/bin/true\n", 2 * burstFrom
	lease, err := s.Grant(ctx, time.Hour)
	require.NoError(t, err)
	before := &bench{t: t, ctx: ctx, store: s, keys: keys}
	for i := range units {
		before.unit(v1.AppUnit("web", int32(i+1)), text)
	}
	before.commit(store.Op{Key: keys.Machines().Key("m1"), Value: []byte(`{}`), Lease: lease})
	b := start(t, s)
	select {
	case <-b.looked:
	case <-b.ctx.Done():
		require.FailNow(t, "it never looked")
	}
	page, err := s.List(ctx, keys.Placements().Prefix(), store.ListOptions{})
	require.NoError(t, err)
	require.Len(t, page.KVs, units)
}
