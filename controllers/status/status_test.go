package status

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestRefusals: an app is looked at again when a router says another thing of it, or of one of its endpoints.
func TestRefusals(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	s := memstore.New(memstore.Options{})
	known := cluster.New(s, keyspace.New(""), logr.Discard())
	for _, app := range []string{"web", "api"} {
		_, err := s.Commit(ctx, store.Txn{Ops: []store.Op{{Key: known.Keys.Apps().Key(app), Value: []byte("its manifest")}}})
		require.NoError(t, err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = known.Run(ctx) })
	defer running.Wait()
	defer cancel()
	require.NoError(t, known.WaitForSync(ctx))
	c := &Controller{cluster: known}
	says := func(refused map[string]string) *cache.Object[v1.Router] {
		return &cache.Object[v1.Router]{Value: v1.Router{Refused: refused}}
	}
	const key, elsewhere = "/services/web/web/web@1", "/services/internal/api/api@1"
	for _, tt := range []struct {
		name          string
		before, after *cache.Object[v1.Router]
		want          []string
	}{
		{"an app", nil, says(map[string]string{"web": "HostTaken: x"}), []string{"web"}},
		{"an endpoint", says(nil), says(map[string]string{key: "UntrustedAddress: x"}), []string{"web"}},
		{"not any more", says(map[string]string{key: "UntrustedAddress: x", elsewhere: "y"}), says(nil), []string{"api", "web"}},
		{"the router is gone", says(map[string]string{key: "UntrustedAddress: x"}), nil, []string{"web"}},
		{"the same", says(map[string]string{key: "x", "web": "y"}), says(map[string]string{key: "x", "web": "y"}), nil},
		{"what is no app", nil, says(map[string]string{"other": "x", "/services/web/other/x": "y", "/": "z", "": "z"}), nil},
	} {
		got := c.refusals("", tt.before, tt.after)
		slices.Sort(got)
		require.Equal(t, tt.want, slices.Compact(got), tt.name)
	}
}
