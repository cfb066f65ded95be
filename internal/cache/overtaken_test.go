package cache_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/cache"
	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// lateAnswers is a store with slow answers to checks, and watches that end on request.
type lateAnswers struct {
	store.Interface
	end chan struct{}
}

func (l *lateAnswers) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	page, err := l.Interface.List(ctx, prefix, opts)
	if opts.KeysOnly {
		store.Sleep(ctx, 10*time.Second)
	}
	return page, err
}

func (l *lateAnswers) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	in, out := l.Interface.Watch(ctx, prefix, after), make(chan store.Batch)
	go func() {
		defer close(out)
		for {
			select {
			case <-l.end:
				select {
				case out <- store.Batch{Err: store.ErrCompacted}:
				case <-ctx.Done():
				}
			case batch, ok := <-in:
				if !ok {
					return
				}
				select {
				case out <- batch:
				case <-ctx.Done():
				}
			}
		}
	}()
	return out
}

// TestCheckThatAListingOvertakes: an answer to a check from before a new listing says nothing about the current content.
func TestCheckThatAListingOvertakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &lateAnswers{Interface: memstore.New(memstore.Options{}), end: make(chan struct{})}
		commit(t, s, placement("m/u0", "0"))
		var differs []cache.Difference
		relists := 0
		r := cache.NewReflector(s, keys.Root(), cache.WithCheckEvery(time.Minute),
			cache.OnDiffers(func(d cache.Difference) { differs = append(differs, d) }),
			cache.OnRelist(func(int64) { relists++ }))
		placements := cache.Register(r, keys.Placements())
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { _ = r.Run(ctx) })
		for i := range 600 { // during each check there is a moment when its answer is in flight
			time.Sleep(time.Second)
			if i%7 == 0 {
				s.end <- struct{}{}
				commit(t, s, placement(fmt.Sprintf("m/u%d", i), "1")) // seen by the listing, or by the watch after it
			}
		}
		synctest.Wait()
		require.Empty(t, differs)
		require.Equal(t, 1+86, relists)
		require.Equal(t, 86, placements.Len())
		cancel()
		running.Wait()
	})
}
