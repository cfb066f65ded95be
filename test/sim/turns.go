package sim

import (
	"container/heap"
	"context"
	"sync"
	"testing/synctest"
	"time"
)

// moment is when something happens. Two moments in the same nanosecond are ordered by a hash of what they are.
type moment struct {
	takes time.Duration
	order uint64
}

// turns serializes everything that takes time: the next turn comes only when all effects of the last one have come to rest.
// So nothing depends on the Go scheduler, which would run everything due at the same time at once.
type turns struct {
	mu   sync.Mutex
	due  dues
	wake chan struct{} // holds one: the next due time has changed
}

type due struct {
	at    time.Time
	order uint64
	turn  chan struct{}
	off   bool // the waiter has given up
}

type dues []*due

func (d dues) Len() int { return len(d) }
func (d dues) Less(i, j int) bool {
	return d[i].at.Before(d[j].at) || d[i].at.Equal(d[j].at) && d[i].order < d[j].order
}
func (d dues) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *dues) Push(x any)   { *d = append(*d, x.(*due)) }
func (d *dues) Pop() any {
	last := len(*d) - 1
	x := (*d)[last]
	*d = (*d)[:last]
	return x
}

func newTurns() *turns { return &turns{wake: make(chan struct{}, 1)} }

// run gives turns until ctx ends.
func (t *turns) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.wake:
		case <-timer.C:
		}
		synctest.Wait() // everything else due now came first, and has registered its next moment
		if next := t.next(); next >= 0 {
			timer.Reset(next)
		}
	}
}

// next gives one turn, if one is due, and returns the time until the next one; negative if there is none.
func (t *turns) next() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	given := false
	for len(t.due) > 0 {
		first := t.due[0]
		left := time.Until(first.at)
		switch {
		case first.off:
		case left > 0:
			return left
		case given:
			return 0
		default:
			close(first.turn)
			given = true
		}
		heap.Pop(&t.due)
	}
	return -1
}

// after registers a moment.
func (t *turns) after(m moment) *due {
	d := &due{at: time.Now().Add(m.takes), order: m.order, turn: make(chan struct{})}
	t.mu.Lock()
	heap.Push(&t.due, d)
	first := t.due[0] == d
	t.mu.Unlock()
	if first {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
	return d
}

// giveUp removes a moment that no longer matters.
func (t *turns) giveUp(d *due) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.off = true
}

// sleep returns after a moment, or when the world ends.
func (w *world) sleep(m moment) {
	d := w.turns.after(m)
	select {
	case <-d.turn:
	case <-w.ctx.Done():
	}
}

// delay is how long something takes: mostly a few milliseconds, sometimes much longer. It depends only on the seed, the time
// and what it is.
func (w *world) delay(what ...string) moment {
	r := w.chance(what...)
	longest := 8 * time.Millisecond
	if r>>48%40 == 0 {
		longest = 300 * time.Millisecond
	}
	return moment{takes: 50*time.Microsecond + time.Duration(r%uint64(longest)), order: r}
}

// exactly is for what takes exactly this long.
func (w *world) exactly(d time.Duration, what ...string) moment {
	return moment{takes: d, order: w.chance(what...)}
}
