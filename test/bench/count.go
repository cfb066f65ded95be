package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-starter/fleet/internal/store"
)

// traffic is what went through a counted store. The maps are by row: units, placements, states ...
type traffic struct {
	// Gets, Lists, Commits and KeepAlives are requests; Messages are those that watches received.
	Gets, Lists, Commits, KeepAlives, Messages int64
	// Bytes are keys and values received by watches.
	Bytes int64
	// Puts and PutBytes (keys and values) are those of committed transactions; deletes count as puts.
	Puts, PutBytes map[string]int64
	// Events are the changes received by watches.
	Events map[string]int64
}

func (t traffic) puts() (n, size int64) {
	for row := range t.Puts {
		n, size = n+t.Puts[row], size+t.PutBytes[row]
	}
	return n, size
}

// counted is a store that counts its traffic.
type counted struct {
	store.Interface
	root string
	// written is called after each committed transaction.
	written func([]store.Op)

	gets, lists, commits, keepAlives, messages, bytes atomic.Int64

	mu                     sync.Mutex
	puts, putBytes, events map[string]int64
}

func count(s store.Interface, root string, written func([]store.Op)) *counted {
	return &counted{Interface: s, root: root, written: written, puts: map[string]int64{}, putBytes: map[string]int64{}, events: map[string]int64{}}
}

// row returns the row of a key: its first part below the root. A key outside the root is "other".
func (c *counted) row(key string) string {
	rest, ok := strings.CutPrefix(key, c.root)
	if !ok {
		return "other"
	}
	row, _, _ := strings.Cut(rest, "/")
	return row
}

func (c *counted) traffic() traffic {
	c.mu.Lock()
	defer c.mu.Unlock()
	clone := func(m map[string]int64) map[string]int64 { return sum(map[string]int64{}, m) }
	return traffic{
		Gets: c.gets.Load(), Lists: c.lists.Load(), Commits: c.commits.Load(), KeepAlives: c.keepAlives.Load(),
		Messages: c.messages.Load(), Bytes: c.bytes.Load(), Puts: clone(c.puts), PutBytes: clone(c.putBytes), Events: clone(c.events),
	}
}

func sum(to, from map[string]int64) map[string]int64 {
	for k, v := range from {
		to[k] += v
	}
	return to
}

// plus returns the sum, without changing either.
func (t traffic) plus(o traffic) traffic {
	both := func(a, b map[string]int64) map[string]int64 { return sum(sum(map[string]int64{}, a), b) }
	return traffic{
		Gets: t.Gets + o.Gets, Lists: t.Lists + o.Lists, Commits: t.Commits + o.Commits, KeepAlives: t.KeepAlives + o.KeepAlives,
		Messages: t.Messages + o.Messages, Bytes: t.Bytes + o.Bytes,
		Puts: both(t.Puts, o.Puts), PutBytes: both(t.PutBytes, o.PutBytes), Events: both(t.Events, o.Events),
	}
}

func (c *counted) Get(ctx context.Context, key string) (store.KV, bool, int64, error) {
	c.gets.Add(1)
	return c.Interface.Get(ctx, key)
}

func (c *counted) List(ctx context.Context, prefix string, opts store.ListOptions) (store.Page, error) {
	c.lists.Add(1)
	return c.Interface.List(ctx, prefix, opts)
}

func (c *counted) KeepAlive(ctx context.Context, id store.LeaseID) (time.Duration, error) {
	c.keepAlives.Add(1)
	return c.Interface.KeepAlive(ctx, id)
}

func (c *counted) Commit(ctx context.Context, txn store.Txn) (int64, error) {
	c.commits.Add(1)
	revision, err := c.Interface.Commit(ctx, txn)
	if err != nil {
		return revision, err
	}
	c.mu.Lock()
	for _, op := range txn.Ops {
		if op.Check {
			continue
		}
		row := c.row(op.Key)
		c.puts[row]++
		c.putBytes[row] += int64(len(op.Key) + len(op.Value))
	}
	c.mu.Unlock()
	if c.written != nil {
		c.written(txn.Ops)
	}
	return revision, nil
}

func (c *counted) Watch(ctx context.Context, prefix string, after int64) <-chan store.Batch {
	out := make(chan store.Batch)
	in := c.Interface.Watch(ctx, prefix, after)
	go func() {
		defer close(out)
		for batch := range in {
			c.note(batch)
			out <- batch // readers drain the channel
		}
	}()
	return out
}

func (c *counted) note(batch store.Batch) {
	c.messages.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range batch.Events {
		c.events[c.row(e.Key)]++
		c.bytes.Add(int64(len(e.Key) + len(e.Value)))
	}
}

// goal is reached when a number of keys of a row for which check holds have been written.
type goal struct {
	prefix string
	check  func(value []byte) bool
	wanted int

	mu      sync.Mutex
	seen    map[string]struct{}
	reached time.Time
	done    chan struct{}
}

func newGoal(prefix string, wanted int, check func([]byte) bool) *goal {
	return &goal{prefix: prefix, wanted: wanted, check: check, seen: map[string]struct{}{}, done: make(chan struct{})}
}

func (g *goal) note(ops []store.Op) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, op := range ops {
		if op.Value != nil && strings.HasPrefix(op.Key, g.prefix) && (g.check == nil || g.check(op.Value)) {
			g.seen[op.Key] = struct{}{}
		}
	}
	if g.reached.IsZero() && len(g.seen) >= g.wanted {
		g.reached, g.seen = time.Now(), map[string]struct{}{}
		close(g.done)
	}
}

func (g *goal) wait(ctx context.Context) (time.Time, error) {
	select {
	case <-g.done:
		return g.reached, nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		return time.Time{}, &shortOf{g.prefix, len(g.seen), g.wanted}
	}
}

// isActive reports whether the state is that of a running unit.
func isActive(value []byte) bool { return bytes.Contains(value, []byte(`"activeState":"active"`)) }
