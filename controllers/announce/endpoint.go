package announce

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/store"
)

// endpoint is one etcd key, held under its own lease while announced.
type endpoint struct {
	store store.Interface
	key   string
	value string
	ttl   time.Duration
	log   logr.Logger

	cancel context.CancelFunc // stops hold; nil if not announced
	done   chan struct{}

	mu    sync.Mutex
	lease store.LeaseID
}

// held reports whether the endpoint is announced, or will be once etcd is available.
func (e *endpoint) held() bool { return e.cancel != nil }

// announce puts the key and keeps it until withdraw is called or ctx ends.
func (e *endpoint) announce(ctx context.Context) {
	ctx, e.cancel = context.WithCancel(ctx)
	e.done = make(chan struct{})
	go func() {
		defer close(e.done)
		e.hold(ctx)
	}()
}

// withdraw revokes the lease, which deletes the key. If etcd cannot be reached before ctx ends, the key expires with the
// lease.
func (e *endpoint) withdraw(ctx context.Context) error {
	e.cancel()
	<-e.done
	e.cancel = nil
	e.mu.Lock()
	lease := e.lease
	e.lease = 0
	e.mu.Unlock()
	if lease == 0 {
		return nil
	}
	retry := store.Backoff{First: 100 * time.Millisecond, Max: time.Second}
	for {
		err := e.store.Revoke(ctx, lease)
		if err == nil || errors.Is(err, store.ErrLeaseNotFound) {
			return nil
		}
		if !store.Sleep(ctx, retry.Next()) {
			return err
		}
	}
}

// hold keeps the lease alive and the key under it.
func (e *endpoint) hold(ctx context.Context) {
	renewed := make(chan struct{}, 1)
	var keeping sync.WaitGroup
	keeping.Go(func() {
		_ = store.KeepLease(ctx, e.store, store.KeptLease{TTL: e.ttl, Log: e.log, OnLease: func(id store.LeaseID, _ bool) {
			e.mu.Lock()
			e.lease = id
			e.mu.Unlock()
			select {
			case renewed <- struct{}{}:
			default: // only the newest lease matters
			}
		}})
	})
	defer keeping.Wait()
	select {
	case <-renewed:
	case <-ctx.Done():
		return
	}
	retry := store.Backoff{First: 100 * time.Millisecond, Max: e.ttl / 3}
	for first := true; ctx.Err() == nil; {
		e.mu.Lock()
		lease := e.lease
		e.mu.Unlock()
		revision, err := e.put(ctx, lease, first)
		if err != nil {
			e.log.V(1).Info("Announcing failed, will retry", "error", err.Error())
			store.Sleep(ctx, retry.Next())
			continue
		}
		first = false
		retry.Reset()
		seen := store.SeenKey{Key: e.key, There: true, Revision: revision}
		if _, err := store.WaitEvent(ctx, e.store, seen, renewed, store.Deleted); err != nil {
			store.Sleep(ctx, time.Second)
		}
	}
}

// put writes the key under the lease. The first time it overwrites any holder: this instance is the newest. Later, after
// a lost lease or a deleted key, it only creates the key: another holder means that the instance was replaced while this
// machine was cut off.
func (e *endpoint) put(ctx context.Context, lease store.LeaseID, first bool) (int64, error) {
	kv, exists, revision, err := e.store.Get(ctx, e.key)
	if err != nil {
		return 0, err
	}
	condition := store.Absent()
	switch {
	case exists && string(kv.Value) == e.value && kv.Lease == lease:
		return revision, nil
	case exists && string(kv.Value) != e.value && !first:
		e.log.Info("Not announcing", "reason", "Replaced", "by", string(kv.Value))
		return revision, nil
	case exists:
		condition = store.Unchanged(kv.ModRevision)
	}
	e.log.V(1).Info("Putting the endpoint", "key", e.key, "value", e.value)
	return e.store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: e.key, Value: []byte(e.value), Lease: lease, If: condition}}})
}
