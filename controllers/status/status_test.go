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

// TestRefusals: an app is reconciled when what a router says about it, or about one of its endpoints, changes.
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
	c := &Controller{Options: Options{Env: cluster.Env{Cluster: known}}}
	says := func(refusals ...v1.RouteRefusal) *cache.Object[v1.Router] {
		return &cache.Object[v1.Router]{Value: v1.Router{Refusals: refusals}}
	}
	endpoint := v1.RouteRefusal{App: "web", Key: "/services/web/web/web@1", Reason: "UntrustedAddress", Message: "x"}
	elsewhere := v1.RouteRefusal{App: "api", Key: "/services/internal/api/api@1", Reason: "InvalidAddress", Message: "y"}
	whole := v1.RouteRefusal{App: "web", Reason: "HostTaken", Message: "x"}
	before := &cache.Object[v1.Router]{Value: v1.Router{Refused: v1.RefusalTexts([]v1.RouteRefusal{endpoint, elsewhere}, 0)}}
	for _, tt := range []struct {
		name          string
		before, after *cache.Object[v1.Router]
		want          []string
	}{
		{"an app", nil, says(whole), []string{"web"}},
		{"an endpoint", says(), says(endpoint), []string{"web"}},
		{"not any more", says(endpoint, elsewhere), says(), []string{"api", "web"}},
		{"the router is gone", says(endpoint), nil, []string{"web"}},
		{"another reason", says(whole), says(v1.RouteRefusal{App: "web", Reason: "HostTaken", Message: "y"}), []string{"web"}},
		{"the same", says(endpoint, whole), says(endpoint, whole), nil},
		{"a router of the version before", nil, before, []string{"api", "web"}},
		{"it is upgraded, and says the same", before, says(endpoint, elsewhere), nil},
		{"what is no app", nil, says(v1.RouteRefusal{App: "other", Reason: "NoApp"}, v1.RouteRefusal{Key: "/", Reason: "InvalidKey"}), nil},
	} {
		got := c.refusals("", tt.before, tt.after)
		slices.Sort(got)
		require.Equal(t, tt.want, slices.Compact(got), tt.name)
	}
}
