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

// hold keeps the key under the lease.
func (e *endpoint) hold(ctx context.Context) {
	_ = store.HoldKey(ctx, e.store, store.HeldKey{
		Key: e.key, Put: e.put, Until: store.Deleted, Retry: store.Backoff{First: 100 * time.Millisecond, Max: e.ttl / 3},
		Lease: store.KeptLease{TTL: e.ttl, Log: e.log, OnLease: func(id store.LeaseID, _ bool) {
			e.mu.Lock()
			e.lease = id
			e.mu.Unlock()
		}},
	})
}

// put is the key under the lease. The first time it overwrites any holder: this instance is the newest. Later, after a lost
// lease or a deleted key, it only creates the key: another holder means that the instance was replaced while this machine
// was cut off.
func (e *endpoint) put(_ context.Context, read store.ReadKey) (*store.Op, error) {
	condition := store.Absent()
	switch mine := string(read.Value) == e.value; {
	case read.There && mine && read.Lease == read.Holding:
		return nil, nil
	case read.There && !mine && read.Held != 0:
		e.log.Info("Not announcing", "reason", "Replaced", "by", string(read.Value))
		return nil, nil
	case read.There:
		condition = store.Unchanged(read.ModRevision)
	}
	e.log.V(1).Info("Putting the endpoint", "key", e.key, "value", e.value)
	return &store.Op{Key: e.key, Value: []byte(e.value), Lease: read.Holding, If: condition}, nil
}
