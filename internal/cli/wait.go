package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// waitFor waits for all that was applied, and tells of each what it waits for.
func (a *app) waitFor(ctx context.Context, manifests []manifest, revisions []int64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	type result struct {
		what string
		err  error
	}
	results := make(chan result)
	for i, m := range manifests {
		go func() { // ends with ctx, or before it
			if m.App != nil {
				results <- result{m.what(), a.waitForApp(ctx, m.Name(), revisions[i])}
			} else {
				results <- result{m.what(), a.waitForApplied(ctx, *m.Unit)}
			}
		}()
	}
	code := exitOK
	for range manifests {
		r := <-results
		if r.err == nil {
			a.note("%s: ready", r.what)
			continue
		}
		err := fmt.Errorf("%s: %w", r.what, r.err)
		if failed := a.report(err); code == exitOK {
			code = failed
		}
		if !errors.Is(r.err, errTimeout) {
			cancel() // fail fast: the others are not waited for
		}
	}
	if code != exitOK {
		return errReported{code}
	}
	return nil
}

func (a *app) waitForApplied(ctx context.Context, unit v1.Unit) error {
	if unit.Spec.DesiredState == v1.Inactive {
		return nil
	}
	_, err := a.waitForUnit(ctx, unit.Metadata.Name, unit.Spec.DesiredState, "")
	return err
}

// waitForApp ends when the app is ready in the revision applied, or cannot get so.
func (a *app) waitForApp(ctx context.Context, name string, revision int64) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	told := ""
	for event, err := range client.Follow[wire.App](ctx, c, client.Path("apps", name), nil, false) {
		switch {
		case err != nil:
			return err
		case event.Type == wire.Deleted:
			return fmt.Errorf("it was deleted")
		case event.Type == wire.Bookmark:
			continue
		}
		status := event.Object.Status
		if status == nil || status.ObservedRevision < revision {
			continue
		}
		if c := broken(status.Conditions); c != nil {
			return fmt.Errorf("%s=%s: %s: %s", c.Type, c.Status, c.Reason, c.Message)
		}
		if v1.IsTrue(status.Conditions, v1.Ready) {
			return nil
		}
		if progress := appProgress(event.Object, *status); progress != told {
			a.note("%s", progress)
			told = progress
		}
	}
	if err := endOfWait(ctx); errors.Is(err, errTimeout) {
		return fmt.Errorf("%w; fleetctl describe app %[2]s and fleetctl logs app/%[2]s tell more", err, name)
	}
	return ctx.Err()
}

// appProgress says how many instances are ready and, once, what is waited for.
func appProgress(o wire.App, status v1.AppStatus) string {
	ready, desired := status.Replicas.Ready, status.Replicas.Desired
	progress := fmt.Sprintf("app/%s: %d of %d ready", o.Metadata.Name, ready, desired)
	why := strings.TrimPrefix(appState(o), fmt.Sprintf("%d of %d instances are ready", ready, desired))
	if why = strings.TrimPrefix(why, "; "); why != "" {
		progress += ": " + why
	}
	return progress
}

// endOfWait is why a wait ended that did not get what it waited for.
func endOfWait(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("not there yet: %w", errTimeout)
	}
	return ctx.Err()
}

// waitForUnit ends when the unit has the state on its machine that was asked for, and returns where. requestedAt is
// the request that has to be answered; empty for any.
func (a *app) waitForUnit(ctx context.Context, name string, state v1.DesiredState, requestedAt string) (string, error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	for event, err := range client.Follow[v1.Unit](ctx, c, client.Path("units", name), nil, false) {
		switch {
		case err != nil:
			return "", err
		case event.Type == wire.Deleted:
			return "", fmt.Errorf("unit %s was destroyed", name)
		case event.Type == wire.Bookmark:
			continue
		}
		if where, done, err := a.unitHas(event.Object, state, requestedAt); done || err != nil {
			return where, err
		}
	}
	return "", endOfWait(ctx)
}

// unitHas reports whether the unit has the state, and where; an error where it cannot get it.
func (a *app) unitHas(unit v1.Unit, state v1.DesiredState, requestedAt string) (where string, done bool, err error) {
	status, name := unit.Status, unit.Metadata.Name
	var placed []v1.UnitOnMachine
	for _, m := range status.Machines {
		if m.Placement != nil || state == v1.Inactive {
			placed = append(placed, m)
		}
	}
	switch {
	case state == v1.Inactive:
		return "", len(placed) == 0, nil
	case len(placed) == 0 && status.Unplaced != nil:
		return "", false, &unplacedError{name, status.Unplaced}
	case len(placed) == 0:
		return "", false, nil
	}
	for _, m := range placed {
		done, err := unitHasOn(m, state, requestedAt)
		if err != nil {
			return "", false, fmt.Errorf("unit %s on %s: %w", name, a.machine(m.Machine, m.Address), err)
		}
		if !done {
			return "", false, nil
		}
	}
	return a.machine(placed[0].Machine, placed[0].Address), true, nil
}

func unitHasOn(m v1.UnitOnMachine, state v1.DesiredState, requestedAt string) (bool, error) {
	p, s := m.Placement, m.State
	answered := s != nil && p.DesiredState == state && s.DesiredState == state && s.Hash == p.Hash &&
		(requestedAt == "" || p.RequestedAt == requestedAt && s.RequestedAt == requestedAt)
	switch {
	case !answered:
		return false, nil
	case state == v1.Loaded:
		return s.ActiveState == "inactive" || s.ActiveState == "failed", nil
	case s.Active():
		return true, nil
	case s.ActiveState == "failed":
		return false, fmt.Errorf("failed (%s): fleetctl logs shows why", orDash(s.Result))
	case s.Message != "":
		return false, errors.New(s.Message)
	}
	// A unit that has done its work (Type=oneshot) is inactive again, with a result.
	return s.ActiveState == "inactive" && s.Result == "success" && requestedAt != "", nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
