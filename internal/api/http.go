package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/store"
)

// bodyTimeout is how long a client may take to send a body; writeTimeout is how long it may leave written data unread.
const (
	bodyTimeout  = 30 * time.Second
	writeTimeout = 30 * time.Second
)

// noEtcd begins the message of every 503. Clients of the original know it by its words.
const noEtcd = "fleet server unable to communicate with etcd"

// crossOrigin refuses writes that a page of another origin makes a browser send.
var crossOrigin = http.NewCrossOriginProtection()

// handler answers one request, or returns the error for the dialect to write.
type handler func(http.ResponseWriter, *http.Request) error

// methods are the handlers of one path.
type methods map[string]handler

// dialect writes errors in the format of one of the two APIs.
type dialect func(http.ResponseWriter, *wire.Status)

// front is the middleware that every request passes before its handler.
type front struct {
	mux     *http.ServeMux
	limits  *limits
	log     logr.Logger
	timeout time.Duration // of requests that are not watches
	refuse  func() error
}

// handle registers a path; methods without a handler get 405.
func (f *front) handle(path string, d dialect, m methods) {
	f.mux.Handle(path, f.wrap(d, func(w http.ResponseWriter, r *http.Request) error {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h, ok := m[method]; ok {
			return h(w, r)
		}
		w.Header().Set("Allow", m.allow())
		return wire.Fail(wire.ReasonMethodNotAllowed, "method %s is not allowed on %s: use %s", r.Method, r.URL.Path, m.allow())
	}))
}

// wrap makes an http.Handler of a handler, with a bounded body, a deadline, recovery from panics, and errors in the
// dialect's format.
func (f *front) wrap(d dialect, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tracked := &response{ResponseWriter: w}
		defer f.recovered(tracked, r, d)
		if err := crossOrigin.Check(r); err != nil {
			d(tracked, wire.Fail(wire.ReasonForbidden, "cross-origin write refused: %v", err))
			return
		}
		if err := f.refuse(); err != nil {
			d(tracked, wire.Fail(wire.ReasonUnavailable, "%s: %v", noEtcd, err))
			return
		}
		r.Body = http.MaxBytesReader(tracked, r.Body, bodyLimit(r))
		if streams(r) {
			done, err := f.limits.stream(r)
			if err == nil {
				defer done()
				if r.Method == http.MethodGet { // until the body is read, the server does not notice that the client has left
					_, err = readBody(tracked, r)
				}
			}
			if err != nil {
				f.fail(tracked, r, d, err)
				return
			}
		} else {
			// Not every handler reads the body; the rest of it is read before the connection is reused.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(f.timeout + bodyTimeout))
			ctx, cancel := context.WithTimeout(r.Context(), f.timeout)
			defer cancel()
			r = r.WithContext(ctx)
		}
		if err := h(tracked, r); err != nil {
			f.fail(tracked, r, d, err)
		}
	})
}

// plansPath is where plans are made, applyPlanPath where saved ones are applied: they are larger than what is stored of them.
const (
	plansPath     = "/plans"
	applyPlanPath = plansPath + "/apply"
)

func bodyLimit(r *http.Request) int64 {
	if r.URL.Path == wire.Prefix+applyPlanPath {
		return wire.MaxPlan
	}
	return wire.MaxBody
}

func notFound(_ http.ResponseWriter, r *http.Request) error {
	return wire.Fail(wire.ReasonNotFound, "unknown path %s: the resource API is at %s, the fleet v1 API at /fleet/v1", r.URL.Path, wire.Prefix)
}

// streams reports whether the request asks for an open-ended answer.
func streams(r *http.Request) bool {
	q := r.URL.Query()
	return flag(q.Get("watch")) || flag(q.Get("follow")) || r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/restart")
}

// flag reads a boolean query parameter: "true" or "1".
func flag(value string) bool { return value == "true" || value == "1" }

// fail writes err, unless the answer has begun: then it aborts the connection, so that the client does not mistake a
// partial answer for a complete one.
func (f *front) fail(w *response, r *http.Request, d dialect, err error) {
	if r.Context().Err() == context.Canceled {
		panic(http.ErrAbortHandler) // the client is gone: the answer must not look like success
	}
	status := toStatus(err)
	if status.Code >= http.StatusInternalServerError {
		f.log.Info("request failed", "reason", status.Reason, "method", r.Method, "path", r.URL.Path, "error", err.Error())
	}
	if w.begun {
		panic(http.ErrAbortHandler)
	}
	d(w, status)
}

func (f *front) recovered(w *response, r *http.Request, d dialect) {
	p := recover()
	switch {
	case p == nil:
	case p == http.ErrAbortHandler:
		panic(p)
	default:
		f.log.Info("request panicked", "reason", "Panic", "method", r.Method, "path", r.URL.Path, "panic", p, "stack", string(debug.Stack()))
		if w.begun {
			panic(http.ErrAbortHandler)
		}
		d(w, wire.Fail(wire.ReasonInternal, "fleetd failed to answer this request: see its log"))
	}
}

// toStatus maps an error to a Status.
func toStatus(err error) *wire.Status {
	var status *wire.Status
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &status):
		return status
	case errors.As(err, &tooLarge):
		return wire.Fail(wire.ReasonTooLarge, "request body larger than %d bytes, the limit of one etcd request", tooLarge.Limit)
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		return wire.Fail(wire.ReasonUnavailable, "%s: %v", noEtcd, err)
	case errors.Is(err, store.ErrConflict):
		return wire.Fail(wire.ReasonConflict, "the object changed while the request was processed: read it again")
	case errors.Is(err, store.ErrCompacted):
		return wire.Fail(wire.ReasonExpired, "the requested revision has been compacted: list again")
	case errors.Is(err, store.ErrNoSpace):
		return wire.Fail(wire.ReasonOutOfSpace, "etcd is out of space: compact and defragment it, then disarm its alarm")
	}
	return wire.Fail(wire.ReasonInternal, "%v", err)
}

// response records whether the answer has begun.
type response struct {
	http.ResponseWriter
	begun bool
}

func (w *response) WriteHeader(code int) {
	w.begun = true
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	w.begun = true
	return w.ResponseWriter.Write(b)
}

// Unwrap gives http.ResponseController access to the underlying writer.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// writeStatus writes errors in the format of the resource API.
func writeStatus(w http.ResponseWriter, s *wire.Status) { _ = writeJSON(w, s.Code, s) }

func writeJSON(w http.ResponseWriter, code int, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", wire.JSON)
	w.WriteHeader(code)
	_, err = w.Write(append(data, '\n'))
	return ignoreGone(err)
}

func writeText(w http.ResponseWriter, contentType string, data []byte) error {
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, err := w.Write(data)
	return ignoreGone(err)
}

// ignoreGone drops a write error: the client has left.
func ignoreGone(error) error { return nil }

// readBody reads a whole body, bounded in size and time.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not supported by every server
	data, err := io.ReadAll(r.Body)
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) {
		return nil, wire.Fail(wire.ReasonBadRequest, "cannot read the request body: %v", err)
	}
	return data, err
}

func (m methods) allow() string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
