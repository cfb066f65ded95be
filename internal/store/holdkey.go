package store

import (
	"context"
	"sync"
	"time"
)

// HeldKey configures HoldKey.
type HeldKey struct {
	Key string
	// Lease is the lease that the key is held under.
	Lease KeptLease
	// Put returns the write that makes the key what it should be, or nil to leave it as it is. It may wait for what is
	// there to change. An error ends HoldKey.
	Put func(ctx context.Context, read ReadKey) (*Op, error)
	// OnHeld, if set, is called after each look at the key that found or put it under the lease.
	OnHeld func()
	// Wake has the key looked at again, for a caller whose Put would return something else now. It needs room for one
	// value.
	Wake chan struct{}
	// Until are the events of the key after which it is looked at again; nil means all.
	Until func(Event) bool
	// Retry are the pauses while etcd is unreachable.
	Retry Backoff
}

// ReadKey is what HoldKey read of its key: KV is empty if it does not exist.
type ReadKey struct {
	KV
	There    bool
	Revision int64
	// Holding is the lease to hold the key under, Held the one that it was held under last, 0 for none.
	Holding, Held LeaseID
}

// HoldKey keeps a key under a lease until ctx ends, and then returns nil: it puts the key again when it was deleted, when
// the lease has ended and was replaced, and whenever Put says so. It does not delete the key, so that a restarted process can
// adopt the lease; Revoke does.
func HoldKey(ctx context.Context, s Interface, held HeldKey) error {
	h := holder{HeldKey: held, store: s}
	if h.Wake == nil {
		h.Wake = make(chan struct{}, 1)
	}
	ctx, cancel := context.WithCancel(ctx)
	var keeping sync.WaitGroup
	defer keeping.Wait()
	defer cancel()
	kept := held.Lease
	kept.OnLease = h.onLease
	keeping.Go(func() { _ = KeepLease(ctx, s, kept) })
	for {
		pause, err := h.look(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || !Sleep(ctx, pause) {
			return err
		}
	}
}

type holder struct {
	HeldKey
	store Interface
	held  LeaseID

	mu    sync.Mutex
	lease LeaseID
}

func (h *holder) onLease(id LeaseID, adopted bool) {
	if h.Lease.OnLease != nil {
		h.Lease.OnLease(id, adopted)
	}
	h.mu.Lock()
	h.lease = id
	h.mu.Unlock()
	select {
	case h.Wake <- struct{}{}:
	default: // only the newest lease matters
	}
}

// look has the key be what it should be, and returns when that may have changed, or a pause to look again after.
func (h *holder) look(ctx context.Context) (pause time.Duration, err error) {
	h.mu.Lock()
	lease := h.lease
	h.mu.Unlock()
	if lease == 0 {
		select {
		case <-h.Wake:
		case <-ctx.Done():
		}
		return 0, nil
	}
	kv, there, revision, err := h.store.Get(ctx, h.Key)
	if err != nil {
		return h.retry(err), nil
	}
	op, err := h.Put(ctx, ReadKey{KV: kv, There: there, Revision: revision, Holding: lease, Held: h.held})
	if err != nil {
		return 0, err
	}
	if op != nil {
		if revision, err = h.store.Commit(ctx, Txn{Ops: []Op{*op}}); err != nil {
			return h.retry(err), nil
		}
	}
	h.Retry.Reset()
	if op != nil || there && kv.Lease == lease {
		h.held = lease
		if h.OnHeld != nil {
			h.OnHeld()
		}
	}
	if _, err := WaitEvent(ctx, h.store, SeenKey{h.Key, there || op != nil, revision}, h.Wake, h.Until); err != nil {
		return Around(time.Second), nil
	}
	return 0, nil
}

func (h *holder) retry(err error) time.Duration {
	pause := h.Retry.Next()
	h.Lease.Log.V(1).Info("Holding the key failed, will retry", "key", h.Key, "error", err.Error(), "after", pause)
	return pause
}
