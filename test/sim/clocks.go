package sim

import (
	"maps"
	"sync"
	"time"
)

// clock is how far a machine's clock is ahead of the world's: it may step, and run too fast or too slow.
type clock struct {
	mu    sync.Mutex
	ahead time.Duration // at that time
	at    time.Time
	rate  int64 // in millionths: how much it gains
}

func (c *clock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *clock) now() time.Duration {
	return c.ahead + time.Duration(int64(time.Since(c.at))/1e6*c.rate)
}

// change steps the clock and sets its rate.
func (c *clock) change(jump time.Duration, rate int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead, c.at, c.rate = c.now()+jump, time.Now(), rate
}

func (c *clock) runs() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rate
}

// wrong reports whether it differs from the world's.
func (c *clock) wrong() bool { return c.offset() != 0 || c.runs() != 0 }

// measures returns how much time passes on this clock.
func (c *clock) measures(d time.Duration) time.Duration {
	return d + time.Duration(int64(d)/1e6*c.runs())
}

func init() {
	maps.Copy(faults, map[string]func(w *world, s step){
		"clock": func(w *world, s step) {
			steps := []time.Duration{-time.Hour, -time.Minute, -3 * time.Second, 3 * time.Second, time.Minute, time.Hour}
			h, d := w.pick(s.A), steps[s.B%uint64(len(steps))]
			w.tell(h.name, "its clock steps by %s", d)
			w.check.stepped(h)
			h.clock.change(d, h.clock.runs())
		},
		// Without a time server: within the tolerance of quartz, and far outside it, as in a virtual machine.
		"drift": func(w *world, s step) {
			rates := []int64{-200_000, -20_000, -500, 500, 20_000, 200_000}
			h, rate := w.pick(s.A), rates[s.B%uint64(len(rates))]
			w.tell(h.name, "its clock gains %d millionths", rate)
			w.check.stepped(h)
			h.clock.change(0, rate)
		},
		// A time server corrects it.
		"right clock": func(w *world, s step) {
			h := w.pick(s.A)
			w.tell(h.name, "its clock is set right: it was %s ahead", h.clock.offset())
			w.check.stepped(h)
			h.clock.change(-h.clock.offset(), 0)
		},
	})
}
