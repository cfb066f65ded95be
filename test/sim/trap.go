package sim

import (
	"context"
	"strings"
	"time"

	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// trap strikes at one of the leader's next writes: in the middle of a batch, between two writes.
type trap struct {
	w    *world
	what string
	part string // the part of the leader whose write it waits for, which is then slow; empty: any
	left int    // writes to let pass
}

// The traps.
const (
	trapDepose    = "depose"    // the leader key is deleted just before the write
	trapCrash     = "crash"     // fleetd is killed just after the write
	trapCrashPast = "crashPast" // fleetd is killed just before the write
	trapPartition = "partition" // the write takes effect, and its answer is lost
)

var traps = []string{trapDepose, trapCrash, trapCrashPast, trapPartition}

// slowWrite is how long the write takes that a trap for one part waits for: meanwhile other changes arrive.
const slowWrite = 100 * time.Millisecond

// slow reports whether the trap waits for this write.
func (w *world) slow(p *process, user string) bool {
	w.commit.Lock()
	defer w.commit.Unlock()
	return w.trap != nil && w.trap.part != "" && w.trap.part == user && p.kind == kindFleetd
}

// spring returns the trap if this write triggers it: a leader's, which is fenced.
func (w *world) spring(p *process, user string, txn store.Txn) *trap {
	if w.trap == nil || p.kind != kindFleetd || txn.Fence == (store.Fence{}) || w.trap.part != "" && w.trap.part != user {
		return nil
	}
	if w.trap.left > 0 {
		w.trap.left--
		return nil
	}
	sprung := w.trap
	w.trap = nil
	w.tell("trap", "%s: %s is about to write %s", sprung.what, p.name, w.short(txn.Ops[0].Key))
	return sprung
}

func (t *trap) before(p *process) {
	switch {
	case t == nil:
	case t.what == trapDepose:
		page, _ := t.w.etcd.List(context.Background(), t.w.keys.Leader(keyspace.Election)+"/", store.ListOptions{})
		for _, kv := range page.KVs {
			if strings.HasSuffix(kv.Key, "/"+kv.Lease.String()) && string(kv.Value) == p.host.id {
				revision, _ := t.w.etcd.Commit(context.Background(), store.Txn{Ops: []store.Op{{Key: kv.Key}}}) // it existed
				t.w.writers[revision] = writer{process: t.w.person}
			}
		}
	case t.what == trapCrashPast:
		p.host.killFleetd()
	}
}

func (t *trap) after(p *process) {
	switch {
	case t == nil:
	case t.what == trapCrash:
		p.host.killFleetd()
	case t.what == trapPartition:
		p.host.connect(deaf)
	}
}
