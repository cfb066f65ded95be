// Package original lets clients of the resource API talk to the original fleet 1.0, which has no such API: it answers their
// requests from the original's own, below /fleet/v1. Apps, events, logs and what machines are configured with do not exist there.
package original

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/fleet-starter/fleet/internal/api/wire"
)

// Transport reaches a fleetd, and answers in its place once it turns out to be the original.
type Transport struct {
	base  http.RoundTripper
	found atomic.Pointer[server]
}

// New returns a transport on top of the one that reaches the fleetd.
func New(base http.RoundTripper) *Transport { return &Transport{base: base} }

// CloseIdleConnections lets http.Client.CloseIdleConnections reach the transport beneath.
func (t *Transport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if s := t.found.Load(); s != nil {
		return s.answer(r)
	}
	resp, err := t.base.RoundTrip(r)
	if err != nil || !isOriginal(resp) {
		return resp, err
	}
	_ = resp.Body.Close() // it was read as a whole
	s := newServer(t.base, r.URL.Scheme+"://"+r.URL.Host, strings.TrimPrefix(resp.Header.Get("Server"), "fleetd/"))
	t.found.Store(s)
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = body
	}
	return s.answer(r)
}

// isOriginal reports whether an answer is the original's to a path that it does not have. Any other answer is left unread.
func isOriginal(resp *http.Response) bool {
	path := resp.Request.URL.Path
	if resp.StatusCode != http.StatusNotFound || path != "/version" && !strings.HasPrefix(path, wire.Prefix+"/") {
		return false
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), resp.Body), resp.Body}
	var failure failure
	return err == nil && json.Unmarshal(data, &failure) == nil && failure.Error.Code == http.StatusNotFound
}

// maxError bounds the body of an error, in bytes.
const maxError = 64 << 10

// failure is an error of the original.
type failure struct {
	Error struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// answer serves a request in this process. Its goroutine ends with the answer, or when the client closes the body.
func (s *server) answer(r *http.Request) (*http.Response, error) {
	body, w := io.Pipe()
	out := &response{header: http.Header{}, body: w, begun: make(chan int, 1)}
	go func() {
		s.mux.ServeHTTP(out, r)
		out.WriteHeader(http.StatusOK)
		_ = w.Close()
	}()
	select {
	case code := <-out.begun:
		return &http.Response{StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: out.header, Body: body, ContentLength: -1, Request: r}, nil
	case <-r.Context().Done():
		_ = body.Close() // the handler's writes fail
		return nil, r.Context().Err()
	}
}

// response is an http.ResponseWriter into a pipe.
type response struct {
	header http.Header
	body   *io.PipeWriter
	begun  chan int
	told   bool
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(code int) {
	if !w.told {
		w.told = true
		w.begun <- code
	}
}

func (w *response) Write(data []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(data)
}
