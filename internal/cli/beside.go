package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
)

// target is one of the things that a command waits for together.
type target struct {
	name   string
	global bool
	// beside are those of the same command that it has to be on one machine with (MachineOf=).
	beside []*target
	// asked: its state was asked for; failed: that could not be done.
	asked, failed bool
	// done is closed when the wait for it is over.
	done chan struct{}
}

// tie notes who is to be beside whom. A circle is none: placing it is refused.
func tie(targets []*target, beside func(t, other *target) bool) {
	for _, t := range targets {
		for _, other := range targets {
			if beside(t, other) && !other.waitsFor(t) {
				t.beside = append(t.beside, other)
			}
		}
	}
}

func (t *target) waitsFor(other *target) bool {
	return t == other || slices.ContainsFunc(t.beside, func(b *target) bool { return b.waitsFor(other) })
}

// tieManifests makes a target of each manifest that is stored: what its units are to be beside, another one may bring.
func (a *app) tieManifests(ctx context.Context, manifests []manifest) []*target {
	targets, of, machineOf := make([]*target, len(manifests)), map[*target]manifest{}, map[*target][]string{}
	for i, m := range manifests {
		t := &target{name: m.what(), done: make(chan struct{})}
		targets[i], of[t], machineOf[t] = t, m, a.machineOf(ctx, m)
	}
	tie(targets, func(t, other *target) bool {
		return slices.ContainsFunc(machineOf[t], of[other].makes)
	})
	return targets
}

// machineOf are the units that those of a manifest are to be beside. All instances of an app are tied alike. Where fleetd does
// not say so of a unit, it is waited for as if it were alone.
func (a *app) machineOf(ctx context.Context, m manifest) []string {
	if m.Unit == nil {
		return m.App.MachineOf()
	}
	unit, err := a.unitWithFile(ctx, m.Name())
	if err != nil {
		return nil
	}
	return fileOf(unit).MachineOf
}

// makes: the manifest is that unit's, or its app's.
func (m manifest) makes(unit string) bool {
	if m.Unit != nil {
		return m.Name() == unit
	}
	_, _, ours := v1.ParseAppUnit(m.Name(), unit)
	return ours
}

// besideGrace is how long a unit may be said to wait for others after those are there.
const besideGrace = 5 * time.Second

// afterOthers calls wait when the wait for those that the target is to be beside is over: until then it is no error that it
// fits nowhere. What the scheduler said before they were there may still be told then, so wait is called again.
func (t *target) afterOthers(ctx context.Context, wait func() error) error {
	for _, other := range t.beside {
		if other.failed {
			continue
		}
		select {
		case <-other.done:
		case <-ctx.Done():
			return endOfWait(ctx)
		}
	}
	grace := time.After(besideGrace)
	for {
		err := wait()
		if len(t.beside) == 0 || !waitsForOthers(err) {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-grace:
			return err
		case <-ctx.Done():
			return endOfWait(ctx)
		}
	}
}

// waitsForOthers: nothing is wrong but that others are not where they have to be.
func waitsForOthers(err error) bool {
	var unplaced *unplacedError
	var app *brokenError
	switch {
	case errors.As(err, &unplaced):
		return unplaced.status.WaitsForOthers
	case errors.As(err, &app):
		return app.summary.WaitsForOthers
	}
	return false
}

// unplacedError says that a unit is on no machine.
type unplacedError struct {
	unit   string
	status v1.UnitStatus
}

func (e *unplacedError) Error() string {
	return fmt.Sprintf("unit %s is not on any machine: %s; it will be placed when one fits", e.unit, e.status.Unplaced.Message)
}

// brokenError says which condition keeps an app from being ready.
type brokenError struct {
	condition *v1.Condition
	summary   v1.AppSummary
	words     string // the last ones of its units
}

func (e *brokenError) Error() string {
	c := e.condition
	if c == nil {
		return e.summary.Message + e.words
	}
	return fmt.Sprintf("%s=%s: %s: %s%s", c.Type, c.Status, c.Reason, c.Message, e.words)
}
