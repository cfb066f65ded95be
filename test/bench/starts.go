package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// one measures the start of one unit on the first machine.
func (s *starts) one(ctx context.Context, rounds int) error {
	return s.measure(ctx, "latency/1", rounds, 1, s.machines[:1], launch(onFirst))
}

// many measures the start of many units on all machines.
func (s *starts) many(ctx context.Context, rounds int) error {
	return s.measure(ctx, fmt.Sprintf("latency/%dx%d", latencyMachines, manyUnits), rounds, manyUnits, s.machines, launch())
}

// measure starts units with fleet and with systemd alone, in turn.
func (s *starts) measure(ctx context.Context, section string, rounds, units int, on []*bare, body string) error {
	if !s.bench.wantsAny([]string{section + "/"}) {
		return nil
	}
	var samples []sample
	for i := range rounds + 1 {
		names := make([]string, units)
		for j := range names {
			names[j] = fmt.Sprintf("fleet%d-%d.service", i, j)
		}
		got, err := s.start(ctx, names, on, body)
		if err != nil {
			return err
		}
		if err := s.remove(ctx, names); err != nil {
			return err
		}
		if got.bare, err = s.alone(ctx, units, on); err != nil {
			return err
		}
		if i > 0 { // in the first round connections are made and pages are loaded
			samples = append(samples, got)
		}
	}
	s.report(section, samples)
	return nil
}

// start starts units with fleet.
func (s *starts) start(ctx context.Context, names []string, on []*bare, body string) (got sample, err error) {
	wait, err := s.watch(ctx, len(names), false)
	if err != nil {
		return got, err
	}
	before, err := s.cost()
	if err != nil {
		return got, err
	}
	begun := time.Now()
	if err := requestAll(names, func(name string) error { return s.call(ctx, http.MethodPut, name, body) }); err != nil {
		return got, err
	}
	if err := wait(); err != nil {
		return got, err
	}
	got.told = time.Since(begun)
	after, err := s.cost()
	if err != nil {
		return got, err
	}
	got.cost = after.minus(before)
	for _, m := range on {
		states, err := m.States(ctx, names)
		if err != nil {
			return got, err
		}
		for _, u := range states {
			got.active = max(got.active, u.Since.Sub(begun))
		}
	}
	return got, nil
}

// remove removes units with fleet.
func (s *starts) remove(ctx context.Context, names []string) error {
	wait, err := s.watch(ctx, len(names), true)
	if err != nil {
		return err
	}
	if err := requestAll(names, func(name string) error { return s.call(ctx, http.MethodDelete, name, "") }); err != nil {
		return err
	}
	return wait()
}

// requestAll makes one request a unit, several at a time.
func requestAll(names []string, request func(name string) error) error {
	queue := make(chan string, len(names))
	for _, name := range names {
		queue <- name
	}
	close(queue)
	errs := make(chan error, requestsAtOnce)
	var workers sync.WaitGroup
	for range requestsAtOnce {
		workers.Go(func() {
			for name := range queue {
				if err := request(name); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	workers.Wait()
	close(errs)
	return <-errs
}

// alone starts as many units with systemd alone, spread over the machines, and removes them.
func (s *starts) alone(ctx context.Context, units int, on []*bare) (time.Duration, error) {
	names := make([][]string, len(on))
	for j := range units {
		names[j%len(on)] = append(names[j%len(on)], fmt.Sprintf("alone%d.service", j))
	}
	begun := time.Now()
	if err := onEach(on, func(i int, m *bare) error { return m.run(ctx, names[i], sleeper) }); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	return took, onEach(on, func(i int, m *bare) error { return m.remove(ctx, names[i]) })
}
