package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// steps is the queue of a controller that is stepped: its keys, each with the time when it is due.
type steps[K comparable] struct {
	mu  sync.Mutex
	due map[K]time.Time
}

func (s *steps[K]) add(key K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.due[key] = time.Time{}
}

// take removes the keys that are due, and returns them in order.
func (s *steps[K]) take(now time.Time) []K {
	s.mu.Lock()
	defer s.mu.Unlock()
	var keys []K
	for key, at := range s.due {
		if !at.After(now) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		delete(s.due, key)
	}
	slices.SortFunc(keys, func(a, b K) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return keys
}

// after has a key reconciled again at a time, unless it is due before.
func (s *steps[K]) after(key K, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if is, queued := s.due[key]; !queued || is.After(at) {
		s.due[key] = at
	}
}

// Step reconciles the keys that are due now, in their order and in the caller's goroutine, and returns their number. It ends with
// the first error.
func (c *Controller[K]) Step(ctx context.Context, now time.Time) (int, error) {
	keys := c.steps.take(now)
	for _, key := range keys {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		result, err := c.reconcile(ctx, key)
		if err != nil {
			return 0, fmt.Errorf("controller %s: %v: %w", c.name, key, err)
		}
		if result.RequeueAfter > 0 {
			c.steps.after(key, now.Add(result.RequeueAfter))
		}
	}
	return len(keys), nil
}

// Due returns when the next key is due; ok is false if there is none.
func (c *Controller[K]) Due() (at time.Time, ok bool) {
	c.steps.mu.Lock()
	defer c.steps.mu.Unlock()
	if len(c.steps.due) == 0 {
		return time.Time{}, false
	}
	return slices.MinFunc(slices.Collect(maps.Values(c.steps.due)), time.Time.Compare), true
}
