package daemon

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// check is one thing that a ready fleetd needs.
type check struct {
	name string
	test func(context.Context) error
}

// health serves /healthz (the process is alive), /readyz (it can do its work; failed checks are listed, warnings do not
// change the status code) and /metrics.
func health(registry *prometheus.Registry, checks []check, warnings ...func() []string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { ready(w, r, checks, warnings) })
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return mux
}

func ready(w http.ResponseWriter, r *http.Request, checks []check, warnings []func() []string) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	status, text := http.StatusOK, ""
	for _, c := range checks {
		if err := c.test(ctx); err != nil {
			status = http.StatusServiceUnavailable
			text += fmt.Sprintf("%s: %v\n", c.name, err)
		} else {
			text += c.name + ": ok\n"
		}
	}
	for _, list := range warnings {
		for _, warning := range list() {
			text += "warning: " + warning + "\n"
		}
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, text)
}
