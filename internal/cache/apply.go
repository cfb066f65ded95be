package cache

import (
	"fmt"

	"github.com/fleet-starter/fleet/internal/store"
)

// run is a sequence of consecutive changes of one row.
type run struct {
	row row
	n   int
}

// applyBatch applies a batch to all trees at once and then calls the handlers, in the order of the changes. It returns
// a *differsError if an event was late.
func (r *Reflector) applyBatch(batch store.Batch) error {
	var runs []run
	var late error
	r.mu.Lock()
	reached, newest := r.applied, r.applied
	for _, e := range batch.Events {
		row, before := r.rowOf(e.Key), int64(0)
		if row != nil {
			before = row.have(e.Key)
		}
		if v := judge(e, reached, newest, before, row != nil); v != fresh {
			r.metrics.dropped(r.prefix, v)
			r.log.V(1).Info("Dropping event", "reason", v, "key", e.Key, "revision", e.ModRevision, "reached", newest)
			if v == tooLate {
				late = &differsError{Difference{r.prefix, Late, fmt.Sprintf("%s changed at revision %d, but the event came after revision %d", e.Key, e.ModRevision, newest)}}
			}
			continue
		}
		newest, r.seen, r.lastChange = e.ModRevision, e.ModRevision, e.ModRevision
		if row == nil {
			if r.foreign != nil && !e.Deleted {
				r.reportForeign(e.KV)
			}
			continue
		}
		r.journal.note(row, e, before)
		if !row.apply(e) {
			continue
		}
		if last := len(runs) - 1; last >= 0 && runs[last].row == row {
			runs[last].n++
		} else {
			runs = append(runs, run{row, 1})
		}
	}
	newest = max(newest, batch.Revision)
	r.applied = newest
	r.mu.Unlock()
	r.tell(runs, newest)
	return late
}

func (r *Reflector) tell(runs []run, revision int64) {
	for _, run := range runs {
		run.row.tell(run.n)
	}
	r.mu.Lock()
	r.told = max(r.told, revision)
	close(r.moved)
	r.moved = make(chan struct{})
	r.mu.Unlock()
}
