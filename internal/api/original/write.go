package original

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/unitfile"
)

// stopTimeout is how long a restart waits for the unit to stop: by default systemd kills it after 90 s.
const stopTimeout = 2 * time.Minute

// startTimeout bounds the request to start a unit again.
const startTimeout = 10 * time.Second

// putUnit stores a unit with its options. The original validates little: what it would not take, systemd refuses later.
func (s *server) putUnit(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	stored, err := v1.ParseUnit(body)
	if err != nil {
		return wire.Fail(wire.ReasonBadRequest, "%v", err)
	}
	file, err := unitfile.Parse(stored.Spec.Contents)
	var parse *unitfile.ParseError
	if errors.As(err, &parse) {
		return wire.Invalid("unit/"+stored.Metadata.Name, []wire.Cause{{Line: parse.Line, Message: parse.Msg, InContents: &wire.Cause{Line: parse.Line, Message: parse.Msg}}})
	} else if err != nil {
		return wire.Fail(wire.ReasonBadRequest, "%v", err)
	}
	u := unit{Name: r.PathValue("name"), DesiredState: stored.Spec.DesiredState}
	for _, o := range file.Options() {
		u.Options = append(u.Options, option{Section: o.Section, Name: o.Name, Value: o.Value})
	}
	if err := s.put(r.Context(), u); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wire.Done(wire.ReasonConfigured, "unit/%s configured", u.Name))
}

func (s *server) put(ctx context.Context, u unit) error {
	return s.call(ctx, http.MethodPut, "units/"+url.PathEscape(u.Name), nil, u, nil)
}

func (s *server) deleteUnit(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	if err := s.call(r.Context(), http.MethodDelete, "units/"+url.PathEscape(name), nil, nil, nil); err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wire.Done(wire.ReasonDeleted, "unit/%s deleted", name))
}

// states are what the verbs ask for.
var states = map[string]v1.DesiredState{"start": v1.Launched, "stop": v1.Loaded, "load": v1.Loaded, "unload": v1.Inactive}

// setState asks for a state. A restart is a stop, and then a start: the original has no other.
func (s *server) setState(w http.ResponseWriter, r *http.Request) error {
	name, verb := r.PathValue("name"), r.PathValue("verb")
	state, ok := states[verb]
	switch {
	case verb == "restart":
		if err := s.restart(r.Context(), name); err != nil {
			return err
		}
	case !ok:
		return s.missing(w, r)
	default:
		if err := s.request(r.Context(), name, state); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, wire.Done(wire.ReasonConfigured, "unit/%s configured", name))
}

// request asks for a state of an existing unit: the original answers 409 for another.
func (s *server) request(ctx context.Context, name string, state v1.DesiredState) error {
	var u unit
	if err := s.call(ctx, http.MethodGet, "units/"+url.PathEscape(name), nil, nil, &u); err != nil {
		return err
	}
	return s.put(ctx, unit{Name: name, DesiredState: state})
}

// restart starts the unit even if its stop takes too long or the client leaves.
func (s *server) restart(ctx context.Context, name string) error {
	if err := s.request(ctx, name, v1.Loaded); err != nil {
		return err
	}
	stopError := s.awaitStop(ctx, name)
	starting, cancel := context.WithTimeout(context.WithoutCancel(ctx), startTimeout)
	defer cancel()
	return cmp.Or(s.put(starting, unit{Name: name, DesiredState: v1.Launched}), stopError)
}

func (s *server) awaitStop(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		found, err := s.units(ctx, name, nil)
		if err != nil || stopped(found[0]) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return wire.Fail(wire.ReasonConflict, "unit %s has not stopped after %s; its start was requested", name, stopTimeout)
		}
	}
}

// stopped reports whether the unit's machines have answered that they stopped it.
func stopped(u v1.Unit) bool {
	for _, m := range u.Status.Machines {
		if m.State != nil && (m.State.DesiredState == v1.Launched && m.Placement != nil && u.Status.Machine != "" ||
			m.State.ActiveState != "inactive" && m.State.ActiveState != "failed") {
			return false
		}
	}
	return true
}
