package registry

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// gate is in front of the registry's handlers. It answers 503 while storage is away, and to pushes while garbage is collected.
type gate struct {
	next    http.Handler
	health  *health
	storage *storage
	now     func() time.Time
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/healthz" {
		if away := g.health.away(); away != nil {
			http.Error(w, away.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
		return
	}
	if g.storage.local {
		_ = g.health.check(r.Context(), 1)
	}
	ctx, end, away := g.health.begin(r.Context())
	if away != nil {
		unavailable(w, away)
		return
	}
	defer end()
	if err := g.writable(ctx, r.Method); err != nil {
		unavailable(w, err)
		return
	}
	g.next.ServeHTTP(&answer{ResponseWriter: w, ctx: ctx, health: g.health}, r.WithContext(ctx))
}

// writable refuses what changes images while garbage is collected. Chunks of uploads (PATCH) may come: what they bring counts
// with the PUT that ends the upload.
func (g *gate) writable(ctx context.Context, method string) error {
	switch method {
	case http.MethodPost, http.MethodPut, http.MethodDelete:
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	l, err := readLease(ctx, g.storage)
	switch {
	case err != nil:
		if away := g.health.check(ctx, 1); away != nil {
			return away
		}
		return err
	case l.valid(g.now()):
		return errors.New(l.String())
	}
	return nil
}

// answer turns errors of the registry into 503 where storage is what failed: the registry says 500 to all.
type answer struct {
	http.ResponseWriter
	ctx      context.Context
	health   *health
	started  bool
	replaced bool
}

func (a *answer) WriteHeader(code int) {
	if a.started {
		return
	}
	a.started = code >= 200
	if code >= 500 {
		away := a.health.away()
		if away == nil {
			away = a.health.check(context.WithoutCancel(a.ctx), 1)
		}
		if away != nil {
			a.replaced = true
			unavailable(a.ResponseWriter, away)
			return
		}
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *answer) Write(data []byte) (int, error) {
	if !a.started {
		a.WriteHeader(http.StatusOK)
	}
	if a.replaced {
		return len(data), nil
	}
	return a.ResponseWriter.Write(data)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Flush is for handlers that ask for an http.Flusher.
func (a *answer) Flush() { _ = http.NewResponseController(a.ResponseWriter).Flush() }

// unavailable writes 503 in the form of the registry API, which clients show.
func unavailable(w http.ResponseWriter, reason error) {
	type problem struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, _ := json.Marshal(map[string][]problem{"errors": {{Code: "UNAVAILABLE", Message: reason.Error()}}})
	w.Header().Del("Content-Length")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "5")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write(append(body, '\n'))
}
