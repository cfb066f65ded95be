package api

import (
	"fmt"
	"mime"
	"net/http"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// fleetRoutes is the original fleet's API: its paths, its codes, its words. What it does is the resource API's own
// reading and writing.
func (s *Server) fleetRoutes() {
	for _, prefix := range []string{"/fleet/v1", "/v1-alpha"} {
		s.handle(prefix+"/units", writeFleetError, methods{http.MethodGet: s.fleetUnits})
		s.handle(prefix+"/units/{name}", writeFleetError, methods{
			http.MethodGet: s.fleetUnit, http.MethodPut: s.fleetPutUnit, http.MethodDelete: s.fleetDeleteUnit,
		})
		s.handle(prefix+"/state", writeFleetError, methods{http.MethodGet: s.fleetStates})
		s.handle(prefix+"/state/{name}", writeFleetError, methods{http.MethodGet: s.fleetState})
		s.handle(prefix+"/machines", writeFleetError, methods{http.MethodGet: s.fleetMachines})
		s.handle(prefix+"/discovery", writeFleetError, methods{http.MethodGet: s.fleetDiscovery})
		s.mux.Handle(prefix+"/", s.wrap(writeFleetError, notFound))
	}
}

// writeFleetError is the dialect of the fleet v1 API: {"error":{"code":N,"message":"..."}}. It had no 422.
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

// fleetPage reads ?nextPageToken=: a page is that of a listing's limit and continue.
func fleetPage[T any](c *resource[T], r *http.Request, match func(T) bool) (query[T], error) {
	q := query[T]{match: match, limit: c.server.TokenLimit}
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

// requireJSON refuses bodies of other types.
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

// fleetDiscovery describes the API, in the words that clients look for.
func (s *Server) fleetDiscovery(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]any{
		"kind": "discovery#restDescription", "discoveryVersion": "v1", "id": "fleet:v1", "name": "fleet", "version": "v1",
		"title": "fleet API", "protocol": "rest", "basePath": "/fleet/v1/",
		"rootUrl": fmt.Sprintf("http://%s/", r.Host), "servicePath": "fleet/v1/",
	})
}

// fleetAfter is the token for the page behind a key, or nothing on the last page.
func fleetAfter(revision int64, next string) string {
	if next == "" {
		return ""
	}
	return token{Revision: revision, After: next}.String()
}
