// Package memstore is an in-memory model of etcd: revisions, transactions, watches, compaction, leases and the space
// quota. It passes the same contract test as etcd (storetest), so that whole clusters can be simulated on it.
package memstore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/btree"

	"github.com/fleet-starter/fleet/internal/store"
)

// Options configure a Store. The zero value is usable.
type Options struct {
	// Now is the clock for leases. Default time.Now, with timers (also in testing/synctest). With another clock leases
	// end when Expire is called.
	Now func() time.Time
	// History is the number of revisions kept for watches; older ones are compacted. 0 keeps all.
	History int64
}

// Store is the model. Its own methods, besides those of Conn, are what an operator or a fault does to etcd.
type Store struct {
	*Conn // a connection that is never cut

	opts Options

	mu        sync.Mutex
	keys      *btree.BTreeG[store.KV]
	base      *btree.BTreeG[store.KV] // the keys at the compacted revision
	revision  int64
	compacted int64
	history   []store.Event // all changes after compacted, in order
	leases    map[store.LeaseID]*lease
	ended     map[store.LeaseID]endedLease // for Restore
	lastLease store.LeaseID
	full      bool
	watches   watches
}

type lease struct {
	ttl     time.Duration
	ends    time.Time
	keys    map[string]struct{}
	timer   *time.Timer
	granted int64 // revision
}

// New returns an empty store at revision 1, as etcd is.
func New(opts Options) *Store {
	s := &Store{
		opts:     opts,
		keys:     btree.NewG(32, func(a, b store.KV) bool { return a.Key < b.Key }),
		revision: 1,
		leases:   make(map[store.LeaseID]*lease),
		ended:    make(map[store.LeaseID]endedLease),
		watches:  watches{of: make(map[string]map[*watch]struct{})},
	}
	s.base = s.keys.Clone()
	s.Conn = s.Connect()
	return s
}

func (s *Store) now() time.Time {
	if s.opts.Now != nil {
		return s.opts.Now()
	}
	return time.Now()
}

// Revision returns the store's revision.
func (s *Store) Revision() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// Compact compacts the history before revision: reads and watches that need it fail with ErrCompacted.
func (s *Store) Compact(revision int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.compact(min(revision, s.revision))
}

func (s *Store) compact(revision int64) {
	if revision <= s.compacted {
		return
	}
	s.base = s.rewind(revision)
	s.compacted = revision
	n := s.after(revision)
	s.history = slices.Clone(s.history[n:])
}

// SetFull makes puts and lease grants fail with ErrNoSpace, as etcd does when its quota is exceeded.
func (s *Store) SetFull(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// Expire ends expired leases. It is needed only with a custom clock.
func (s *Store) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	var ended []store.LeaseID
	for id, l := range s.leases {
		if !l.ends.After(now) {
			ended = append(ended, id)
		}
	}
	slices.Sort(ended)
	for _, id := range ended {
		s.revoke(id)
	}
}

// ExtendLeases resets every lease to its full TTL, as a newly elected etcd leader does.
func (s *Store) ExtendLeases() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, l := range s.leases {
		s.renew(id, l)
	}
}

// apply applies one transaction at a new revision; a transaction that changes nothing, such as a delete of an absent
// key, takes none.
func (s *Store) apply(ops []store.Op) int64 {
	revision := s.revision + 1
	before := len(s.history)
	for _, op := range ops {
		switch {
		case op.Check:
		case op.Value == nil:
			s.delete(op.Key, revision)
		default:
			s.put(op, revision)
		}
	}
	if len(s.history) > before {
		s.revision = revision
		for _, e := range s.history[before:] {
			s.watches.tell(e)
		}
		s.trim()
	}
	return s.revision
}

func (s *Store) trim() {
	// Trim in large steps, so that not every change copies the history.
	if s.opts.History > 0 && int64(len(s.history)) > 2*s.opts.History {
		s.compact(s.revision - s.opts.History)
	}
}

func (s *Store) put(op store.Op, revision int64) {
	value := slices.Clone(op.Value)
	if len(value) == 0 {
		value = nil // as etcd returns it
	}
	kv := store.KV{Key: op.Key, Value: value, CreateRevision: revision, ModRevision: revision, Lease: op.Lease}
	if old, ok := s.keys.Get(store.KV{Key: op.Key}); ok {
		kv.CreateRevision = old.CreateRevision
		s.detach(old)
	}
	if l := s.leases[op.Lease]; l != nil {
		l.keys[op.Key] = struct{}{}
	}
	s.keys.ReplaceOrInsert(kv)
	s.history = append(s.history, store.Event{KV: kv})
}

func (s *Store) delete(key string, revision int64) {
	old, ok := s.keys.Delete(store.KV{Key: key})
	if !ok {
		return
	}
	s.detach(old)
	s.history = append(s.history, store.Event{KV: store.KV{Key: key, ModRevision: revision}, Deleted: true})
}

func (s *Store) detach(kv store.KV) {
	if l := s.leases[kv.Lease]; l != nil {
		delete(l.keys, kv.Key)
	}
}

func (s *Store) renew(id store.LeaseID, l *lease) {
	l.ends = s.now().Add(l.ttl)
	if s.opts.Now != nil {
		return
	}
	if l.timer != nil {
		l.timer.Stop()
	}
	l.timer = time.AfterFunc(l.ttl, s.Expire)
}

// revoke ends a lease. Its keys are deleted in one revision, in order.
func (s *Store) revoke(id store.LeaseID) {
	l := s.leases[id]
	if l.timer != nil {
		l.timer.Stop()
	}
	var ops []store.Op
	for key := range l.keys {
		ops = append(ops, store.Op{Key: key})
	}
	slices.SortFunc(ops, func(a, b store.Op) int { return strings.Compare(a.Key, b.Key) })
	s.apply(ops)
	delete(s.leases, id)
	s.ended[id] = endedLease{lease: l, at: s.revision}
}

// after returns the position in the history of the first change after a revision.
func (s *Store) after(revision int64) int {
	n, _ := slices.BinarySearchFunc(s.history, revision+1, func(e store.Event, r int64) int { return int(e.ModRevision - r) })
	return n
}

// maxRequestBytes is etcd's default request limit.
const maxRequestBytes = 3 << 19

// check returns the reason why etcd would refuse a transaction regardless of its conditions.
func (s *Store) check(txn store.Txn) error {
	puts, conditions, size := false, 0, 0
	isPut := make(map[string]bool, len(txn.Ops))
	if txn.Fence != (store.Fence{}) {
		conditions++
	}
	for _, op := range txn.Ops {
		if !op.If.IsZero() {
			conditions++
		}
		if op.Check {
			continue
		}
		put := op.Value != nil
		if was, twice := isPut[op.Key]; twice && (put || was) {
			return fmt.Errorf("write %s: %w: duplicate key in the transaction", op.Key, store.ErrInvalid)
		}
		isPut[op.Key] = put
		puts = puts || put
		size += len(op.Key) + len(op.Value)
	}
	switch {
	case len(txn.Ops) > store.MaxTxnOps || conditions > store.MaxTxnOps:
		return fmt.Errorf("write %s: %w: more than %d operations", txn.Ops[0].Key, store.ErrInvalid, store.MaxTxnOps)
	case size > maxRequestBytes:
		return fmt.Errorf("write %s: %w: more than %d bytes", txn.Ops[0].Key, store.ErrInvalid, maxRequestBytes)
	case puts && s.full:
		return store.ErrNoSpace
	}
	return nil
}
