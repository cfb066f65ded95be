package main

import (
	"context"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// app is one running instance and the state of its controls.
type app struct {
	cfg     config
	exit    func(code int)
	stopped context.Context // done from SIGTERM on
	stop    context.CancelFunc
	sockets sync.WaitGroup // open websockets, which Shutdown does not wait for

	mu      sync.Mutex
	healthy bool
	delay   time.Duration
	hang    chan struct{} // closed when the app stops hanging; nil unless it hangs
}

func newApp(cfg config, exit func(int)) *app {
	a := &app{cfg: cfg, exit: exit, healthy: !cfg.failHealth, delay: cfg.delay}
	a.stopped, a.stop = context.WithCancel(context.Background())
	a.setHang(cfg.hang)
	return a
}

func (a *app) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.misbehave(a.servePage))
	mux.HandleFunc("GET /instance", a.misbehave(a.plain(func() string { return a.cfg.instance })))
	mux.HandleFunc("GET /machine", a.misbehave(a.plain(func() string { return a.cfg.machine })))
	mux.HandleFunc("GET /version", a.misbehave(a.plain(func() string { return a.cfg.version })))
	mux.HandleFunc("GET /headers", a.misbehave(a.serveHeaders))
	mux.HandleFunc("POST /count", a.misbehave(a.serveCount))
	mux.HandleFunc("GET /echo", a.misbehave(a.serveEcho))
	mux.HandleFunc("GET /healthz", a.serveHealth)
	if a.cfg.control {
		mux.HandleFunc("POST /control/health", a.controlHealth)
		mux.HandleFunc("POST /control/slow", a.controlSlow)
		mux.HandleFunc("POST /control/hang", a.controlHang)
		mux.HandleFunc("POST /control/exit", a.controlExit)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Instance", a.cfg.instance)
		w.Header().Set("X-Version", a.cfg.version)
		mux.ServeHTTP(w, r)
	})
}

// misbehave hangs and delays as configured before next answers.
func (a *app) misbehave(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.waitWhileHanging(r)
		a.mu.Lock()
		delay := a.delay
		a.mu.Unlock()
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-r.Context().Done():
			return
		}
		if rand.IntN(100) < a.cfg.failPercent {
			http.Error(w, "failed as asked for by --fail-percent", http.StatusInternalServerError)
			return
		}
		next(w, r)
	}
}

func (a *app) waitWhileHanging(r *http.Request) {
	a.mu.Lock()
	hang := a.hang
	a.mu.Unlock()
	if hang == nil {
		return
	}
	select {
	case <-hang:
	case <-r.Context().Done():
	case <-a.stopped.Done():
	}
}

func (a *app) servePage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = page.Execute(w, map[string]string{ // the client is gone
		"Instance": a.cfg.instance, "Machine": a.cfg.machine, "Version": a.cfg.version,
		"Client": r.Header.Get("X-Real-IP"), "RequestID": r.Header.Get("X-Request-ID"),
	})
}

func (a *app) plain(text func() string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, text()) }
}

// serveHeaders shows the headers that the router passed on, one per line.
func (a *app) serveHeaders(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "Host: %s\n", r.Host)
	_ = r.Header.Write(w)
}

// serveCount returns the size of the request's body.
func (a *app) serveCount(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		http.Error(w, fmt.Sprintf("the body ended after %d bytes: %v", n, err), http.StatusBadRequest)
		return
	}
	fmt.Fprintln(w, n)
}

func (a *app) serveHealth(w http.ResponseWriter, r *http.Request) {
	a.waitWhileHanging(r)
	a.mu.Lock()
	healthy := a.healthy
	a.mu.Unlock()
	if !healthy {
		http.Error(w, "unhealthy", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// controlHealth is POST /control/health?ok=true|false.
func (a *app) controlHealth(w http.ResponseWriter, r *http.Request) {
	ok, err := strconv.ParseBool(r.FormValue("ok"))
	if err != nil {
		http.Error(w, "want ?ok=true or ?ok=false", http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	a.healthy = ok
	a.mu.Unlock()
	fmt.Fprintf(w, "healthy: %t\n", ok)
}

// controlSlow is POST /control/slow?delay=2s; 0s removes the delay.
func (a *app) controlSlow(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.FormValue("delay"))
	if err != nil || d < 0 {
		http.Error(w, "want ?delay= and a duration such as 500ms or 2s", http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	a.delay = d
	a.mu.Unlock()
	fmt.Fprintf(w, "delay: %s\n", d)
}

// controlHang is POST /control/hang; ?on=false stops hanging and answers the waiting requests.
func (a *app) controlHang(w http.ResponseWriter, r *http.Request) {
	on := true
	if v := r.FormValue("on"); v != "" {
		var err error
		if on, err = strconv.ParseBool(v); err != nil {
			http.Error(w, "want ?on=true or ?on=false", http.StatusBadRequest)
			return
		}
	}
	a.setHang(on)
	fmt.Fprintf(w, "hangs: %t\n", on)
}

func (a *app) setHang(on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case on && a.hang == nil:
		a.hang = make(chan struct{})
	case !on && a.hang != nil:
		close(a.hang)
		a.hang = nil
	}
}

// controlExit is POST /control/exit?code=1: exits at once, without grace.
func (a *app) controlExit(w http.ResponseWriter, r *http.Request) {
	code := 1
	if v := r.FormValue("code"); v != "" {
		var err error
		if code, err = strconv.Atoi(v); err != nil || code < 0 || code > 255 {
			http.Error(w, "want ?code= and a number from 0 to 255", http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Connection", "close")
	fmt.Fprintf(w, "exits with %d\n", code)
	_ = http.NewResponseController(w).Flush()
	a.exit(code)
}
