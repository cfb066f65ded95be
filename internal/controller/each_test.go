package controller

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestEach: so many at once as are allowed; those that wait when it ends are not begun, and those that run are waited for.
func TestEach(t *testing.T) {
	for atOnce, want := range map[int]int64{0: 5, 2: 2} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			in := make(chan int, 5)
			var began, ended atomic.Int64
			var each sync.WaitGroup
			each.Go(func() {
				Each(ctx, in, atOnce, func(ctx context.Context, _ int) {
					began.Add(1)
					<-ctx.Done()
					time.Sleep(time.Second) // it tidies up
					ended.Add(1)
				})
			})
			for i := range 5 {
				in <- i
			}
			synctest.Wait()
			require.Equal(t, want, began.Load())
			cancel()
			each.Wait()
			require.Equal(t, want, ended.Load())
			require.Equal(t, want, began.Load())
		})
	}
}
