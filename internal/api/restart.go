package api

import (
	"context"
	"net/http"
	"slices"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// restartApp requests a restart of all launched instances of an app, or of those that the request names. The requests
// are written together; the app controller carries them out one at a time.
func (a *appWriter) restartApp(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var request wire.RestartRequest
	if len(body) > 0 {
		if err := strictJSON(body, &request); err != nil {
			return wire.Fail(wire.ReasonBadRequest, `%v: write {"units": ["%s@1.service"]}, or {} for all instances`, err, name)
		}
	}
	answer, err := again(func() (*wire.Restart, error) { return a.restartOnce(r.Context(), name, request.Units) })
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (a *appWriter) restartOnce(ctx context.Context, app string, named []string) (*wire.Restart, error) {
	overrides, err := a.overrideKeys(ctx, app)
	if err != nil {
		return nil, err
	}
	instances, err := a.instancesOf(ctx, app)
	if err != nil {
		return nil, err
	}
	answer := &wire.Restart{Units: []string{}, RequestedAt: timestamp(a.now)}
	for _, unit := range named {
		if !slices.Contains(instances, unit) {
			return nil, wire.Fail(wire.ReasonNotFound, "unit %s is not an instance of app/%s", unit, app)
		}
	}
	value, err := a.keys.Overrides().Encode(v1.Override{DesiredState: v1.Launched, RequestedAt: answer.RequestedAt, Restart: true})
	if err != nil {
		return nil, err
	}
	var ops []store.Op
	for _, unit := range instances {
		kv, exists := overrides[unit]
		if len(named) > 0 && !slices.Contains(named, unit) || len(named) == 0 && a.stoppedByHand(kv) {
			continue
		}
		answer.Units = append(answer.Units, unit)
		ops = append(ops, store.Op{Key: a.keys.Overrides().Key(unit), Value: value, If: condition(kv, exists)})
	}
	a.log.Info("restarting", "reason", "Restart", "object", "app/"+app, "instances", len(ops))
	for batch := range slices.Chunk(ops, maxOverrides) {
		if _, err := a.store.Commit(ctx, store.Txn{Ops: batch}); err != nil {
			return nil, err
		}
	}
	return answer, nil
}

// instancesOf returns the names of an app's units without the sidekicks.
func (a *appWriter) instancesOf(ctx context.Context, app string) ([]string, error) {
	if _, ok, _, err := a.store.Get(ctx, a.keys.Apps().Key(app)); err != nil || !ok {
		if err == nil {
			err = a.reader.apps.notFound(app)
		}
		return nil, err
	}
	var names []string
	units := a.keys.Units()
	_, err := store.ListAll(ctx, a.store, units.Prefix()+app, store.ListOptions{}, func(kv store.KV) error {
		name, _ := units.Name(kv.Key)
		unit, err := units.Decode(kv.Value)
		if _, sidekick, ours := v1.ParseAppUnit(app, name); err == nil && ours && !sidekick && unit.Metadata.Owner == app {
			names = append(names, name)
		}
		return nil
	})
	return names, err
}

// overrideKeys returns the stored overrides of an app's units, by unit.
func (a *appWriter) overrideKeys(ctx context.Context, app string) (map[string]store.KV, error) {
	overrides := a.keys.Overrides()
	stored := map[string]store.KV{}
	_, err := store.ListAll(ctx, a.store, overrides.Prefix()+app, store.ListOptions{}, func(kv store.KV) error {
		unit, _ := overrides.Name(kv.Key)
		if _, _, ours := v1.ParseAppUnit(app, unit); ours {
			stored[unit] = kv
		}
		return nil
	})
	return stored, err
}

func (a *appWriter) stoppedByHand(kv store.KV) bool {
	o, err := a.keys.Overrides().Decode(kv.Value)
	return len(kv.Value) > 0 && err == nil && o.DesiredState != "" && o.DesiredState != v1.Launched
}
