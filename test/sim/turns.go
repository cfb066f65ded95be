package sim

import (
	"container/heap"
	"context"
	"sync"
	"testing/synctest"
	"time"
)

// moment is when something is to happen. Of two that fall on the same nanosecond the order decides, which follows from what
// they are.
type moment struct {
	takes time.Duration
	order uint64
}

// turns gives all that takes a moment its turn: one at a time, and the next one only when all that came of the last one
// has come to rest. So nothing is left to the Go scheduler, who would run at once whatever is due at once.
type turns struct {
	mu   sync.Mutex
	due  dues
	wake chan struct{} // holds one: what is due next has changed
}

type due struct {
	at    time.Time
	order uint64
	turn  chan struct{}
	off   bool // whoever waited does not any more
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
		synctest.Wait() // whatever else is due now was first, and has said what is due next
		if next := t.next(); next >= 0 {
			timer.Reset(next)
		}
	}
}

// next gives one turn, where one is due, and returns how long it is until the next one; less than 0: there is none.
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

// after returns what is due in a while.
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

// give up what is not waited for any more.
func (t *turns) giveUp(d *due) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d.off = true
}

// sleep lets a moment pass, or the world end.
func (w *world) sleep(m moment) {
	d := w.turns.after(m)
	select {
	case <-d.turn:
	case <-w.ctx.Done():
	}
}

// delay is how long something takes: mostly a few milliseconds, now and then much longer. It depends on nothing but the
// seed, the time and what it is.
func (w *world) delay(what ...string) moment {
	r := w.chance(what...)
	longest := 8 * time.Millisecond
	if r>>48%40 == 0 {
		longest = 300 * time.Millisecond
	}
	return moment{takes: 50*time.Microsecond + time.Duration(r%uint64(longest)), order: r}
}

// exactly is for what takes as long as it says.
func (w *world) exactly(d time.Duration, what ...string) moment {
	return moment{takes: d, order: w.chance(what...)}
}
