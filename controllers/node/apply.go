package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/fleet-starter/fleet/internal/systemd"
)

// inFlight is the number of concurrent calls to systemd.
const inFlight = 16

// apply executes a plan and reports whether it asked systemd for anything. A failure affects only its unit: it is
// recorded, reported with the unit's state and added to refused, to be retried.
func (n *Node) apply(ctx context.Context, plan Decision) (acted bool, refused, err error) {
	defer func() {
		// A pass that acted is followed by another one, which saves the results. Pending launches are already saved.
		if err != nil || !acted {
			err = errors.Join(err, n.records.save())
		}
	}()
	r := applier{Node: n, skip: map[string]bool{}}
	for start := 0; start < len(plan.Actions); {
		end := start + 1
		for end < len(plan.Actions) && together(plan.Actions[start], plan.Actions[end]) {
			end++
		}
		batch := plan.Actions[start:end]
		start = end
		if err := r.batch(ctx, batch); err != nil {
			return r.acted, errors.Join(r.refused...), err
		}
	}
	return r.acted, errors.Join(r.refused...), nil
}

// together reports whether the order of a and b does not matter.
func together(a, b Action) bool {
	if rank(a) != rank(b) {
		return a.Kind == WriteState && b.Kind == DeleteState
	}
	switch a.Kind {
	case Stop, Start, Restart:
		return a.level == b.level
	}
	return true
}

// applier is one run of apply.
type applier struct {
	*Node
	acted bool
	// skip are units for which an action failed: later actions would make no sense.
	skip map[string]bool
	// refused are errors to retry: all but launches, which are tried once per text and request.
	refused []error
	// reloaded makes sure that systemd looks for new unit files at most once.
	reloaded sync.Once
	mu       sync.Mutex
}

func (r *applier) batch(ctx context.Context, batch []Action) error {
	var todo []Action
	for _, a := range batch {
		if !r.skip[a.Unit] {
			todo = append(todo, a)
			r.log(a)
		}
	}
	if len(todo) == 0 {
		return nil
	}
	switch todo[0].Kind {
	case Link:
		return r.link(ctx, todo)
	case Unlink:
		return r.unlink(ctx, todo)
	case Reload:
		return r.reload(ctx, todo[0])
	case Enable:
		return r.each(ctx, todo)
	case Start, Restart:
		if err := r.announce(todo); err != nil {
			return err
		}
		return r.each(ctx, todo)
	case Stop, ResetFailed:
		return r.each(ctx, todo)
	case WriteState, DeleteState:
		r.states.report(todo)
		return nil
	case PullImage:
		for _, a := range todo {
			r.pulls.begin(a.Pull, a.Image)
		}
		return nil
	case Tell:
		for _, a := range todo {
			r.Events.Record(a.Event.Kind, a.Event.Name, a.Event.Type, a.Event.Reason, a.Event.Message)
		}
		return nil
	}
	for _, a := range todo {
		if err := r.local(a); err != nil {
			r.refuse(a, err)
		}
	}
	return nil
}

// reload makes systemd read changed files. If that is refused, only the units with changed files are affected: they keep
// their former file.
func (r *applier) reload(ctx context.Context, a Action) error {
	if a.Reason == FileChanged && !r.reloadDue && !slices.ContainsFunc(a.Units, func(unit string) bool { return !r.skip[unit] }) {
		return nil // none was written: each reload is a hint that triggers the next pass at once
	}
	r.acted = true
	err := r.Systemd.Reload(ctx)
	r.reloadDue = err != nil
	if unanswered(ctx, err) {
		return err
	}
	if err != nil {
		r.refused = append(r.refused, fmt.Errorf("%s: %w", a.Kind, err))
		for _, unit := range a.Units {
			r.refuse(Action{Kind: Reload, Unit: unit}, err)
		}
	}
	return nil
}

// unanswered reports that systemd gave no answer, which affects more than one unit.
func unanswered(ctx context.Context, err error) bool {
	return err != nil && (errors.Is(err, systemd.ErrDisconnected) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil)
}

// refuse leaves a unit as it is for now and puts the reason in its state.
func (r *applier) refuse(a Action, err error) {
	r.refused = append(r.refused, fmt.Errorf("%s %s: %w", a.Kind, a.Unit, err))
	rec := r.records.units[a.Unit]
	rec.Message = err.Error()
	r.records.units[a.Unit] = rec
	r.skip[a.Unit] = true
}

func (r *applier) log(a Action) {
	log := r.Log
	switch a.Kind {
	case Note, Forget, WriteState, DeleteState, Tell:
		log = log.V(1)
	}
	log.Info("Acting on unit", "action", string(a.Kind), "unit", a.Unit, "reason", a.Reason)
}

// local executes actions that do not need systemd.
func (r *applier) local(a Action) error {
	switch a.Kind {
	case WriteFile:
		return r.files.write(a.Unit, r.texts.known[a.Hash])
	case Hold:
		if err := os.MkdirAll(r.Layout.Held(), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(r.Layout.Held(), a.Unit), nil, 0o644)
	case Release:
		return remove(filepath.Join(r.Layout.Held(), a.Unit))
	case WritePorts:
		return r.writePorts(a.Unit, a.Ports)
	case RemovePorts:
		return remove(filepath.Join(r.Layout.Ports(), a.Unit))
	case RemoveFile:
		return remove(r.Layout.Unit(a.Unit))
	case Note:
		r.records.units[a.Unit] = a.Record
	case Forget:
		delete(r.records.units, a.Unit)
	default:
		return fmt.Errorf("action %q is unknown", a.Kind)
	}
	return nil
}

func remove(file string) error {
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

// report takes all states at once, to write them in one transaction.
func (w *stateWriter) report(actions []Action) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range actions {
		if w.want[a.Unit] = nil; a.Kind == WriteState {
			w.want[a.Unit] = &a.State
		}
	}
	w.poke()
}

// link links all files in one call or, if systemd refuses, one at a time, so that a bad file affects no other.
func (r *applier) link(ctx context.Context, batch []Action) error {
	r.acted = true
	paths := make([]string, len(batch))
	for i, a := range batch {
		paths[i] = r.Layout.Unit(a.Unit)
	}
	if err := r.Systemd.Link(ctx, paths...); unanswered(ctx, err) {
		return err
	} else if err != nil {
		return r.each(ctx, batch)
	}
	for _, a := range batch {
		r.records.units[a.Unit] = a.Record
	}
	return nil
}

func (r *applier) unlink(ctx context.Context, batch []Action) error {
	r.acted = true
	names := make([]string, len(batch))
	for i, a := range batch {
		names[i] = a.Unit
	}
	if err := r.Systemd.Unlink(ctx, names...); unanswered(ctx, err) {
		return err
	} else if err != nil {
		return r.each(ctx, batch)
	}
	return nil
}

// announce saves which launches are about to be requested, so that a restarted fleetd can check whether they were.
func (r *applier) announce(batch []Action) error {
	for _, a := range batch {
		a.Record.Pending = true
		r.records.units[a.Unit] = a.Record
	}
	return r.records.save()
}

// each makes one call per unit, several concurrently.
func (r *applier) each(ctx context.Context, batch []Action) error {
	r.acted = true
	var errs []error
	var wait sync.WaitGroup
	var silent atomic.Bool // systemd does not answer: further calls would only time out too
	slots := make(chan struct{}, inFlight)
	for _, a := range batch {
		slots <- struct{}{}
		if silent.Load() {
			break
		}
		wait.Go(func() {
			defer func() { <-slots }()
			err := r.call(ctx, a)
			if errors.Is(err, systemd.ErrNoSuchUnit) && (a.Kind == Start || a.Kind == Restart) {
				// systemd caches that it did not find the unit before.
				r.reloaded.Do(func() { err = r.Systemd.Reload(ctx) })
				err = r.call(ctx, a)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if err := r.result(ctx, a, err); err != nil {
				errs = append(errs, err)
				silent.Store(true)
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

func (r *applier) call(ctx context.Context, a Action) error {
	switch a.Kind {
	case Link:
		return r.Systemd.Link(ctx, r.Layout.Unit(a.Unit))
	case Enable:
		return r.Systemd.Enable(ctx, r.Layout.Unit(a.Unit))
	case Unlink:
		return r.Systemd.Unlink(ctx, a.Unit)
	case Start:
		return r.Systemd.Start(ctx, a.Unit)
	case Restart:
		return r.Systemd.Restart(ctx, a.Unit)
	case Stop:
		return r.Systemd.Stop(ctx, a.Unit)
	case ResetFailed:
		return r.Systemd.ResetFailed(ctx, a.Unit)
	}
	return fmt.Errorf("action %q is not for systemd", a.Kind)
}

// result records how a call ended. A refusal is not retried until something changes; a missing answer is not a refusal.
func (r *applier) result(ctx context.Context, a Action, err error) error {
	if unanswered(ctx, err) {
		return err
	}
	switch {
	case err == nil:
		r.records.units[a.Unit] = a.Record
	case a.Kind == Start || a.Kind == Restart:
		r.Log.Error(err, "Unit was refused", "action", string(a.Kind), "unit", a.Unit)
		a.Record.Message = err.Error()
		r.records.units[a.Unit] = a.Record
	default:
		r.refuse(a, err)
	}
	return nil
}
