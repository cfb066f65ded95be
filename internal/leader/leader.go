// Package leader elects one of several processes and gives it a fence, which etcd checks with each of its writes.
package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// The pauses between attempts while etcd is unreachable or the elected function fails.
const (
	retryFirst = 100 * time.Millisecond
	retryMax   = 5 * time.Second
	// resignTimeout bounds the last request of a stopping process: its lease ends by itself anyway.
	resignTimeout = 2 * time.Second
)

// Run campaigns for the leadership of name, as id, until ctx ends; then it resigns, so that another candidate takes
// over at once, and returns nil. While leading it runs elected. The context of elected ends as soon as leadership is
// lost, or could not be confirmed for so long that the lease may be near its end: always before another candidate can
// lead, provided that elected returns within a quarter of the ttl and that the lease is not revoked by hand. Its writes
// must carry the fence, which etcd rejects from the moment leadership is lost, whatever the clocks say.
//
// If elected returns while still leading, it has given up: Run resigns, pauses and campaigns again.
func Run(ctx context.Context, s store.Interface, keys keyspace.Keys, name, id string, ttl time.Duration,
	elected func(ctx context.Context, fence store.Fence) error) error {
	c := &candidate{
		store:   s,
		prefix:  keys.Leader(name) + "/",
		id:      id,
		ttl:     ttl,
		elected: elected,
		log:     logr.FromContextOrDiscard(ctx).WithValues("election", name),
	}
	retry := store.Backoff{First: retryFirst, Max: retryMax}
	for ctx.Err() == nil {
		started := time.Now()
		err := c.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if time.Since(started) > ttl {
			retry.Reset()
		}
		after := retry.Next()
		c.log.Info("Not leading, will campaign again", "error", fmt.Sprint(err), "after", after)
		if errors.Is(err, errGaveUp) {
			c.resign(ctx, "GaveUp")
		}
		store.Sleep(ctx, after)
	}
	c.resign(ctx, "Stopping")
	return nil
}

// candidate is one process in one election.
type candidate struct {
	store   store.Interface
	prefix  string
	id      string
	ttl     time.Duration
	elected func(context.Context, store.Fence) error
	log     logr.Logger

	// lease is kept from one session to the next: after a short outage of etcd it and its key still exist, and the
	// candidate keeps its place.
	lease store.LeaseID
}

var (
	// errGaveUp: the elected function returned by itself.
	errGaveUp = errors.New("the elected function returned")
	// errUnconfirmed: etcd did not answer for so long that the lease may have ended.
	errUnconfirmed = errors.New("the lease could not be renewed in time")
	errKeyGone     = errors.New("the leader key was deleted")
)

// session campaigns and leads under one lease, and returns why it ended. All its goroutines have ended by then.
func (c *candidate) session(ctx context.Context) error {
	asked := time.Now()
	if err := c.takeLease(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		cancel(c.renew(ctx, asked))
	}()
	err := c.campaign(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, errGaveUp) {
		err = cause
	}
	cancel(err)
	<-renewed
	return err
}

// takeLease reuses the lease of the last session if it is still alive.
func (c *candidate) takeLease(ctx context.Context) error {
	if c.lease != 0 {
		_, err := c.store.KeepAlive(ctx, c.lease)
		if !errors.Is(err, store.ErrLeaseNotFound) {
			return err
		}
	}
	lease, err := c.store.Grant(ctx, c.ttl)
	c.lease = lease
	return err
}

// renew keeps the lease alive and returns the reason when it cannot any longer. The lease lives at least a ttl from the
// start of its last successful renewal; three quarters of that are used.
func (c *candidate) renew(ctx context.Context, asked time.Time) error {
	retry := store.Backoff{First: retryFirst, Max: max(c.ttl/10, retryFirst)}
	for {
		confirmed, cancel := context.WithDeadlineCause(ctx, asked.Add(c.ttl*3/4), errUnconfirmed)
		err := c.renewOnce(confirmed, &asked, &retry)
		cause := context.Cause(confirmed)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
		case errors.Is(err, store.ErrLeaseNotFound):
			return err
		default:
			return fmt.Errorf("%w: %w", cause, err)
		}
	}
}

// renewOnce waits for a third of the ttl, then retries until it succeeds or ctx, the deadline of the last renewal,
// ends.
func (c *candidate) renewOnce(ctx context.Context, asked *time.Time, retry *store.Backoff) error {
	pause := time.Until(asked.Add(c.ttl / 3))
	for {
		store.Sleep(ctx, pause)
		now := time.Now()
		_, err := c.store.KeepAlive(ctx, c.lease)
		if err == nil {
			*asked = now
			retry.Reset()
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, store.ErrLeaseNotFound) {
			return err
		}
		c.log.V(1).Info("Failed to renew the lease, will retry", "error", err.Error())
		pause = retry.Next()
	}
}

// campaign puts the candidate's key, waits until it is the oldest one, and leads.
func (c *candidate) campaign(ctx context.Context) error {
	key := c.prefix + c.lease.String()
	for {
		candidates, revision, err := c.candidates(ctx)
		if err != nil {
			return err
		}
		own, before := place(candidates, key)
		switch {
		case own == nil:
			if err := c.enter(ctx, key); err != nil {
				return err
			}
		case before == nil:
			return c.lead(ctx, store.Fence{Key: key, CreateRevision: own.CreateRevision}, revision)
		default:
			c.log.V(1).Info("Waiting for the leadership", "behind", string(before.Value))
			if err := c.waitDeleted(ctx, before.Key, revision); err != nil {
				return err
			}
		}
	}
}

// enter puts the candidate's key. On a conflict, either an earlier attempt whose answer was lost has put it, or it was
// put by hand without a lease: such a key belongs to no candidate and would never end, so it is deleted.
func (c *candidate) enter(ctx context.Context, key string) error {
	_, err := c.store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, Value: []byte(c.id), Lease: c.lease, If: store.Absent()}}})
	if !errors.Is(err, store.ErrConflict) {
		return err
	}
	kv, ok, _, err := c.store.Get(ctx, key)
	if err != nil || !ok || kv.Lease != 0 {
		return err
	}
	c.log.Info("Deleting a leader key that has no lease", "reason", "NoLease", "key", key)
	_, err = c.store.Commit(ctx, store.Txn{Ops: []store.Op{{Key: key, If: store.Unchanged(kv.ModRevision)}}})
	return err
}

func (c *candidate) candidates(ctx context.Context) (candidates []store.KV, revision int64, err error) {
	revision, err = store.ListAll(ctx, c.store, c.prefix, store.ListOptions{}, func(kv store.KV) error {
		if kv.Lease == 0 { // not a candidate's: it would never expire
			c.log.Info("Ignoring key", "reason", "NoLease", "key", kv.Key)
			return nil
		}
		candidates = append(candidates, kv)
		return nil
	})
	return candidates, revision, err
}

// place returns the candidate's own key and the one just before it, nil if there is none.
func place(candidates []store.KV, key string) (own, before *store.KV) {
	for i := range candidates {
		if candidates[i].Key == key {
			own = &candidates[i]
		}
	}
	if own == nil {
		return nil, nil
	}
	for i := range candidates {
		kv := &candidates[i]
		if kv.CreateRevision < own.CreateRevision && (before == nil || kv.CreateRevision > before.CreateRevision) {
			before = kv
		}
	}
	return own, before
}

// waitDeleted waits until a key that existed at that revision is gone. A candidate watches only the key before its own,
// so that a change of leader wakes one process.
func (c *candidate) waitDeleted(ctx context.Context, key string, revision int64) error {
	_, err := store.WaitEvent(ctx, c.store, store.SeenKey{Key: key, There: true, Revision: revision}, nil, store.Deleted)
	if errors.Is(err, store.ErrCompacted) {
		return nil // look again
	}
	return err
}

// lead runs the elected function until it returns. Its context ends with the session, or when the leader key is
// deleted.
func (c *candidate) lead(ctx context.Context, fence store.Fence, revision int64) error {
	c.log.Info("Leading", "reason", "Elected", "key", fence.Key, "createRevision", fence.CreateRevision)
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		c.watchOwnKey(ctx, cancel, fence, revision)
	}()
	err := c.elected(ctx, fence)
	lost := context.Cause(ctx)
	cancel(nil)
	<-watched
	if lost != nil {
		c.log.Info("Leading ended", "reason", "Lost", "cause", lost.Error(), "error", fmt.Sprint(err))
		return lost
	}
	c.log.Info("Leading ended", "reason", "GaveUp", "error", fmt.Sprint(err))
	return fmt.Errorf("%w: %v", errGaveUp, err)
}

func (c *candidate) watchOwnKey(ctx context.Context, cancel context.CancelCauseFunc, fence store.Fence, revision int64) {
	retry := store.Backoff{First: retryFirst, Max: retryMax}
	for {
		if err := c.waitDeleted(ctx, fence.Key, revision); err != nil {
			if !store.Sleep(ctx, retry.Next()) {
				return
			}
		}
		// Deleted, or the watch has a gap: read the key.
		kv, ok, now, err := c.store.Get(ctx, fence.Key)
		switch {
		case err != nil:
		case !ok || kv.CreateRevision != fence.CreateRevision:
			cancel(errKeyGone)
			return
		default:
			revision = now
		}
	}
}

// resign ends the lease, and with it the key, so that the next candidate need not wait.
func (c *candidate) resign(ctx context.Context, reason string) {
	if c.lease == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	c.log.Info("Resigning", "reason", reason)
	if err := c.store.Revoke(ctx, c.lease); err != nil && !errors.Is(err, store.ErrLeaseNotFound) {
		c.log.Info("Failed to resign, the lease will expire", "ttl", c.ttl, "error", err.Error())
	}
	c.lease = 0
}
