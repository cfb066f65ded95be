package controller

import (
	"context"
	"sync"
)

// Each works on what comes in, each in a goroutine of its own, until ctx ends, and returns when the last one has returned. At most so
// many work at once; 0: no limit. It is for what a pass must not wait for.
func Each[T any](ctx context.Context, in <-chan T, atOnce int, work func(context.Context, T)) {
	var running sync.WaitGroup
	defer running.Wait()
	var slots chan struct{}
	if atOnce > 0 {
		slots = make(chan struct{}, atOnce)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case one := <-in:
			running.Go(func() {
				if slots != nil {
					select {
					case slots <- struct{}{}:
						defer func() { <-slots }()
					case <-ctx.Done():
						return
					}
				}
				work(ctx, one)
			})
		}
	}
}
