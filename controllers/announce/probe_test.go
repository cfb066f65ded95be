package announce

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/stretchr/testify/require"
)

// TestHTTPProbeStatuses: statuses that are not errors pass, redirects are not followed, and the probe identifies itself.
func TestHTTPProbeStatuses(t *testing.T) {
	for status, healthy := range map[int]bool{101: false, 200: true, 204: true, 302: true, 399: true, 400: false, 404: false, 500: false} {
		var agent, path string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			agent, path = r.UserAgent(), r.URL.Path
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		}))
		err := HTTPProbe(server.URL + "/healthz")(t.Context())
		require.Equal(t, healthy, err == nil, "%d: %v", status, err)
		require.Equal(t, []string{"fleet-announcer", "/healthz"}, []string{agent, path}, status)
		server.Close()
	}
}

// TestHTTPProbesUseNewConnections: an instance that accepts no new connections fails.
func TestHTTPProbesUseNewConnections(t *testing.T) {
	remotes := map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { remotes[r.RemoteAddr] = true }))
	defer server.Close()
	probe := HTTPProbe(server.URL)
	for range 3 {
		require.NoError(t, probe(t.Context()))
	}
	require.Len(t, remotes, 3)
}

// TestWhyAnHTTPProbeFailed: the error has the URL, and the status with the first line of the body or what is wrong with the connection.
func TestWhyAnHTTPProbeFailed(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/down":
			http.Error(w, "the database does not answer\nsecond line", http.StatusInternalServerError)
		case "/hangs":
			<-hang
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer server.Close()
	defer close(hang)
	closed := httptest.NewServer(nil)
	closed.Close()
	for url, want := range map[string]string{
		server.URL + "/down":  "GET " + server.URL + "/down answered 500 Internal Server Error: the database does not answer",
		server.URL + "/none":  "GET " + server.URL + "/none answered 404 Not Found",
		server.URL + "/hangs": "Get \"" + server.URL + "/hangs\": no answer within 50ms",
		closed.URL + "/":      "Get \"" + closed.URL + "/\": dial tcp " + closed.Listener.Addr().String() + ": connect: connection refused",
	} {
		c := Controller{opts: Options{Log: logr.Discard(), Probe: HTTPProbe(url), Timeout: 50 * time.Millisecond}}
		require.Equal(t, want, c.observe(t.Context()).Health.Message)
	}
}

// TestExecProbeThatLeavesSomethingRunning passes by its exit status, without waiting.
func TestExecProbeThatLeavesSomethingRunning(t *testing.T) {
	for command, want := range map[string]string{"sleep 3 &": "", "sleep 3 & echo why; exit 3": "sh: exit status 3: why"} {
		began := time.Now()
		err := ExecProbe([]string{"sh", "-c", command})(t.Context())
		require.Less(t, time.Since(began), 2*time.Second, command)
		if want == "" {
			require.NoError(t, err, command)
			continue
		}
		require.EqualError(t, err, want, command)
	}
}

// TestWhyAProbeFailed: a timeout is reported with its duration.
func TestWhyAProbeFailed(t *testing.T) {
	for want, probe := range map[string]Probe{
		"no answer within 10ms": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"unwell":                func(context.Context) error { return errUnwell },
	} {
		c := Controller{opts: Options{Log: logr.Discard(), Probe: probe, Timeout: 10 * time.Millisecond}}
		require.Equal(t, Input{Health: Health{Failed: 1, Message: want}}, c.observe(t.Context()))
	}
	c := Controller{opts: Options{Timeout: time.Minute, Probe: func(ctx context.Context) error { return ctx.Err() }}, health: Health{Passed: 7}}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, Input{Health: Health{Passed: 7}, Stopping: true}, c.observe(stopped), "being stopped is not being unhealthy")
}
