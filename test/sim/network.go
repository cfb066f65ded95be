package sim

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
	"github.com/fleet-starter/fleet/internal/store/memstore"
)

// network is how a host reaches etcd.
type network int

const (
	connected network = iota
	cutOff            // nothing gets through
	deaf              // the host can send but not receive: answers and watches are lost
)

func (n network) String() string { return [...]string{"connected", "cut off", "deaf"}[n] }

// requestTimeout is etcd_request_timeout.
const requestTimeout = time.Second

// conn is one process's connection to etcd. It implements store.Interface.
type conn struct {
	w       *world
	p       *process
	user    string // the part of the process: two may make the same request at the same moment
	calls   *memstore.Conn
	watches *memstore.Conn // down while the host cannot receive
}

func newConn(w *world, p *process) *conn {
	c := &conn{w: w, p: p, calls: w.etcd.Connect(), watches: w.etcd.Connect()}
	c.follow()
	w.age(c)
	return c
}

// as is the connection as used by one part of the process.
func (c *conn) as(user string) *conn {
	own := *c
	own.user = user
	return &own
}

// follow updates the watches' connection state.
func (c *conn) follow() { c.watches.SetDown(c.network() != connected || c.p.dead()) }

func (c *conn) network() network {
	if c.w.away.Load() {
		return cutOff
	}
	if alone := network(c.p.alone.Load()); alone != connected || c.p.host == nil {
		return alone
	}
	return network(c.p.host.network.Load())
}

func (c *conn) timeout(ctx context.Context, what, key string) error {
	if err := c.p.pause(ctx, c.w.exactly(requestTimeout, "timeout", c.p.name, c.user, what, key)); err != nil {
		return err
	}
	return fmt.Errorf("%w: no answer within %s", store.ErrUnavailable, requestTimeout)
}

// call is one request and its answer. Either may get lost.
func (c *conn) call(ctx context.Context, what, key string, do func() error) error {
	if strings.HasPrefix(key, c.w.keys.Events().Prefix()) {
		key = c.w.keys.Events().Prefix() // the rest is random
	}
	if err := c.p.pause(ctx, c.w.delay("send", c.p.name, c.user, what, key)); err != nil {
		return err
	}
	if c.network() == cutOff {
		return c.timeout(ctx, what, key)
	}
	effect := do()
	if err := c.p.pause(ctx, c.w.delay("answer", c.p.name, c.user, what, key)); err != nil {
		return err
	}
	if c.network() != connected {
		return c.timeout(ctx, what, key)
	}
	return effect
}

// write is a call that changes something.
func (c *conn) write(ctx context.Context, what, key string, do func() error) error {
	return c.call(ctx, what, key, func() error {
		c.w.commit.Lock()
		defer c.w.commit.Unlock()
		before := c.w.etcd.Revision()
		err := do()
		after := c.w.etcd.Revision()
		if _, noted := c.w.writers[after]; after > before && !noted { // a trap makes its own writes
			c.w.writers[after] = writer{c.p, c.user}
		}
		return err
	})
}

func (c *conn) Get(ctx context.Context, key string) (kv store.KV, ok bool, revision int64, err error) {
	err = c.call(ctx, "get", key, func() (err error) {
		kv, ok, revision, err = c.calls.Get(context.Background(), key)
		kv.Value = c.p.knows(key, kv.Value)
		return err
	})
	return kv, ok, revision, err
}

func (c *conn) List(ctx context.Context, prefix string, opts store.ListOptions) (page store.Page, err error) {
	err = c.call(ctx, "list", prefix+opts.After, func() (err error) {
		page, err = c.calls.List(context.Background(), prefix, opts)
		page.KVs = c.p.asRead(page.KVs)
		return err
	})
	return page, err
}

func (c *conn) Commit(ctx context.Context, txn store.Txn) (revision int64, err error) {
	if c.w.slow(c.p, c.user) {
		if err := c.p.pause(ctx, c.w.exactly(slowWrite, "slow", c.p.name, c.user, txn.Ops[0].Key)); err != nil {
			return 0, err
		}
	}
	txn = c.p.asWritten(txn)
	err = c.write(ctx, "commit", txn.Ops[0].Key, func() error {
		sprung := c.w.spring(c.p, c.user, txn)
		sprung.before(c.p)
		revision, err = c.calls.Commit(context.Background(), txn)
		sprung.after(c.p)
		if err != nil {
			c.w.tell(c.p.name, "refused: %s", eventName.ReplaceAllString(err.Error(), "$1"))
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return revision, nil
}

func (c *conn) Grant(ctx context.Context, ttl time.Duration) (id store.LeaseID, err error) {
	err = c.call(ctx, "grant", ttl.String(), func() (err error) {
		id, err = c.calls.Grant(context.Background(), ttl)
		return err
	})
	return id, err
}

func (c *conn) KeepAlive(ctx context.Context, id store.LeaseID) (left time.Duration, err error) {
	err = c.call(ctx, "keepalive", id.String(), func() (err error) {
		left, err = c.calls.KeepAlive(context.Background(), id)
		return err
	})
	return left, err
}

// eventName finds the key of an event up to its random end, which no two runs share.
var eventName = regexp.MustCompile(`(/events/[0-9TZ.]+-)[0-9a-f]+`)

func (c *conn) Revoke(ctx context.Context, id store.LeaseID) error {
	return c.write(ctx, "revoke", id.String(), func() error { return c.calls.Revoke(context.Background(), id) })
}

func (c *conn) RequestProgress(ctx context.Context) error {
	return c.call(ctx, "progress", "", func() error { return c.watches.RequestProgress(context.Background()) })
}

// Watch delays every batch, keeping their order.
func (c *conn) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	out := make(chan store.Batch)
	inner, cancel := context.WithCancel(ctx)
	batches := c.watches.Watch(inner, prefix, after)
	go func() {
		defer close(out)
		defer func() {
			cancel()
			for range batches { // until its goroutine has ended
			}
		}()
		if c.p.pause(ctx, c.w.delay("watch", c.p.name, c.user, prefix)) != nil {
			return
		}
		for batch := range batches {
			life := c.w.restores.Load()
			if c.p.pause(ctx, c.w.delay("batch", c.p.name, c.user, prefix)) != nil || !c.arrives(ctx, prefix) {
				return
			}
			if c.w.restores.Load() != life {
				continue // it was in flight when etcd was lost
			}
			select {
			case out <- c.p.asWatched(batch):
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// arrives holds back batches for a host that cannot receive.
func (c *conn) arrives(ctx context.Context, prefix string) bool {
	for c.network() != connected {
		if c.p.pause(ctx, c.w.exactly(100*time.Millisecond+c.w.delay("held").takes, "held", c.p.name, c.user, prefix)) != nil {
			return false
		}
	}
	return true
}

var _ store.Interface = (*conn)(nil)
