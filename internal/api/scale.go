package api

import (
	"errors"
	"fmt"
	"net/http"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
)

// scaleApp writes another number of instances into the stored manifest, and leaves every other byte as it is.
func (a *roller) scaleApp(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var request wire.ScaleRequest
	if err := strictJSON(body, &request); err != nil || request.Replicas == nil {
		return wire.Fail(wire.ReasonBadRequest, `write {"replicas": 3}`)
	}
	if err := checkNote(request.Note); err != nil {
		return err
	}
	answer, err := again(func() (*wire.Status, error) { return a.scaleOnce(r, request) })
	if err != nil {
		return err
	}
	return writeJSON(w, answer.Code, answer)
}

func (a *roller) scaleOnce(r *http.Request, request wire.ScaleRequest) (*wire.Status, error) {
	name := r.PathValue("name")
	kv, exists, _, err := a.store.Get(r.Context(), a.keys.Apps().Key(name))
	if err == nil && !exists {
		err = a.reader.apps.notFound(name)
	}
	if err != nil {
		return nil, err
	}
	var faults v1.ManifestErrors
	scaled, err := v1.ScaleManifest(name, kv.Value, *request.Replicas)
	switch {
	case errors.As(err, &faults):
		return nil, wire.Fail(wire.ReasonConflict, "the stored manifest of app/%s is not valid: %s: mend it and apply it", name, v1.Summary(err))
	case err != nil:
		return nil, wire.Fail(wire.ReasonBadRequest, "%v", err)
	}
	d, err := a.appDocument(name, scaled)
	if err != nil {
		return nil, err
	}
	d.change = onlyAt(kv.ModRevision, d.change)
	note := fmt.Sprintf("scale to %d", *request.Replicas)
	if request.Note != "" {
		note += ": " + request.Note
	}
	answer, err := a.applyOnce(r.Context(), []*document{d}, a.record(r, note), applyOptions{dryRun: flag(r.URL.Query().Get("dryRun"))})
	if err != nil {
		return nil, err
	}
	return answer.Items[0], nil
}
