// Package api serves the HTTP API of fleetd: the resource API at /apis/fleet/v1 and the original fleet's at
// /fleet/v1. It keeps nothing between requests: lists read the store in pages, watches live as long as their client.
package api

import (
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/store"
)

// Options are what a Server needs. Store, Keys and MachineID are required.
type Options struct {
	Store store.Interface
	Keys  keyspace.Keys
	// MachineID is the machine that the server runs on.
	MachineID string
	// Version is told in the Server header and by /version.
	Version string
	Log     logr.Logger
	// Journal reads this machine's journal. Without one, logs of units here are refused.
	Journal Journal
	// Fallback serves all paths that are not the API's, such as /healthz, /readyz and /metrics.
	Fallback http.Handler
	// Transport reaches the other machines' fleetd. Default: http.DefaultTransport.
	Transport http.RoundTripper
	// RequestTimeout bounds what a request that is no watch may take. Default 30s.
	RequestTimeout time.Duration
	// TokenLimit is the size of a page of the fleet v1 API. Default 100.
	TokenLimit int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Server is the handler of all requests. It has no goroutines of its own: each ends with its request, so ending
// the requests' contexts (http.Server.BaseContext) ends every watch.
type Server struct {
	Options
	mux       *http.ServeMux
	limits    *limits
	apps      resource[*v1App]
	units     resource[*v1.Unit]
	machines  resource[*v1.Machine]
	events    resource[*v1.Event]
	states    resource[*wire.InstanceState]
	endpoints resource[*wire.Endpoint]
}

// v1App shortens the name of what readers see of an App.
type v1App = wire.App

// New returns a server.
func New(o Options) *Server {
	if o.RequestTimeout == 0 {
		o.RequestTimeout = 30 * time.Second
	}
	if o.TokenLimit == 0 {
		o.TokenLimit = 100
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	s := &Server{Options: o, mux: http.NewServeMux(), limits: newLimits()}
	s.resources()
	s.routes()
	return s
}

// handler answers one request, or returns the error that the dialect writes.
type handler func(http.ResponseWriter, *http.Request) error

// methods are the handlers of one path.
type methods map[string]handler

// dialect is how one of the two APIs writes errors.
type dialect func(http.ResponseWriter, *wire.Status)

func (s *Server) routes() {
	s.handle("/version", writeStatus, methods{http.MethodGet: s.version})
	s.resourceRoutes()
	s.fleetRoutes()
	fallback := s.Fallback
	if fallback == nil {
		fallback = s.wrap(writeStatus, notFound)
	}
	s.mux.Handle("/", fallback)
}

// handle registers a path; a method that it does not have is answered with 405.
func (s *Server) handle(path string, d dialect, m methods) {
	s.mux.Handle(path, s.wrap(d, func(w http.ResponseWriter, r *http.Request) error {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		if h, ok := m[method]; ok {
			return h(w, r)
		}
		w.Header().Set("Allow", m.allow())
		return wire.Fail(wire.ReasonMethodNotAllowed, "%s is not possible on %s: it takes %s", r.Method, r.URL.Path, m.allow())
	}))
}

func notFound(_ http.ResponseWriter, r *http.Request) error {
	return wire.Fail(wire.ReasonNotFound, "nothing is served at %s: the resource API is at %s, the fleet v1 API at /fleet/v1", r.URL.Path, wire.Prefix)
}

func (s *Server) version(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, wire.Version{Version: s.Version, MachineID: s.MachineID})
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", fmt.Sprintf("fleetd/%s", s.Version))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}
