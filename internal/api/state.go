package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// stopTimeout is how long a restart waits for the unit to stop: by default systemd kills it after 90 s.
const stopTimeout = 2 * time.Minute

// setState sets a unit's desired state. request marks it as a new request, which also restarts a failed unit.
func (u *unitWriter) setState(state v1.DesiredState, request bool) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		answer, err := u.request(r.Context(), r.PathValue("name"), state, request)
		if err != nil {
			return err
		}
		return writeJSON(w, answer.Code, answer)
	}
}

// request writes the desired state: to overrides/ for a unit of an app, which the app controller never writes, and to
// the unit otherwise.
func (u *unitWriter) request(ctx context.Context, name string, state v1.DesiredState, anew bool) (*wire.Status, error) {
	n, err := checkUnitName(name)
	if err != nil {
		return nil, err
	}
	switch state {
	case v1.Inactive, v1.Loaded, v1.Launched:
	default:
		return nil, wire.Fail(wire.ReasonBadRequest, "desiredState: unknown state %q: use inactive, loaded or launched", state)
	}
	if n.Template && state != v1.Inactive {
		return nil, wire.Fail(wire.ReasonInvalid, "%s is a template and cannot run: start an instance of it such as %s@1.%s", name, n.Prefix, n.Type)
	}
	requestedAt := ""
	if anew {
		requestedAt = timestamp(u.now)
	}
	kv, ok, _, err := u.store.Get(ctx, u.keys.Units().Key(name))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, u.reader.units.notFound(name)
	}
	unit, err := u.keys.Units().Decode(kv.Value)
	if err != nil {
		return nil, wire.Fail(wire.ReasonInternal, "the stored unit %s cannot be read: %v", name, err)
	}
	if unit.Metadata.Owner != "" {
		return u.override(ctx, name, v1.Override{DesiredState: state, RequestedAt: requestedAt})
	}
	return u.write(ctx, write{
		what: "unit/" + name, key: u.keys.Units().Key(name),
		change: func(kv store.KV, exists bool) ([]store.Op, error) {
			if !exists {
				return nil, u.reader.units.notFound(name)
			}
			unit, err := u.keys.Units().Decode(kv.Value)
			if err != nil {
				return nil, err
			}
			if requestedAt == "" && unit.Spec.DesiredState == state {
				return nil, nil
			}
			unit.Metadata.Name = name // the key has the name; a unit written with etcdctl may lack it
			unit.Spec.DesiredState = state
			if requestedAt != "" {
				unit.Spec.RequestedAt = requestedAt
			}
			return u.unitOps(unit, "")
		},
	})
}

func (u *unitWriter) override(ctx context.Context, unit string, o v1.Override) (*wire.Status, error) {
	if app, err := u.releaseOf(ctx, unit); err != nil {
		return nil, err
	} else if app != "" {
		return nil, wire.Fail(wire.ReasonOwned, "unit %s runs the release command of app/%s: a change of the manifest alone starts it, and fleetctl delete app %s stops it", unit, app, app)
	}
	value, err := u.keys.Overrides().Encode(o)
	if err != nil {
		return nil, err
	}
	key := u.keys.Overrides().Key(unit)
	return u.write(ctx, write{what: "unit/" + unit, key: key, change: func(kv store.KV, exists bool) ([]store.Op, error) {
		if old, err := u.keys.Overrides().Decode(kv.Value); exists && err == nil && (old == o || o == v1.Override{DesiredState: old.DesiredState}) {
			counts, err := u.counts(ctx, unit, kv.ModRevision)
			if err != nil || counts {
				return nil, err
			}
		}
		return []store.Op{{Key: key, Value: value}}, nil
	}})
}

// counts reports whether an override written at that revision applies to the existing unit.
func (u *unitWriter) counts(ctx context.Context, name string, revision int64) (bool, error) {
	kv, ok, _, err := u.store.Get(ctx, u.keys.Units().Key(name))
	if err != nil || !ok {
		return false, err
	}
	unit, err := u.keys.Units().Decode(kv.Value)
	return err == nil && v1.OverrideCounts(revision, kv.CreateRevision, revisionOf(unit.Metadata.OwnerUID)), nil
}

// restart stops a unit, waits until it has stopped, and starts it. The start is requested even if the client leaves or
// the stop takes too long. Instances of an app are restarted by its controller, one at a time.
func (u *unitWriter) restart(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if owned, err := u.owned(r.Context(), name); err != nil {
		return err
	} else if owned {
		answer, err := u.override(r.Context(), name, v1.Override{DesiredState: v1.Launched, RequestedAt: timestamp(u.now), Restart: true})
		if err != nil {
			return err
		}
		return writeJSON(w, answer.Code, answer)
	}
	if _, err := u.request(r.Context(), name, v1.Loaded, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), stopTimeout)
	stopError := u.awaitUnit(ctx, name, stopped)
	cancel()
	ctx, cancel = context.WithTimeout(context.WithoutCancel(r.Context()), u.timeout)
	defer cancel()
	answer, err := u.request(ctx, name, v1.Launched, true)
	if err != nil {
		return err
	}
	if stopError != nil {
		return stopError
	}
	return writeJSON(w, answer.Code, answer)
}

// owned reports whether the unit belongs to an app.
func (u *unitWriter) owned(ctx context.Context, name string) (bool, error) {
	kv, ok, _, err := u.store.Get(ctx, u.keys.Units().Key(name))
	if err != nil || !ok {
		return false, err
	}
	unit, err := u.keys.Units().Decode(kv.Value)
	return err == nil && unit.Metadata.Owner != "", nil
}

// releaseOf returns the app whose release command the unit runs; "" if it runs none.
func (u *unitWriter) releaseOf(ctx context.Context, name string) (app string, err error) {
	kv, ok, _, err := u.store.Get(ctx, u.keys.Units().Key(name))
	if err != nil || !ok {
		return "", err
	}
	unit, err := u.keys.Units().Decode(kv.Value)
	if err != nil || unit.Metadata.Owner == "" || name != v1.ReleaseUnit(unit.Metadata.Owner) {
		return "", nil
	}
	return unit.Metadata.Owner, nil
}

// stopped reports whether the unit runs on none of the reachable machines.
func stopped(unit *v1.Unit) bool {
	for _, m := range unit.Status.Machines {
		if m.State != nil && m.State.ActiveState != "inactive" && m.State.ActiveState != "failed" {
			return false
		}
	}
	return true
}

// awaitUnit returns when the unit matches wanted or is gone.
func (u *unitWriter) awaitUnit(ctx context.Context, name string, wanted func(*v1.Unit) bool) error {
	q := query[*v1.Unit]{name: name, match: func(*v1.Unit) bool { return true }}
	v := u.reader.units.view()
	revision, _, err := u.reader.units.load(ctx, v, q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	batches, wait := u.reader.units.watchRows(ctx, name, revision)
	defer wait()
	defer cancel()
	for {
		unit, ok := v.object(name)
		if !ok {
			return u.reader.units.notFound(name)
		}
		if wanted(unit) {
			return nil
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return wire.Fail(wire.ReasonConflict, "unit %s has not stopped after %s; its start was requested", name, stopTimeout)
			}
			return ctx.Err()
		case b := <-batches:
			if b.Err != nil {
				return b.Err
			}
			u.reader.units.absorb(v, name, b)
		}
	}
}
