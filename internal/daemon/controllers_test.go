package daemon

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/controllers/schedule"
	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestLimits: schedule's limits follow the configuration.
func TestLimits(t *testing.T) {
	former := elected
	defer func() { elected = former }()
	var limits schedule.Limits
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, row := range former {
		if row.name != "schedule" {
			continue
		}
		elected = []electedController{{"schedule", func(env cluster.Env, e ElectedFor) runner {
			r := row.new(env, e)
			limits = r.(*schedule.Controller).Limits
			cancel()
			return r
		}}}
	}
	keys, s := keyspace.New(""), memstore.New(memstore.Options{})
	e := ElectedFor{Store: s, Keys: keys, Log: logr.Discard(), Events: events.New(s, keys, events.Options{}), FreezeTimeout: time.Hour}
	_ = Campaign(ctx, "m1", 17*time.Second, e, func(*Term) {})
	require.Equal(t, schedule.Limits{Grace: 17 * time.Second, FreezeTimeout: time.Hour}, limits)
}

// fakeRunner tells when it runs.
type fakeRunner struct{ running chan struct{} }

func (r fakeRunner) Run(ctx context.Context) error {
	close(r.running)
	<-ctx.Done()
	return nil
}

type fakeFirst struct {
	fakeRunner
	looked chan struct{}
}

func (r fakeFirst) FirstPass() <-chan struct{} { return r.looked }

// TestInTurn: the others start after the scheduler's first pass, whatever their order in the list, and end even if it never
// happens.
func TestInTurn(t *testing.T) {
	for _, looks := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			first := fakeFirst{fakeRunner{make(chan struct{})}, make(chan struct{})}
			other := fakeRunner{make(chan struct{})}
			ctx, cancel := context.WithCancel(t.Context())
			var running sync.WaitGroup
			for _, run := range inTurn([]runner{other, first}) {
				running.Go(func() { _ = run(ctx) })
			}
			synctest.Wait()
			require.True(t, closed(first.running))
			require.False(t, closed(other.running))
			if looks {
				close(first.looked)
				synctest.Wait()
				require.True(t, closed(other.running))
			}
			cancel()
			running.Wait()
		})
	}
}

func closed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// TestPlacementGoesFirst: one of the elected controllers is the one that the others wait for.
func TestPlacementGoesFirst(t *testing.T) {
	keys, s := keyspace.New(""), memstore.New(memstore.Options{})
	known := cluster.New(s, keys, logr.Discard())
	first := []string{}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, row := range elected {
		r := row.new(cluster.Env{Store: s, Cluster: known}, ElectedFor{})
		if _, ok := r.(firstRunner); ok {
			first = append(first, row.name)
		}
		_ = r.Run(ended) // shuts down its queue
	}
	require.Equal(t, []string{"schedule"}, first)
}
