package api

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	v1 "github.com/fleet-starter/fleet/apis/v1"
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
func (a *appWriter) putApp(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	app, err := v1.ParseAppNamed(name, body)
	if err != nil {
		return wire.Invalid("app/"+name, causes(err))
	}
	want, err := precondition(r, app.Metadata.ResourceVersion)
	if err != nil {
		return err
	}
	answer, err := a.write(r.Context(), write{
		what: "app/" + name, key: a.keys.Apps().Key(name), want: want, dryRun: flag(r.URL.Query().Get("dryRun")),
		change: func(kv store.KV, _ bool) ([]store.Op, error) {
			if bytes.Equal(kv.Value, body) {
				return nil, nil
			}
			return []store.Op{{Key: a.keys.Apps().Key(name), Value: body}}, nil
		},
	})
	if err != nil {
		return err
	}
	if warnings := app.Warnings(); len(warnings) > 0 {
		answer.Warnings = causes(warnings)
	}
	return writeJSON(w, answer.Code, answer)
}

func (a *appWriter) deleteApp(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	want, err := precondition(r, "")
	if err != nil {
		return err
	}
	answer, err := a.remove(r.Context(), write{what: "app/" + name, key: a.keys.Apps().Key(name), want: want,
		dryRun: flag(r.URL.Query().Get("dryRun")),
		change: func(store.KV, bool) ([]store.Op, error) { return a.overridesOf(r.Context(), name) }})
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
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
