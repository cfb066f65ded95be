package api

import (
	"fmt"
	"mime"
	"net/http"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// fleetAPI serves the original fleet's API with its paths, status codes and field names, on top of the resource API's
// reads and writes.
type fleetAPI struct {
	reader *reader
	units  *unitWriter
	limit  int // page size
}

// routes registers the API's paths.
func (f *fleetAPI) routes(front *front) {
	for _, prefix := range []string{"/fleet/v1", "/v1-alpha"} {
		front.handle(prefix+"/units", writeFleetError, methods{http.MethodGet: f.fleetUnits})
		front.handle(prefix+"/units/{name}", writeFleetError, methods{
			http.MethodGet: f.fleetUnit, http.MethodPut: f.fleetPutUnit, http.MethodDelete: f.fleetDeleteUnit,
		})
		front.handle(prefix+"/state", writeFleetError, methods{http.MethodGet: f.fleetStates})
		front.handle(prefix+"/state/{name}", writeFleetError, methods{http.MethodGet: f.fleetState})
		front.handle(prefix+"/machines", writeFleetError, methods{http.MethodGet: f.fleetMachines})
		front.handle(prefix+"/discovery", writeFleetError, methods{http.MethodGet: f.fleetDiscovery})
		front.mux.Handle(prefix+"/", front.wrap(writeFleetError, notFound))
	}
}

// writeFleetError writes an error in the fleet v1 format: {"error":{"code":N,"message":"..."}}. That API had no 422.
func writeFleetError(w http.ResponseWriter, s *wire.Status) {
	code := s.Code
	if code == http.StatusUnprocessableEntity {
		code = http.StatusBadRequest
	}
	type fault struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}
	_ = writeJSON(w, code, map[string]fault{"error": {Code: code, Message: s.Error()}})
}

// fleetPage reads ?nextPageToken=, which holds a listing's limit and continue.
func fleetPage[T any](c *resource[T], r *http.Request, limit int, match func(T) bool) (query[T], error) {
	q := query[T]{match: match, limit: limit}
	text := r.URL.Query().Get("nextPageToken")
	if text == "" {
		return q, nil
	}
	t, err := readToken(text, c.rows[0].prefix)
	if err != nil {
		return q, wire.Fail(wire.ReasonBadRequest, "invalid value for nextPageToken: %s: %v", text, err)
	}
	q.revision, q.after = t.Revision, t.After
	return q, nil
}

// requireJSON refuses bodies of any other type.
func requireJSON(w http.ResponseWriter, r *http.Request) bool {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == wire.JSON {
		return true
	}
	status := wire.Fail(wire.ReasonBadRequest, "application/json is the only supported content type")
	status.Code = http.StatusUnsupportedMediaType
	writeFleetError(w, status)
	return false
}

// fleetDiscovery answers with the discovery document that clients of the original API look for.
func (f *fleetAPI) fleetDiscovery(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]any{
		"kind": "discovery#restDescription", "discoveryVersion": "v1", "id": "fleet:v1", "name": "fleet", "version": "v1",
		"title": "fleet API", "protocol": "rest", "basePath": "/fleet/v1/",
		"rootUrl": fmt.Sprintf("http://%s/", r.Host), "servicePath": "fleet/v1/",
	})
}

// fleetAfter returns the token of the page after a key, or "" on the last page.
func fleetAfter(revision int64, next string) string {
	if next == "" {
		return ""
	}
	return token{Revision: revision, After: next}.String()
}
