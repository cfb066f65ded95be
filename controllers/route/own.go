package route

import (
	"context"
	"time"

	"github.com/fleet-starter/fleet/internal/controller"
	"github.com/fleet-starter/fleet/internal/store"
)

// watchOwn publishes again when its record is deleted, by a person or by the end of another machine that had this one's ID.
// Otherwise roll-outs would not wait for this router any more.
func (c *Controller) watchOwn(ctx context.Context) {
	key := c.row.Key(c.opts.Machine)
	retry := store.Backoff{First: 100 * time.Millisecond, Max: 5 * time.Second}
	for ctx.Err() == nil {
		_, ok, revision, err := c.opts.Store.Get(ctx, key)
		if err == nil {
			if !ok {
				c.unpublished()
			}
			if _, err := store.WaitEvent(ctx, c.opts.Store, store.SeenKey{Key: key, There: ok, Revision: revision}, nil, store.Deleted); err == nil {
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
