package store

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
)

// KeptLease configures KeepLease.
type KeptLease struct {
	// TTL is how long the lease outlives its owner.
	TTL time.Duration
	// Adopt is the lease of an earlier run, or 0. If it is still alive it is kept, with its keys; if it has another TTL, one with
	// this TTL takes its place and the keys have to be moved to it.
	Adopt LeaseID
	// OnLease is called first with the lease that is kept, then whenever it has ended and was replaced: the keys under
	// it are gone and have to be put again. adopted means that the lease is Adopt, or takes its place, and that the keys exist.
	// It runs in the loop: nothing is renewed while it blocks.
	OnLease func(id LeaseID, adopted bool)
	// OnAsked, if set, is called after each attempt to renew or grant the lease: until is the earliest time at which
	// the lease ends, err why that is unknown. It runs in the loop, after OnLease.
	OnAsked func(until time.Time, err error)
	Log     logr.Logger
}

// KeepLease keeps a lease alive until ctx ends, and returns ctx's error. It retries for as long as etcd is unreachable.
// It does not revoke the lease, so that a restarted process can adopt it. At rest it sends one keep-alive per third of
// the TTL.
func KeepLease(ctx context.Context, s Interface, lease KeptLease) error {
	id := lease.Adopt
	adopting := id != 0
	// Often enough to renew a lease that has only a few seconds left when etcd is back.
	retry := Backoff{First: 100 * time.Millisecond, Max: lease.TTL / 10}
	for {
		asked := time.Now()
		err, left := ErrLeaseNotFound, lease.TTL
		if id != 0 {
			left, err = s.KeepAlive(ctx, id)
		}
		if err == nil && adopting {
			id, left = adopt(ctx, s, lease, left)
		}
		if errors.Is(err, ErrLeaseNotFound) {
			if id != 0 {
				lease.Log.Info("Lease has ended", "lease", id.String(), "reason", "LeaseNotFound")
			}
			id, err = grant(ctx, s, lease)
			left = lease.TTL
		}
		if lease.OnAsked != nil {
			lease.OnAsked(asked.Add(left), err)
		}
		wait := min(left, lease.TTL) / 3 // an adopted lease may have a shorter TTL
		if err != nil {
			wait = retry.Next()
			lease.Log.V(1).Info("Failed to keep the lease alive, will retry", "error", err.Error(), "after", wait)
		} else {
			adopting = false
			retry.Reset()
		}
		if !Sleep(ctx, wait) {
			return ctx.Err()
		}
	}
}

// adopt returns the lease to keep, and its TTL, where that of an earlier run is alive. A lease keeps the TTL that it was granted:
// where that is not what is asked for any more, it is replaced, unless etcd grants none.
func adopt(ctx context.Context, s Interface, lease KeptLease, ttl time.Duration) (LeaseID, time.Duration) {
	id := lease.Adopt
	if wanted := (lease.TTL + time.Second - 1).Truncate(time.Second); ttl != wanted { // etcd counts in whole seconds
		replacement, err := s.Grant(ctx, lease.TTL)
		if err == nil {
			lease.Log.Info("Replaced lease", "lease", replacement.String(), "old", id.String(), "ttl", wanted, "oldTTL", ttl, "reason", "TTLChanged")
			lease.OnLease(replacement, true)
			return replacement, wanted
		}
		lease.Log.Error(err, "Cannot replace the lease, its TTL stays until the next start", "lease", id.String(), "ttl", wanted, "oldTTL", ttl)
	}
	lease.Log.Info("Adopted lease", "lease", id.String())
	lease.OnLease(id, true)
	return id, ttl
}

func grant(ctx context.Context, s Interface, lease KeptLease) (LeaseID, error) {
	id, err := s.Grant(ctx, lease.TTL)
	if err != nil {
		return 0, err
	}
	lease.Log.Info("Granted lease", "lease", id.String(), "ttl", lease.TTL)
	lease.OnLease(id, false)
	return id, nil
}

// Sleep waits for d or for ctx, and reports whether ctx is still alive.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
