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

// inFlight is how many calls to systemd are made at once.
const inFlight = 16

// apply does what a plan says and reports whether anything was asked of systemd. What fails for one unit is that unit's
// affair: it is noted in its record and reported with its state, the others go on, and it is among refused, for trying again.
func (n *Node) apply(ctx context.Context, plan Decision) (acted bool, refused, err error) {
	defer func() {
		// A pass that acted is followed by one that saves what came of it. What was about to be asked for is saved already.
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

// together: the order of these two does not matter.
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

// applier is one apply.
type applier struct {
	*Node
	acted bool
	// skip are units that something failed for: what follows would make no sense.
	skip map[string]bool
	// refused is what will be tried again: all but launches, which are tried once for each text and request.
	refused []error
	// reloaded is set once systemd was made to look for unit files again.
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

// reload has systemd read changed files. Where it refuses to, the units that have one keep their former file; the others go on.
func (r *applier) reload(ctx context.Context, a Action) error {
	if a.Reason == FileChanged && !r.reloadDue && !slices.ContainsFunc(a.Units, func(unit string) bool { return !r.skip[unit] }) {
		return nil // none could be written: each reload is a hint that has the next pass made at once
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

// unanswered: systemd did not say yes or no. That concerns more than one unit.
func unanswered(ctx context.Context, err error) bool {
	return err != nil && (errors.Is(err, systemd.ErrDisconnected) || errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil)
}

// refuse leaves a unit as it is for now, with the reason in its state.
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
	log.Info("Acting on unit", "action", string(a.Kind), "unit", a.Unit, "reason", string(a.Reason))
}

// local does what needs no systemd.
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

// report takes all at once, so that they are written in one transaction.
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

// link links all files in one call; where systemd refuses, each by itself, so that a bad one hurts no other.
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

// announce writes down which launches are about to be asked for: whoever comes back after a kill looks whether they were.
func (r *applier) announce(batch []Action) error {
	for _, a := range batch {
		a.Record.Pending = true
		r.records.units[a.Unit] = a.Record
	}
	return r.records.save()
}

// each makes one call a unit, several at once.
func (r *applier) each(ctx context.Context, batch []Action) error {
	r.acted = true
	var errs []error
	var wait sync.WaitGroup
	var silent atomic.Bool // systemd does not answer: the next call would only take time as well
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
				// systemd remembers that it did not find it before.
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

// result notes how a call ended. What systemd refused for one unit is not tried again until something changes; what it
// did not answer is no refusal.
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
