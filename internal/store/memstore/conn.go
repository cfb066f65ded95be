package memstore

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// Conn is one client's connection to a Store, which can be cut.
type Conn struct {
	s *Store

	// The fields below are guarded by the store's lock.
	down, lose bool
	old        OldEtcd
	watches    map[*watch]struct{}
}

var _ store.Interface = (*Conn)(nil)

// Connect returns a new connection, for one client of the simulation.
func (s *Store) Connect() *Conn { return &Conn{s: s, watches: make(map[*watch]struct{})} }

// SetDown cuts or restores the connection. While it is cut, calls fail with ErrUnavailable and watches are silent;
// afterwards watches continue where they were, or end with ErrCompacted.
func (c *Conn) SetDown(down bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.down = down
	for w := range c.watches {
		if down {
			w.pending, w.held, w.synced = nil, nil, false
		}
		w.wake()
	}
}

// LoseAnswers makes commits take effect but return ErrUnavailable.
func (c *Conn) LoseAnswers(lose bool) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	c.lose = lose
}

// begin takes the store's lock for one call if the connection is up.
func (c *Conn) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		if err == context.DeadlineExceeded {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
		return err
	}
	c.s.mu.Lock()
	if c.down {
		c.s.mu.Unlock()
		return fmt.Errorf("%w: the connection is cut", store.ErrUnavailable)
	}
	return nil
}

// Get implements store.Interface.
func (c *Conn) Get(ctx context.Context, key string) (kv store.KV, ok bool, revision int64, err error) {
	if err := c.begin(ctx); err != nil {
		return store.KV{}, false, 0, err
	}
	defer c.s.mu.Unlock()
	kv, ok = c.s.keys.Get(store.KV{Key: key})
	return kv, ok, c.s.revision, nil
}

// List implements store.Interface. Past revisions are available as far as history is kept.
func (c *Conn) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	if err := c.begin(ctx); err != nil {
		return store.Page{}, err
	}
	defer c.s.mu.Unlock()
	keys, revision, err := c.s.at(opts.Revision)
	if err != nil {
		return store.Page{}, err
	}
	limit := int(opts.Limit)
	if limit <= 0 {
		limit = store.DefaultPageSize
	}
	page := store.Page{Revision: revision}
	keys.AscendGreaterOrEqual(store.KV{Key: max(prefix, opts.From, opts.After)}, func(kv store.KV) bool {
		switch {
		case kv.Key == opts.After:
			return true
		case !strings.HasPrefix(kv.Key, prefix) || opts.Before != "" && kv.Key >= opts.Before:
			return false
		}
		page.Count++
		switch {
		case kv.ModRevision <= opts.ChangedAfter:
			return true
		case len(page.KVs) == limit:
			page.More = true
			return true
		}
		if opts.KeysOnly {
			kv.Value, kv.Lease = nil, 0
		}
		page.KVs = append(page.KVs, kv)
		return true
	})
	return page, nil
}

// Commit implements store.Interface.
func (c *Conn) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	defer c.s.mu.Unlock()
	revision, err := c.s.commit(txn)
	if c.lose {
		return 0, fmt.Errorf("%w: the answer was lost", store.ErrUnavailable)
	}
	return revision, err
}

// Grant implements store.Interface.
func (c *Conn) Grant(ctx context.Context, ttl time.Duration) (store.LeaseID, error) {
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	defer c.s.mu.Unlock()
	if c.s.full {
		return 0, store.ErrNoSpace
	}
	c.s.lastLease++
	id := c.s.lastLease
	l := &lease{ttl: (ttl + time.Second - 1).Truncate(time.Second), keys: make(map[string]struct{}), granted: c.s.revision}
	c.s.leases[id] = l
	c.s.renew(id, l)
	return id, nil
}

// KeepAlive implements store.Interface.
func (c *Conn) KeepAlive(ctx context.Context, id store.LeaseID) (time.Duration, error) {
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	defer c.s.mu.Unlock()
	l := c.s.leases[id]
	if l != nil && c.revokes(id) {
		c.s.revoke(id)
		l = nil
	}
	if l == nil || !l.ends.After(c.s.now()) {
		return 0, fmt.Errorf("keep alive %s: %w", id, store.ErrLeaseNotFound)
	}
	c.s.renew(id, l)
	return l.ttl, nil
}

// Revoke implements store.Interface.
func (c *Conn) Revoke(ctx context.Context, id store.LeaseID) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	if c.s.leases[id] == nil {
		return fmt.Errorf("revoke %s: %w", id, store.ErrLeaseNotFound)
	}
	c.s.revoke(id)
	return nil
}

// RequestProgress implements store.Interface.
func (c *Conn) RequestProgress(ctx context.Context) error {
	if err := c.begin(ctx); err != nil {
		return err
	}
	defer c.s.mu.Unlock()
	for w := range c.watches {
		w.asked = true
		w.wake()
	}
	return nil
}

// commit applies a transaction whose conditions hold.
func (s *Store) commit(txn store.Txn) (int64, error) {
	if err := s.check(txn); err != nil {
		return 0, err
	}
	if txn.Fence != (store.Fence{}) {
		leader, ok := s.keys.Get(store.KV{Key: txn.Fence.Key})
		if !ok || leader.CreateRevision != txn.Fence.CreateRevision {
			return 0, fmt.Errorf("write: %w", store.ErrFenced)
		}
	}
	for _, op := range txn.Ops {
		kv, _ := s.keys.Get(store.KV{Key: op.Key})
		if !op.If.Holds(kv) {
			return 0, fmt.Errorf("write %s: %w", op.Key, store.ErrConflict)
		}
	}
	for _, op := range txn.Ops {
		if op.Value != nil && op.Lease != 0 && s.leases[op.Lease] == nil {
			return 0, fmt.Errorf("write %s under %s: %w", op.Key, op.Lease, store.ErrLeaseNotFound)
		}
	}
	return s.apply(txn.Ops), nil
}
