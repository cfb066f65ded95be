package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// bare is the service manager of one machine, used without fleet.
type bare struct {
	*systemd.Client
	dir string // of its unit files
}

func dialBare(ctx context.Context, xdgRuntimeDir string) (*bare, error) {
	client, err := systemd.Dial(ctx, systemd.UserSocket(xdgRuntimeDir), logr.Discard())
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(xdgRuntimeDir, "bare")
	return &bare{client, dir}, os.MkdirAll(dir, 0o755)
}

// run writes unit files of that text, links and starts them, and returns when systemd says that all are active.
func (s *bare) run(ctx context.Context, names []string, text string) error {
	paths := make([]string, len(names))
	for i, name := range names {
		paths[i] = filepath.Join(s.dir, name)
		if err := os.WriteFile(paths[i], []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := s.Link(ctx, paths...); err != nil {
		return err
	}
	for _, name := range names {
		if err := s.Start(ctx, name); err != nil {
			return err
		}
	}
	_, err := s.await(ctx, names, "active")
	return err
}

// await waits until all units are in that state, and returns when the last one got there.
func (s *bare) await(ctx context.Context, names []string, state string) (last time.Time, err error) {
	for {
		states, err := s.States(ctx, names)
		if err != nil {
			return time.Time{}, err
		}
		reached := 0
		for _, u := range states {
			if u.ActiveState == state {
				reached++
			}
			if u.Since.After(last) {
				last = u.Since
			}
		}
		if reached == len(names) {
			return last, nil
		}
		select {
		case <-s.Events():
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("%d of %d units were %s: %w", reached, len(names), state, ctx.Err())
		}
	}
}

// remove stops the units and forgets them.
func (s *bare) remove(ctx context.Context, names []string) error {
	for _, name := range names {
		if err := s.Stop(ctx, name); err != nil {
			return err
		}
	}
	if _, err := s.await(ctx, names, "inactive"); err != nil {
		return err
	}
	if err := s.Unlink(ctx, names...); err != nil {
		return err
	}
	for _, name := range names {
		if err := os.Remove(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// onEach calls f for each machine at once.
func onEach(machines []*bare, f func(i int, m *bare) error) error {
	errs := make([]error, len(machines))
	var wait sync.WaitGroup
	for i, m := range machines {
		wait.Go(func() { errs[i] = f(i, m) })
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("machine %d: %w", i+1, err)
		}
	}
	return nil
}
