package app

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cluster"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// TestWorkers: how many apps are reconciled at once.
func TestWorkers(t *testing.T) {
	for workers, want := range map[int]int{0: 4, 1: 1, 7: 7} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			now, most := 0, 0
			looking := func() time.Time {
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				now--
				mu.Unlock()
				return time.Now()
			}
			s := memstore.New(memstore.Options{})
			c := New(Options{Env: cluster.Env{Store: s, Cluster: cluster.New(s, keyspace.New(""), logr.Discard()), Now: looking}, Workers: workers})
			ctx, cancel := context.WithCancel(t.Context())
			for i := range 10 {
				c.Enqueue(fmt.Sprintf("web%d", i))
			}
			var running sync.WaitGroup
			running.Go(func() { _ = c.Loop.Controller.Run(ctx) })
			time.Sleep(time.Minute)
			cancel()
			running.Wait()
			require.Equal(t, want, most)
		})
	}
}
