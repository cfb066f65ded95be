package store

import (
	"context"
	"errors"
	"sync"
)

// writeInFlight is the number of concurrent transactions of one Write: more gain little (144,000 keys/s with 4, 172,000
// with 16) and starve other writers.
const writeInFlight = 4

// Group is a set of operations that are applied atomically, such as the delete and the put of a move. It has at most
// MaxTxnOps-1 operations, which leaves room for a fence.
type Group []Op

// Result is the outcome of one group.
type Result struct {
	// Revision is the revision at which the group was written.
	Revision int64
	// Err is the reason why it was not written: ErrConflict applies to this group only.
	Err error
}

// Write writes many groups in few transactions, several at a time, and returns one result per group. Groups are
// independent: one that conflicts or is refused does not affect the others. Groups with a common key are written in
// order. Once the writer is fenced off or etcd is unreachable, the remaining groups are not tried and get the same
// error.
func Write(ctx context.Context, s Interface, groups []Group, fence Fence) []Result {
	w := writer{store: s, fence: fence, groups: groups, results: make([]Result, len(groups))}
	for _, wave := range waves(groups) {
		w.writeAll(ctx, packs(groups, wave))
	}
	return w.results
}

// LastRevision returns the highest revision of the results, which is the one to wait for in a cache, and their joined
// errors.
func LastRevision(results []Result) (revision int64, err error) {
	var errs []error
	for _, r := range results {
		revision = max(revision, r.Revision)
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return revision, errors.Join(errs...)
}

// waves splits groups into waves: groups of one wave have no common keys, and a group that touches a key again is in a
// later wave. Many may check the same key.
func waves(groups []Group) [][]int {
	next := make(map[string]int)
	var waves [][]int
	for i, group := range groups {
		wave := 0
		for _, op := range group {
			if !op.Check {
				wave = max(wave, next[op.Key])
			}
		}
		for _, op := range group {
			if !op.Check {
				next[op.Key] = wave + 1
			}
		}
		if wave == len(waves) {
			waves = append(waves, nil)
		}
		waves[wave] = append(waves[wave], i)
	}
	return waves
}

// packs splits a wave into transactions within etcd's limits.
func packs(groups []Group, wave []int) [][]int {
	var packs [][]int
	ops, size, start := 0, 0, 0
	for i, g := range wave {
		n, bytes := len(groups[g]), groups[g].size()
		if i > start && (ops+n > MaxTxnOps-1 || size+bytes > MaxTxnBytes) {
			packs = append(packs, wave[start:i])
			ops, size, start = 0, 0, i
		}
		ops, size = ops+n, size+bytes
	}
	return append(packs, wave[start:])
}

func (g Group) size() (bytes int) {
	for _, op := range g {
		bytes += len(op.Key) + len(op.Value)
	}
	return bytes
}

func (g Group) deletesOnly() bool {
	for _, op := range g {
		if op.Value != nil {
			return false
		}
	}
	return true
}

// writer is a running Write. Each result is written by the goroutine that has its group.
type writer struct {
	store   Interface
	fence   Fence
	groups  []Group
	results []Result

	mu   sync.Mutex
	stop error // why the rest is not tried
}

func (w *writer) writeAll(ctx context.Context, packs [][]int) {
	if len(packs) == 1 { // the common case
		w.write(ctx, packs[0])
		return
	}
	queue := make(chan []int)
	var workers sync.WaitGroup
	for range min(writeInFlight, len(packs)) {
		workers.Go(func() {
			for pack := range queue {
				w.write(ctx, pack)
			}
		})
	}
	for _, pack := range packs {
		queue <- pack
	}
	close(queue)
	workers.Wait()
}

// concernsOne reports whether etcd refused the transaction because of some of its operations, and may accept the
// others.
func concernsOne(err error) bool {
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrDenied) || errors.Is(err, ErrInvalid)
}

// write commits a pack. If etcd refuses it, write tries its halves, so that a bad group costs few extra transactions.
func (w *writer) write(ctx context.Context, pack []int) {
	revision, err := int64(0), w.stopped()
	if err == nil {
		revision, err = w.store.Commit(ctx, w.txn(pack))
	}
	switch {
	case err == nil:
	case concernsOne(err) && len(pack) > 1:
		w.write(ctx, pack[:len(pack)/2])
		w.write(ctx, pack[len(pack)/2:])
		return
	case errors.Is(err, ErrNoSpace):
		if pack = w.refusePuts(pack, err); len(pack) < 1 {
			return
		}
		if revision, err = w.store.Commit(ctx, w.txn(pack)); concernsOne(err) {
			w.write(ctx, pack)
			return
		}
	case errors.Is(err, ErrFenced), errors.Is(err, ErrUnavailable), ctx.Err() != nil:
		w.setStopped(err)
	}
	for _, g := range pack {
		w.results[g] = Result{Revision: revision, Err: err}
	}
}

// refusePuts fails the groups that need space and returns the others.
func (w *writer) refusePuts(pack []int, err error) (deletes []int) {
	for _, g := range pack {
		if w.groups[g].deletesOnly() {
			deletes = append(deletes, g)
		} else {
			w.results[g] = Result{Err: err}
		}
	}
	return deletes
}

func (w *writer) txn(pack []int) Txn {
	txn := Txn{Fence: w.fence, Ops: make([]Op, 0, MaxTxnOps)}
	for _, g := range pack {
		txn.Ops = append(txn.Ops, w.groups[g]...)
	}
	return txn
}

func (w *writer) stopped() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stop
}

func (w *writer) setStopped(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stop == nil {
		w.stop = err
	}
}
