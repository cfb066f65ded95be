package original

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// server answers requests of the resource API from one fleetd of the original.
type server struct {
	base     http.RoundTripper
	endpoint string
	version  string
	mux      *http.ServeMux
}

func newServer(base http.RoundTripper, endpoint, version string) *server {
	s := &server{base: base, endpoint: endpoint, version: version, mux: http.NewServeMux()}
	for path, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /version":                                 s.getVersion,
		"GET " + wire.Prefix + "/units":                s.listUnits,
		"GET " + wire.Prefix + "/units/{name}":         s.getUnit,
		"GET " + wire.Prefix + "/units/{name}/file":    s.getFile,
		"PUT " + wire.Prefix + "/units/{name}":         s.putUnit,
		"DELETE " + wire.Prefix + "/units/{name}":      s.deleteUnit,
		"POST " + wire.Prefix + "/units/{name}/{verb}": s.setState,
		"GET " + wire.Prefix + "/states":               s.listStates,
		"GET " + wire.Prefix + "/machines":             s.listMachines,
		"GET " + wire.Prefix + "/machines/{name}":      s.getMachine,
		"/": s.missing,
	} {
		s.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				writeError(w, err)
			}
		})
	}
	return s
}

func (s *server) getVersion(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, wire.Version{Version: s.version})
}

// missing answers for all that the original does not have.
func (s *server) missing(_ http.ResponseWriter, r *http.Request) error {
	return wire.Fail(wire.ReasonBadRequest, "the server is the original fleet %s, which has units and machines only: it does not know %s %s",
		s.version, r.Method, strings.TrimPrefix(r.URL.Path, wire.Prefix))
}

// call sends a request to the original and decodes its answer, unless into is nil.
func (s *server) call(ctx context.Context, method, path string, q url.Values, body, into any) error {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return err
		}
	}
	at := s.endpoint + "/fleet/v1/" + path
	if len(q) > 0 {
		at += "?" + q.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", wire.JSON)
	resp, err := s.base.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		return readFailure(resp)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("%s %s: cannot decode the answer: %w", method, path, err)
	}
	return nil
}

// readFailure turns an error of the original into one of the resource API.
func readFailure(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxError)) // report what could be read
	var told failure
	_ = json.Unmarshal(data, &told)
	message := told.Error.Message
	if message == "" {
		message = resp.Request.Method + " " + resp.Request.URL.Path + ": " + resp.Status
	}
	reason := wire.ReasonInternal
	switch resp.StatusCode {
	case http.StatusBadRequest:
		reason = wire.ReasonBadRequest
	case http.StatusNotFound:
		reason = wire.ReasonNotFound
	case http.StatusConflict:
		reason = wire.ReasonConflict
	case http.StatusServiceUnavailable:
		reason = wire.ReasonUnavailable
	}
	return wire.Fail(reason, "%s", message)
}

func writeError(w http.ResponseWriter, err error) {
	var status *wire.Status
	if !errors.As(err, &status) {
		status = wire.Fail(wire.ReasonUnavailable, "%v", err)
	}
	_ = writeJSON(w, status.Code, status) // the client has left
}

func writeJSON(w http.ResponseWriter, code int, value any) error {
	w.Header().Set("Content-Type", wire.JSON)
	w.WriteHeader(code)
	return json.NewEncoder(w).Encode(value)
}
