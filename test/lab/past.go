package lab

import (
	"slices"
	"sync"
	"time"
)

// past is what was done to a lab by this process.
type past struct {
	mu    sync.Mutex
	cuts  []Span
	kills []Kill
}

// Span is a time; To is zero while it lasts.
type Span struct{ From, To time.Time }

// Kill is a power cut.
type Kill struct {
	Machine string
	At      time.Time
}

func (p *past) cut(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.cuts); n == 0 || !p.cuts[n-1].To.IsZero() {
		p.cuts = append(p.cuts, Span{From: now})
	}
}

func (p *past) healed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.cuts); n > 0 && p.cuts[n-1].To.IsZero() {
		p.cuts[n-1].To = now
	}
}

func (p *past) killed(machine string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kills = append(p.kills, Kill{machine, now})
}

// Cuts are the times in which Cut or Partition had cut the network.
func (l *Lab) Cuts() []Span {
	l.past.mu.Lock()
	defer l.past.mu.Unlock()
	return slices.Clone(l.past.cuts)
}

// Kills are the power cuts.
func (l *Lab) Kills() []Kill {
	l.past.mu.Lock()
	defer l.past.mu.Unlock()
	return slices.Clone(l.past.kills)
}
