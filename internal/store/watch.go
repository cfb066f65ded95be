package store

import (
	"context"
	"errors"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// requireLeader makes a member without a quorum end watches instead of leaving them silent. Watches and progress
// requests share one stream because their contexts carry the same metadata.
func requireLeader(ctx context.Context) context.Context { return clientv3.WithRequireLeader(ctx) }

// Watch implements Interface. While etcd is unreachable it is silent; afterwards it continues without a gap.
func (c *Client) Watch(ctx context.Context, prefix string, after int64) <-chan Batch {
	out := make(chan Batch)
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.ctx, cancel) // Close ends watches
	go func() {
		defer close(out)
		defer cancel()
		defer stop()
		err := c.watch(ctx, prefix, after, out)
		if err != nil && ctx.Err() == nil {
			send(ctx, out, Batch{Err: wrap(err, "watch", prefix)})
		}
	}()
	return out
}

func (c *Client) watch(ctx context.Context, prefix string, after int64, out chan<- Batch) error {
	dialCtx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	etcd, err := c.connect(dialCtx)
	if err != nil {
		return err
	}
	// Without WithFragment: etcd splits a large response at a cost quadratic in the number of events (seconds for
	// 100,000), and its client reassembles it before delivering anything.
	responses := etcd.Watch(requireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(after+1), clientv3.WithProgressNotify())
	for resp := range responses {
		if err := resp.Err(); err != nil {
			return watchError(err)
		}
		batch, ok := batchOf(resp)
		if ok && !send(ctx, out, batch) {
			return nil
		}
	}
	return errWatchEnded
}

var errWatchEnded = errors.New("the watch ended")

func send(ctx context.Context, out chan<- Batch, b Batch) bool {
	select {
	case out <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// batchOf converts a response; ok is false if it is empty.
func batchOf(resp clientv3.WatchResponse) (Batch, bool) {
	if len(resp.Events) == 0 {
		return Batch{Revision: resp.Header.Revision}, resp.IsProgressNotify()
	}
	batch := Batch{Events: make([]Event, len(resp.Events))}
	for i, e := range resp.Events {
		if e.Type == clientv3.EventTypeDelete {
			batch.Events[i] = Event{KV: KV{Key: string(e.Kv.Key), ModRevision: e.Kv.ModRevision}, Deleted: true}
		} else {
			batch.Events[i] = Event{KV: kvOf(e.Kv)}
		}
	}
	// Not the header's revision: while a watch catches up, that is ahead of the events.
	batch.Revision = resp.Events[len(resp.Events)-1].Kv.ModRevision
	return batch, true
}

// RequestProgress implements Interface.
func (c *Client) RequestProgress(ctx context.Context) error {
	return c.call(requireLeader(ctx), "request progress", "of watches", func(ctx context.Context, etcd *clientv3.Client) error {
		return etcd.RequestProgress(ctx)
	})
}
