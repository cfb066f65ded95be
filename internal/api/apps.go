package api

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// appWriter changes apps and the overrides of their units.
type appWriter struct {
	*writer
	keys   keyspace.Keys
	now    func() time.Time
	reader *reader
}

// putApp stores a valid manifest byte for byte as it was sent.
func (a *applier) putApp(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	d, err := a.appDocument(r.PathValue("name"), body)
	if err != nil {
		return err
	}
	if d.want, err = precondition(r, d.version); err != nil {
		return err
	}
	answer, err := a.apply(r.Context(), []*document{d}, a.record(r, ""), applyOptions{dryRun: flag(r.URL.Query().Get("dryRun"))})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Items[0].Code, answer.Items[0])
}

// deleter deletes objects. That is recorded as an apply, so that it can be undone.
type deleter struct{ *applier }

// object deletes an app or a unit.
func (a *deleter) object(kind string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		d := a.deletion(r.Context(), kind, r.PathValue("name"))
		change := d.change
		d.change = func(kv store.KV, exists bool) ([]store.Op, error) {
			if !exists {
				return nil, wire.Fail(wire.ReasonNotFound, "%s does not exist", d.what())
			}
			return change(kv, exists)
		}
		var err error
		if d.want, err = precondition(r, ""); err != nil {
			return err
		}
		answer, err := a.apply(r.Context(), []*document{d}, a.record(r, ""), applyOptions{dryRun: flag(r.URL.Query().Get("dryRun"))})
		if err != nil {
			return err
		}
		return writeJSON(w, answer.Items[0].Code, answer.Items[0])
	}
}

// maxOverrides bounds the overrides deleted in one transaction; the collector removes the rest after the app is
// deleted.
const maxOverrides = 100

// overridesOf returns the operations that delete the overrides of an app's units, so that a new app of the same name
// starts without any.
func (a *appWriter) overridesOf(ctx context.Context, app string) ([]store.Op, error) {
	overrides, err := a.overrideKeys(ctx, app)
	var ops []store.Op
	for _, unit := range slices.Sorted(maps.Keys(overrides)) {
		if len(ops) < maxOverrides {
			ops = append(ops, store.Op{Key: a.keys.Overrides().Key(unit)})
		}
	}
	return ops, err
}
