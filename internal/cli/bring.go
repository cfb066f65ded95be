package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
)

// bring requests the state of all units, then waits for all of them concurrently. Failures are reported and do not stop
// the others.
func (a *app) bring(ctx context.Context, args []string, o stateOptions) error {
	var targets []*target
	machineOf := map[*target][]string{}
	prepared := a.each(args, func(arg string) error {
		name := unitOf(arg)
		if o.create {
			var how ensured
			var err error
			if name, how, err = a.ensure(ctx, arg, o.replace, o.state); err != nil || how == declined {
				return err
			}
		}
		unit, err := a.unitWithFile(ctx, name)
		switch {
		case err != nil && o.skip:
			return a.skipUnknown(err)
		case err != nil || slices.ContainsFunc(targets, func(t *target) bool { return t.name == name }):
			return err
		case o.verb == "stop" && idle(unit):
			a.note("Unable to stop unit %s in state inactive", name)
			return errReported{exitError}
		}
		t := &target{name: name, global: isGlobal(unit), done: make(chan struct{})}
		targets, machineOf[t] = append(targets, t), fileOf(unit).MachineOf
		return nil
	})
	if !o.create { // concurrently
		err := firstError(prepared, a.awaitAll(ctx, targets, o))
		if o.skip && err == nil {
			a.sayTaken(targets, o.verb)
		}
		return err
	}
	tie(targets, func(t, other *target) bool { return slices.Contains(machineOf[t], other.name) })
	return firstError(prepared, a.request(ctx, targets, o), a.awaitAll(ctx, targets, o))
}

// idle reports whether a unit is on no machine, and is not to be.
func idle(unit v1.Unit) bool {
	return unit.Metadata.Owner == "" && unit.Spec.DesiredState == v1.Inactive && len(unit.Status.Machines) == 0 && !isGlobal(unit)
}

// sayTaken reports what stop and unload did, as the original does. Global units are not waited for.
func (a *app) sayTaken(targets []*target, verb string) {
	if len(targets) == 0 {
		a.note("Units not found in registry")
		return
	}
	names := []string{}
	for _, t := range targets {
		if !t.global {
			names = append(names, t.name)
		}
	}
	a.note("Successfully %s units %v.", map[string]string{"stop": "stopped", "unload": "unloaded"}[verb], names)
}

// request requests the state of each unit, starting with those that others have to be beside: without them the others
// fit no machine.
func (a *app) request(ctx context.Context, targets []*target, o stateOptions) (err error) {
	for _, t := range targets {
		if t.asked {
			continue
		}
		t.asked = true
		err = firstError(err, a.request(ctx, t.beside, o))
		if failed := a.ask(ctx, t, o); failed != nil {
			t.failed = true
			err = firstError(err, errReported{a.report(failed)})
		}
	}
	return err
}

func (a *app) ask(ctx context.Context, t *target, o stateOptions) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	_, err = c.Write(ctx, client.Request{Method: http.MethodPost, Path: client.Path("units", t.name, o.verb), NoTimeout: o.verb == "restart"})
	return err
}

// firstError returns the first non-nil error.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// awaitAll requests the outstanding states and waits concurrently until the machines have answered, reporting each
// unit's machine. Global units are not waited for.
func (a *app) awaitAll(ctx context.Context, targets []*target, o stateOptions) error {
	targets = slices.DeleteFunc(targets, func(t *target) bool { return t.failed })
	return sideBySide(targets, func(t *target) (string, error) {
		defer close(t.done)
		if !t.asked {
			if err := a.ask(ctx, t, o); err != nil {
				return "", err
			}
		}
		switch {
		case t.global:
			return fmt.Sprintf("Triggered global unit %s %s", t.name, o.verb), nil
		case o.noBlock:
			return fmt.Sprintf("Triggered unit %s %s", t.name, o.verb), nil
		}
		ctx, cancel := context.WithTimeout(ctx, o.patience())
		defer cancel()
		where, err := a.await(ctx, t, o)
		switch {
		case err != nil:
			return "", fmt.Errorf("unit %s is not %s: %w", t.name, o.done, err)
		case where == "":
			return fmt.Sprintf("Unit %s %s", t.name, o.done), nil
		}
		return fmt.Sprintf("Unit %s %s on %s", t.name, o.done, where), nil
	}, a)
}

// sideBySide calls f for all items concurrently, prints the results and reports failures.
func sideBySide[T any](items []T, f func(T) (string, error), a *app) error {
	type result struct {
		text string
		err  error
	}
	results := make(chan result)
	for _, item := range items {
		go func() { // ends with f; every result is received
			text, err := f(item)
			results <- result{text, err}
		}()
	}
	code := exitOK
	for range items {
		r := <-results
		if r.err == nil {
			a.say("%s", r.text)
		} else if failed := a.report(r.err); code == exitOK {
			code = failed
		}
	}
	if code != exitOK {
		return errReported{code}
	}
	return nil
}

// startLasts is how long a service has to run after its start. systemd calls one active as soon as its process exists; "docker
// run" needs up to half a second to learn that the container's name is taken.
const startLasts = time.Second

// await waits until the unit's machine has answered the request, and returns the machine.
func (a *app) await(ctx context.Context, t *target, o stateOptions) (where string, err error) {
	requestedAt := ""
	if o.state == v1.Launched || o.verb == "stop" {
		if requestedAt, err = a.requestedAt(ctx, t.name); err != nil {
			return "", firstError(endOfWait(ctx), err)
		}
	}
	err = t.afterOthers(ctx, func() error {
		where, err = a.waitForUnit(ctx, t.name, o.state, requestedAt, startLasts)
		return err
	})
	if where != "" && errors.Is(err, errTimeout) {
		err = nil // it runs: there was no time to see more
	}
	return where, err
}

// requestedAt returns the request that a unit's machine has to answer.
func (a *app) requestedAt(ctx context.Context, name string) (string, error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	unit, err := client.Get[v1.Unit](ctx, c, client.Path("units", name), nil)
	if err != nil {
		return "", err
	}
	if unit.Status.Override != nil {
		return unit.Status.Override.RequestedAt, nil
	}
	return unit.Spec.RequestedAt, nil
}

// unitWithFile reads a unit including the facts from its file.
func (a *app) unitWithFile(ctx context.Context, name string) (unit v1.Unit, err error) {
	c, err := a.client()
	if err != nil {
		return unit, err
	}
	return client.Get[v1.Unit](ctx, c, client.Path("units", name), url.Values{"file": {"true"}})
}
