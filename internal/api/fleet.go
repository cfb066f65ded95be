package api

import (
	_ "embed"
	"mime"
	"net/http"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// fleetAPI serves the original fleet's API with its paths, status codes and field names, on top of the resource API's
// reads and writes.
type fleetAPI struct {
	reader   *reader
	units    *unitWriter
	machines *machineWriter
	limit    int // page size
}

// routes registers the API's paths.
func (f *fleetAPI) routes(front *front) {
	const get, put, patch, del = http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete
	for _, prefix := range []string{"/fleet/v1", "/v1-alpha"} {
		for path, m := range map[string]methods{
			"":              {},
			"/units":        {get: f.fleetUnits},
			"/units/{name}": {get: f.fleetUnit, put: f.fleetPutUnit, del: f.fleetDeleteUnit},
			"/state":        {get: f.fleetStates},
			"/state/{name}": {get: f.fleetState},
			"/machines":     {get: f.fleetMachines, patch: f.fleetPatchMachines},
			"/discovery":    {get: f.fleetDiscovery},
		} {
			for method, h := range m {
				m[method] = asJSON(h)
			}
			front.handle(prefix+path, writeFleetError, m)
		}
		front.mux.Handle(prefix+"/", front.wrap(writeFleetError, notFound))
	}
}

// asJSON sets the content type also of answers without a body: the original's clients look for it.
func asJSON(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", wire.JSON)
		return h(w, r)
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
	tokens := r.URL.Query()["nextPageToken"]
	switch len(tokens) {
	case 0:
		return q, nil
	case 1:
	default:
		return q, wire.Fail(wire.ReasonBadRequest, "too many values for nextPageToken")
	}
	text := tokens[0]
	t, err := readToken(text, c.rows[0].prefix)
	if err != nil {
		return q, wire.Fail(wire.ReasonBadRequest, "invalid value for nextPageToken: %s: %v", text, err)
	}
	q.revision, q.after = t.Revision, t.After
	return q, nil
}

// requireJSON refuses bodies of any other type.
func requireJSON(r *http.Request) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err == nil && kind == wire.JSON && len(r.Header.Values("Content-Type")) == 1 {
		return nil
	}
	status := wire.Fail(wire.ReasonBadRequest, "only acceptable Content-Type is application/json")
	status.Code = http.StatusUnsupportedMediaType
	return status
}

//go:embed fleetdiscovery.json
var discoveryDocument []byte

// fleetDiscovery answers with the discovery document that generators of clients read.
func (f *fleetAPI) fleetDiscovery(w http.ResponseWriter, _ *http.Request) error {
	return writeText(w, wire.JSON, discoveryDocument)
}

// fleetAfter returns the token of the page after a key, or "" on the last page.
func fleetAfter(revision int64, next string) string {
	if next == "" {
		return ""
	}
	return token{Revision: revision, After: next}.String()
}
