// Package api serves fleetd's HTTP API: the resource API at /apis/fleet/v1 and the original fleet's at /fleet/v1. It
// keeps no state between requests: lists read the store in pages, and a watch lives as long as its client.
package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/api/wire"
	"github.com/fleet-starter/fleet/internal/events"
	"github.com/fleet-starter/fleet/internal/keyspace"
	"github.com/fleet-starter/fleet/internal/repository"
	"github.com/fleet-starter/fleet/internal/store"
)

// Options are what a Server needs. Store, Keys and MachineID are required.
type Options struct {
	Store store.Interface
	Keys  keyspace.Keys
	// MachineID is the machine that the server runs on.
	MachineID string
	// Version is reported in the Server header and by /version.
	Version string
	Log     logr.Logger
	// Journal reads this machine's journal. Without one, requests for logs of local units are refused.
	Journal Journal
	// StatusText asks this machine's systemd what a unit says of itself. Without one, requests for that of local units are refused.
	StatusText func(ctx context.Context, unit string) (string, error)
	// Explain says why units are where they are, by the scheduler's plans, and which machines are missed. Without one, requests for that
	// are refused.
	Explain func(ctx context.Context, units []string, machine string) (why []v1.Explanation, missed []string, err error)
	// Refuse says why requests cannot be answered now: another machine has this one's ID. nil, or an answer of nil: they can.
	Refuse func() error
	// Fallback serves all paths outside the API, such as /healthz, /readyz and /metrics.
	Fallback http.Handler
	// Forecasts make plans. Without them, plans are refused.
	Forecasts Forecasts
	// Committed returns the manifests of the commit that a source has applied; only the leader is asked. Without one, requests for the drift
	// of sources are refused.
	Committed func(ctx context.Context, source string) (*repository.Manifests, error)
	// Events records what the commits change that clients apply. nil: nothing is recorded.
	Events events.Interface
	// Transport reaches the other machines' fleetd. Default: http.DefaultTransport.
	Transport http.RoundTripper
	// RequestTimeout bounds every request that is not a watch. Default 30s.
	RequestTimeout time.Duration
	// TokenLimit is the page size of the fleet v1 API. Default 100.
	TokenLimit int
	// Now is the clock. Default time.Now.
	Now func() time.Time
}

// Server is the HTTP handler. It owns no goroutines: each one ends with its request, so cancelling the requests'
// contexts (http.Server.BaseContext) ends every watch.
type Server struct {
	front
	version   string
	machineID string
}

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
	if o.Refuse == nil {
		o.Refuse = func() error { return nil }
	}
	if o.Transport == nil {
		o.Transport = http.DefaultTransport
	}
	s := &Server{version: o.Version, machineID: o.MachineID,
		front: front{mux: http.NewServeMux(), limits: newLimits(), log: o.Log, timeout: o.RequestTimeout, refuse: o.Refuse}}
	applies := newApplier(o)
	read, write, units := applies.reader.reader, applies.writer, applies.units
	leads := &leader{reader: read, store: o.Store, machineID: o.MachineID, version: o.Version, transport: o.Transport}
	machines := &machineWriter{writer: write, keys: o.Keys, reader: read}
	s.resourceRoutes(read, units, applies.apps, applies, newPlans(o, applies, leads), &drifts{applies, leads, o.Committed}, machines, &unitExplainer{reader: &pastReader{read}, explain: o.Explain, leader: leads},
		&unitOnMachine{reader: read, journal: o.Journal, statusText: o.StatusText, limits: s.limits, machineID: o.MachineID, version: o.Version,
			now: o.Now, transport: o.Transport})
	(&fleetAPI{reader: read, units: units, machines: machines, limit: o.TokenLimit}).routes(&s.front)
	s.handle("/hooks/{name}", writeStatus, methods{http.MethodPost: newHooks(&sourceWriter{applies}).postHook})
	s.handle("/version", writeStatus, methods{http.MethodGet: s.getVersion})
	fallback := o.Fallback
	if fallback == nil {
		fallback = s.wrap(writeStatus, notFound)
	}
	s.mux.Handle("/", fallback)
	return s
}

// resourceRoutes is the routing table of the resource API.
func (s *Server) resourceRoutes(read *reader, units *unitWriter, apps *appWriter, applies *applier, plans *plans, drifts *drifts, machines *machineWriter,
	why *unitExplainer, there *unitOnMachine) {
	const get, put, post, patch, del = http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete
	for path, m := range map[string]methods{
		"/apps":                           {get: read.apps.list},
		"/apps/{name}":                    {get: read.getApp, put: applies.putApp, del: (&deleter{applies}).object(v1.KindApp)},
		"/apps/{name}/endpoints":          {get: read.appEndpoints},
		"/apps/{name}/diff":               {get: applies.reader.diffApp},
		"/apps/{name}/explain":            {get: why.explainApp},
		"/apps/{name}/restart":            {post: apps.restartApp},
		"/apps/{name}/revisions":          {get: applies.reader.history},
		"/apps/{name}/revisions/{number}": {get: applies.reader.oneRevision},
		"/apps/{name}/rollout":            {get: applies.reader.rollout, post: (&roller{applies}).changeRollout},
		"/apps/{name}/scale":              {post: (&roller{applies}).scaleApp},
		"/apps/{name}/undo":               {post: applies.undoApp},
		"/applies":                        {get: read.applies.list, post: applies.postApply},
		"/applies/{name}":                 {get: read.applies.get},
		"/applies/{name}/undo":            {post: applies.undoApply},
		"/plans":                          {post: plans.postPlan},
		"/plans/apply":                    {post: plans.applyPlan},
		"/sources":                        {get: read.sources.list},
		"/sources/{name}":                 {get: read.sources.get, del: (&sourceWriter{applies}).deleteSource},
		"/sources/{name}/diff":            {get: drifts.driftOf},
		"/sources/{name}/wish":            {post: (&sourceWriter{applies}).changeWish},
		"/units":                          {get: read.units.list},
		"/units/{name}":                   {get: read.units.get, put: units.putUnit, patch: units.patchUnit, del: (&deleter{applies}).object(v1.KindUnit)},
		"/units/{name}/explain":           {get: why.explainUnit},
		"/units/{name}/file":              {get: read.unitText},
		"/units/{name}/logs":              {get: there.logs},
		"/units/{name}/statustext":        {get: there.showStatusText},
		"/units/{name}/trace":             {get: tracer{applies.reader}.trace},
		"/units/{name}/start":             {post: units.setState(v1.Launched, true)},
		"/units/{name}/stop":              {post: units.setState(v1.Loaded, true)},
		"/units/{name}/load":              {post: units.setState(v1.Loaded, false)},
		"/units/{name}/unload":            {post: units.setState(v1.Inactive, false)},
		"/units/{name}/restart":           {post: units.restart},
		"/unitfiles":                      {get: read.listUnitFiles},
		"/unitfiles/{hash}":               {get: read.getUnitFile},
		"/machines":                       {get: read.machines.list},
		"/machines/{name}":                {get: read.machines.get, patch: machines.patchMachine},
		"/machines/{name}/config":         {get: read.machineConfig, patch: machines.patchMachine},
		"/events":                         {get: read.events.list},
		"/states":                         {get: read.states.list},
		"/endpoints":                      {get: read.endpoints.list},
	} {
		s.handle(wire.Prefix+path, writeStatus, m)
	}
	s.mux.Handle(wire.Prefix, s.wrap(writeStatus, notFound))
	s.mux.Handle(wire.Prefix+"/", s.wrap(writeStatus, notFound))
}

func (s *Server) getVersion(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, wire.Version{Version: s.version, MachineID: s.machineID})
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", fmt.Sprintf("fleetd/%s", s.version))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	s.mux.ServeHTTP(w, r)
}
