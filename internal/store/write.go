package store

import (
	"context"
	"errors"
	"sync"
)

// writeInFlight is how many transactions of one Write run at once: more gains little (144,000 keys/s with 4,
// 172,000 with 16) and starves other writers.
const writeInFlight = 4

// Group is a set of operations that take effect together or not at all, such as the delete and the put of a
// move. At most MaxTxnOps-1 operations, so that a fence has room beside their conditions.
type Group []Op

// Result is what became of one group.
type Result struct {
	// Revision is the one that the group was written at.
	Revision int64
	// Err is why it was not: ErrConflict concerns this group alone.
	Err error
}

// Write writes many groups in few transactions, a few at a time, and returns one result for each group.
// Groups are independent: one that conflicts or is refused does not hold up others. Groups that touch the same key are
// written in their order. Once the writer is fenced off or etcd is away the rest is not tried and gets the
// same error.
func Write(ctx context.Context, s Interface, groups []Group, fence Fence) []Result {
	w := writer{store: s, fence: fence, groups: groups, results: make([]Result, len(groups))}
	for _, wave := range waves(groups) {
		w.writeAll(ctx, packs(groups, wave))
	}
	return w.results
}

// LastRevision returns the highest revision of the results, the one to wait for in a cache, and their errors, joined.
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

// waves puts groups that share no key into one wave and a group that touches a key again into a later one.
func waves(groups []Group) [][]int {
	next := make(map[string]int)
	var waves [][]int
	for i, group := range groups {
		wave := 0
		for _, op := range group {
			wave = max(wave, next[op.Key])
		}
		for _, op := range group {
			next[op.Key] = wave + 1
		}
		if wave == len(waves) {
			waves = append(waves, nil)
		}
		waves[wave] = append(waves[wave], i)
	}
	return waves
}

// packs cuts a wave into transactions within etcd's limits.
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

// writer is one Write under way. Each result is written by the one goroutine that has its group.
type writer struct {
	store   Interface
	fence   Fence
	groups  []Group
	results []Result

	mu   sync.Mutex
	stop error // why the rest is not tried
}

func (w *writer) writeAll(ctx context.Context, packs [][]int) {
	if len(packs) == 1 { // as most often
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

// concernsOne: etcd refused the transaction for something in it, and would take the rest of it.
func concernsOne(err error) bool {
	return errors.Is(err, ErrConflict) || errors.Is(err, ErrDenied) || errors.Is(err, ErrInvalid)
}

// write commits a pack; where etcd refuses it, its halves, so that one bad group costs few extra transactions.
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
