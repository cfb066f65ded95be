package route

import (
	"context"
	"time"

	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/store"
)

// watchOwn publishes again when somebody deletes what was published: a person, or the end of another machine that had
// this one's ID. A roll-out would not wait for this router any more.
func (c *Controller) watchOwn(ctx context.Context) {
	key := c.row.Key(c.opts.Machine)
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	for ctx.Err() == nil {
		_, ok, revision, err := c.opts.Store.Get(ctx, key)
		if err == nil {
			if !ok {
				c.unpublished()
			}
			if c.untilDeleted(ctx, key, ok, revision) {
				c.unpublished()
				retry.Reset()
			}
		}
		store.Sleep(ctx, retry.Next())
	}
}

func (c *Controller) unpublished() {
	c.mu.Lock()
	c.published = nil
	c.mu.Unlock()
	c.loop.Enqueue(controller.Singleton{})
}

// untilDeleted waits for the end of the key, and reports false where the watch ends first.
func (c *Controller) untilDeleted(ctx context.Context, key string, there bool, after int64) bool {
	ctx, cancel := context.WithCancel(ctx)
	batches := store.WatchKey(ctx, c.opts.Store, key, there, after)
	defer func() {
		cancel()
		for range batches { // until its goroutine has ended
		}
	}()
	for batch := range batches {
		for _, e := range batch.Events {
			if e.Key == key && e.Deleted {
				return true
			}
		}
	}
	return false
}
