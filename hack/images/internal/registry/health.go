package registry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"
)

// The times that say how soon storage counts as away, and how soon as back.
const (
	probeTimeout = 3 * time.Second
	probeSoon    = time.Second      // between probes while storage is away or requests are under way
	probeRarely  = 30 * time.Second // while nothing happens
	// enough is how many probes have to fail in a row before requests under way are ended: one may be a hiccup.
	enough = 2
)

// health knows whether storage is there. It asks often while that matters and seldom while nothing is asked for.
type health struct {
	probe func(ctx context.Context, create bool) error
	log   *slog.Logger
	// changed is told each time that storage goes away or comes back; nil means that it is there. It must not block.
	changed func(error)

	wake chan struct{}

	mu     sync.Mutex
	reason error // why storage is away; nil if it is there
	seen   bool  // storage was there at least once
	failed int   // probes in a row
	// ends are the requests under way. They end when storage goes away: what they wait for may never come.
	ends map[*context.CancelCauseFunc]struct{}
}

// awayError says that storage is away.
type awayError struct{ reason error }

func (e awayError) Error() string { return "storage is away: " + e.reason.Error() }
func (e awayError) Unwrap() error { return e.reason }

func newHealth(probe func(context.Context, bool) error, log *slog.Logger, changed func(error)) *health {
	return &health{
		probe: probe, log: log, changed: changed, wake: make(chan struct{}, 1), ends: map[*context.CancelCauseFunc]struct{}{},
		reason: awayError{errors.New("it has not answered yet")},
	}
}

// run probes until ctx ends.
func (h *health) run(ctx context.Context) {
	for ctx.Err() == nil {
		h.check(ctx, enough)
		timer := time.NewTimer(h.pause())
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-h.wake:
			// A request has come while nothing happened. If it takes long, ask why.
			timer.Reset(probeSoon)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
		timer.Stop()
	}
}

func (h *health) pause() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reason != nil || h.failed > 0 || len(h.ends) > 0 {
		return probeSoon
	}
	return probeRarely
}

// check probes once. Storage counts as away when so many probes have failed in a row.
func (h *health) check(ctx context.Context, needed int) error {
	h.mu.Lock()
	create := !h.seen
	h.mu.Unlock()
	probing, cancel := context.WithTimeout(ctx, probeTimeout)
	err := h.probe(probing, create)
	cancel()
	if ctx.Err() != nil {
		return h.away()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.reason
	if err == nil {
		h.reason, h.seen, h.failed = nil, true, 0
	} else if h.failed++; h.failed >= needed || before != nil {
		h.reason = awayError{err}
		for end := range h.ends {
			(*end)(h.reason)
		}
	}
	if message(before) != message(h.reason) {
		if h.reason == nil {
			h.log.Info("storage answers")
		} else {
			h.log.Error("storage is away, trying again", "reason", errors.Unwrap(h.reason).Error())
		}
		h.changed(h.reason)
	}
	return h.reason
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// away returns why storage is away, or nil.
func (h *health) away() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reason
}

// begin notes a request, or returns why it cannot be served. Its context ends when storage goes away.
func (h *health) begin(ctx context.Context) (context.Context, func(), error) {
	ctx, end := context.WithCancelCause(ctx)
	h.mu.Lock()
	reason := h.reason
	if reason == nil {
		h.ends[&end] = struct{}{}
	}
	h.mu.Unlock()
	if reason != nil {
		end(reason)
		return nil, nil, reason
	}
	select {
	case h.wake <- struct{}{}:
	default:
	}
	return ctx, func() {
		h.mu.Lock()
		delete(h.ends, &end)
		h.mu.Unlock()
		end(nil)
	}, nil
}
