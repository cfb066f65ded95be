package main

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// services is a systemd whose services all become active a while after their start. internal/systemd/fake models the rest of
// systemd.
type services struct {
	delay time.Duration

	mu     sync.Mutex
	units  map[string]*systemd.UnitState
	timers sync.WaitGroup
	events chan struct{}
	starts int
}

var _ systemd.Manager = (*services)(nil)

func newServices(delay time.Duration) *services {
	return &services{delay: delay, units: map[string]*systemd.UnitState{}, events: make(chan struct{}, 1)}
}

func (s *services) change(name, active, sub string) {
	u := s.units[name]
	if u == nil {
		return
	}
	u.ActiveState, u.SubState, u.Job, u.Since = active, sub, "", time.Now().Truncate(time.Microsecond)
	select {
	case s.events <- struct{}{}:
	default:
	}
}

func (s *services) Link(_ context.Context, paths ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range paths {
		name := filepath.Base(p)
		if s.units[name] == nil {
			s.units[name] = &systemd.UnitState{Name: name, LoadState: "loaded", ActiveState: "inactive", SubState: "dead"}
		}
	}
	return nil
}

func (s *services) Enable(ctx context.Context, paths ...string) error { return s.Link(ctx, paths...) }

func (s *services) Unlink(_ context.Context, names ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		delete(s.units, name)
	}
	return nil
}

func (s *services) Start(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.units[name]
	if u == nil {
		return &systemd.Error{Op: "start", Unit: name, Kind: systemd.ErrNoSuchUnit, Err: systemd.ErrNoSuchUnit}
	}
	s.starts++
	u.InvocationID, u.JobResult = fmt.Sprintf("%032x", s.starts), "done"
	if s.delay == 0 {
		s.change(name, "active", "running")
		return nil
	}
	s.change(name, "activating", "start")
	s.timers.Add(1)
	time.AfterFunc(s.delay, func() {
		defer s.timers.Done()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.change(name, "active", "running")
	})
	return nil
}

func (s *services) Stop(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change(name, "inactive", "dead")
	return nil
}

func (s *services) Restart(ctx context.Context, name string) error { return s.Start(ctx, name) }

func (s *services) Foreign(context.Context, []string) (map[string]string, error) { return nil, nil }

func (s *services) States(_ context.Context, names []string) ([]systemd.UnitState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	states := make([]systemd.UnitState, len(names))
	for i, name := range names {
		if u := s.units[name]; u != nil {
			states[i] = *u
		} else {
			states[i] = systemd.UnitState{Name: name, LoadState: "not-found", ActiveState: "inactive", SubState: "dead"}
		}
	}
	return states, nil
}

func (s *services) Reload(context.Context) error              { return nil }
func (s *services) ResetFailed(context.Context, string) error { return nil }
func (s *services) Events() <-chan struct{}                   { return s.events }
func (s *services) Close()                                    { s.timers.Wait() }
