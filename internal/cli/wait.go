package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strconv"
	"strings"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/client"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// waitFor waits for all applied objects and reports progress for each.
func (a *app) waitFor(ctx context.Context, manifests []manifest, revisions []int64, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	type result struct {
		what string
		err  error
	}
	results := make(chan result)
	told := newProgress(a)
	for i, t := range a.tieManifests(ctx, manifests) {
		m := manifests[i]
		go func() { // ends with ctx or earlier
			err := t.afterOthers(ctx, func() error {
				switch {
				case m.App != nil:
					return a.waitForApp(ctx, m.Name(), revisions[i], told)
				case m.Source != nil:
					return a.waitForSource(ctx, m.Name(), func(s *v1.SourceStatus) bool { return s.ObservedRevision >= revisions[i] }, told)
				}
				return a.waitForApplied(ctx, *m.Unit)
			})
			close(t.done)
			results <- result{m.what(), err}
		}()
	}
	code := exitOK
	for range manifests {
		r := <-results
		if r.err == nil {
			told.say(r.what, "ready")
			continue
		}
		told.freeze()
		err := fmt.Errorf("%s: %w", r.what, r.err)
		if failed := a.report(err); code == exitOK {
			code = failed
		}
		if !errors.Is(r.err, errTimeout) {
			cancel() // fail fast: do not wait for the others
		}
	}
	if code != exitOK {
		return errReported{code}
	}
	return nil
}

// waitForApplied returns when the unit has the applied state.
func (a *app) waitForApplied(ctx context.Context, unit v1.Unit) error {
	if unit.Spec.DesiredState == v1.Inactive {
		return nil
	}
	_, err := a.waitForUnit(ctx, unit.Metadata.Name, unit.Spec.DesiredState, "", v1.DefaultMinReady)
	return err
}

// running identifies the runs of a service that has to stay active; "" for other units and oneshots.
func running(unit v1.Unit) string {
	var runs strings.Builder
	for _, m := range unit.Status.Machines {
		if s := m.State; strings.HasSuffix(unit.Metadata.Name, ".service") && phase(m) == v1.PhaseActive && s.SubState != "exited" && s.DesiredState == v1.Launched {
			fmt.Fprintf(&runs, "%s %s %d\n", m.Machine, s.InvocationID, s.Restarts)
		}
	}
	return runs.String()
}

// update is the next result of a watch.
type update[T any] struct {
	event wire.Event[T]
	err   error
}

// pump turns a watch into a channel, so that it can be combined with timers. It ends with ctx.
func pump[T any](ctx context.Context, events iter.Seq2[wire.Event[T], error]) <-chan update[T] {
	updates := make(chan update[T])
	go func() {
		defer close(updates)
		for event, err := range events {
			select {
			case updates <- update[T]{event, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return updates
}

// waitForApp returns when the applied revision of the app is ready, or with an error when it cannot become ready.
func (a *app) waitForApp(ctx context.Context, name string, revision int64, told *progress) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	for event, err := range client.Follow[wire.App](ctx, c, client.Path("apps", name), nil, false) {
		switch {
		case err != nil:
			return err
		case event.Type == wire.Deleted:
			return fmt.Errorf("it was deleted")
		case event.Type == wire.Bookmark:
			continue
		}
		now, _ := strconv.ParseInt(event.Object.Metadata.ResourceVersion, 10, 64)
		status := event.Object.Status
		switch {
		case now > revision:
			return fmt.Errorf("replaced by another version: the manifest was changed while waiting")
		case status == nil || status.ObservedRevision < revision:
			continue
		}
		if status.Rejected != nil {
			return a.rejected(ctx, name, status)
		}
		if s := summary(event.Object); s.Phase == v1.AppBroken && !takesBack(event.Object, s) {
			return &brokenError{v1.FindCondition(status.Conditions, s.Condition), s, a.lastWords(ctx, name, s.Condition)}
		}
		if v1.IsTrue(status.Conditions, v1.Ready) {
			return nil
		}
		told.say("app/"+name, appProgress(event.Object, *status))
	}
	if err := endOfWait(ctx); errors.Is(err, errTimeout) {
		return fmt.Errorf("%w; see fleetctl describe app %[2]s and fleetctl logs app/%[2]s", err, name)
	}
	return ctx.Err()
}

// lastWords describes how each failing unit of an app ended, with its last log lines.
func (a *app) lastWords(ctx context.Context, name, condition string) string {
	if condition == v1.Accepted || condition == v1.Scheduled { // not caused by a unit
		return ""
	}
	connection, err := a.client()
	if err != nil {
		return ""
	}
	units, err := client.List[v1.Unit](ctx, connection, client.Path("units"), url.Values{"owner": {name}})
	if err != nil {
		return ""
	}
	var words strings.Builder
	for _, unit := range units {
		if unit.Status == nil || unit.Status.StoppedByHand {
			continue
		}
		for _, m := range unit.Status.Machines {
			if m.State != nil && (m.Outcome != "" || m.State.Output != "") {
				fmt.Fprintf(&words, "\n  %s on %s: %s", unit.Metadata.Name, a.machine(m.Machine, m.Address), cmp.Or(m.Outcome, m.State.ActiveState))
				if m.State.Restarts > 0 {
					fmt.Fprintf(&words, ", restarts: %d", m.State.Restarts)
				}
				for line := range strings.Lines(m.State.Output) {
					words.WriteString("\n    | " + strings.TrimRight(line, "\n"))
				}
			}
		}
	}
	return words.String()
}

// appProgress returns how many instances are ready and what is being waited for.
func appProgress(o wire.App, status v1.AppStatus) string {
	ready, desired := status.Replicas.Ready, status.Replicas.Desired
	progress := fmt.Sprintf("%d of %d ready", ready, desired)
	why := strings.TrimPrefix(summary(o).Message, fmt.Sprintf("%d of %d instances are ready", ready, desired))
	if why = strings.TrimPrefix(why, "; "); why != "" {
		progress += ": " + why
	}
	return progress
}

// endOfWait returns the error for a wait that ended without its result.
func endOfWait(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return errTimeout
	}
	return ctx.Err()
}

// waitForUnit returns the unit's machine when the unit has the requested state there. A service that is launched and is not a
// finished oneshot has to run on for a while (lasting), because being started says little. requestedAt is the request that has
// to be answered; empty for any. If ctx ends while the service runs, its machine is returned together with the error.
func (a *app) waitForUnit(ctx context.Context, name string, state v1.DesiredState, requestedAt string, lasting time.Duration) (string, error) {
	c, err := a.client()
	if err != nil {
		return "", err
	}
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	events := pump(following, client.Follow[v1.Unit](following, c, client.Path("units", name), nil, false))
	var settled <-chan time.Time
	machine, runs := "", "" // where it has the state, and the runs that have to last
	for {
		select {
		case <-settled:
			return machine, nil
		case u, open := <-events:
			switch {
			case !open:
				return machine, endOfWait(ctx)
			case u.err != nil:
				return "", u.err
			case u.event.Type == wire.Deleted:
				return "", fmt.Errorf("unit %s was destroyed", name)
			case u.event.Type == wire.Bookmark:
				continue
			}
			where, done, err := a.unitHas(u.event.Object, state, requestedAt)
			now := running(u.event.Object)
			switch {
			case err != nil || done && now == "":
				return where, err
			case !done:
				settled, machine, runs = nil, "", ""
			case now != runs:
				settled, machine, runs = time.After(lasting), where, now
			}
		}
	}
}

// unitHas reports whether the unit has the state, and where; it returns an error if the unit cannot reach it.
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
		return "", false, &unplacedError{name, *status}
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
	for _, m := range placed {
		if m.State.JobResult == v1.JobSkipped || m.State.Message == v1.StartedOnMachine {
			a.note("fleetctl: unit %s on %s: %s", name, a.machine(m.Machine, m.Address), m.State.Message)
		}
	}
	return a.machine(placed[0].Machine, placed[0].Address), true, nil
}

func unitHasOn(m v1.UnitOnMachine, state v1.DesiredState, requestedAt string) (bool, error) {
	p, s := m.Placement, m.State
	answered := s != nil && p.DesiredState == state && s.DesiredState == state && s.Hash == p.Hash &&
		(requestedAt == "" || p.RequestedAt == requestedAt && s.RequestedAt == requestedAt)
	asked := requestedAt == "" || p.RequestedAt == requestedAt
	switch {
	case s != nil && state == v1.Launched && asked && p.NotPrepared(s):
		return false, errors.New(s.Message)
	case !answered:
		return false, nil
	case state == v1.Loaded && requestedAt == "" && phase(m) == v1.PhaseRefused && s.Message != v1.StartedOnMachine:
		return false, errors.New(s.Message) // a stop has a request to answer: it does not need the file
	case state == v1.Loaded:
		return s.ActiveState == "inactive" || s.ActiveState == "failed" || s.Message == v1.StartedOnMachine, nil
	}
	switch phase(m) {
	case v1.PhaseActive, v1.PhaseSkipped, v1.PhaseDone: // a finished oneshot is inactive again, with a result
		return true, nil
	case v1.PhaseFailed:
		return false, fmt.Errorf("failed (%s)%s%s", orDash(s.Result), exited(m), cmp.Or(lastLines(s), ": see fleetctl logs"))
	case v1.PhaseRestartLoop:
		return false, fmt.Errorf("in a restart loop: restarts: %d, %s: see fleetctl logs", s.Restarts, cmp.Or(m.Outcome, orDash(s.Result)))
	case v1.PhaseRefused:
		return false, fmt.Errorf("%s%s", s.Message, lastLines(s))
	}
	return false, nil
}

// exited describes how the process ended, if the result does not.
func exited(m v1.UnitOnMachine) string {
	if m.State.Message != "" {
		return ": " + m.State.Message
	}
	outcome := strings.TrimPrefix(strings.TrimPrefix(m.Outcome, "result "+m.State.Result), ", ")
	if outcome != "" {
		return ", " + outcome
	}
	return ""
}

// lastLines returns the unit's last log lines, to be printed below the reason.
func lastLines(s *v1.UnitState) string {
	if s.Output == "" {
		return ""
	}
	return "; last log lines:\n  " + strings.ReplaceAll(s.Output, "\n", "\n  ")
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
