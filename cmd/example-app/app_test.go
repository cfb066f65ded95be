package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testConfig = config{
	listen: "127.0.0.1:0", instance: "example-app@1", machine: "m1", version: "v1",
	control: true, gracePeriod: 5 * time.Second,
}

// start serves cfg and returns the app's URL.
func start(t *testing.T, cfg config) (*app, string) {
	t.Helper()
	exited := make(chan int, 1)
	a := newApp(cfg, func(code int) { exited <- code })
	srv := httptest.NewServer(a.handler())
	t.Cleanup(func() { a.stop(); srv.Close(); a.sockets.Wait(); http.DefaultClient.CloseIdleConnections() })
	return a, srv.URL
}

func request(t *testing.T, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "example-app@1", resp.Header.Get("X-Instance"))
	return resp.StatusCode, string(body)
}

func TestPages(t *testing.T) {
	_, url := start(t, testConfig)
	tests := []struct {
		method, path string
		status       int
		want         string
	}{
		{"GET", "/instance", 200, "example-app@1\n"},
		{"GET", "/machine", 200, "m1\n"},
		{"GET", "/version", 200, "v1\n"},
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/", 200, `<dd id="instance">example-app@1</dd>`},
		{"GET", "/", 200, `<dd id="version">v1</dd>`},
		{"GET", "/headers", 200, "Host: 127.0.0.1"},
		{"GET", "/none", 404, "not found"},
		{"GET", "/control/exit", 405, ""},
		{"POST", "/control/health?ok=perhaps", 400, "?ok=true"},
		{"POST", "/control/slow?delay=2", 400, "duration"},
		{"POST", "/control/hang?on=x", 400, "?on=true"},
		{"POST", "/control/exit?code=999", 400, "0 to 255"},
	}
	for _, tc := range tests {
		t.Run(tc.method+tc.path, func(t *testing.T) {
			status, body := request(t, tc.method, url+tc.path)
			require.Equal(t, tc.status, status)
			require.Contains(t, body, tc.want)
		})
	}
}

func TestPageEscapesWhatItShows(t *testing.T) {
	cfg := testConfig
	cfg.machine = "<script>"
	_, url := start(t, cfg)
	_, body := request(t, "GET", url+"/")
	require.Contains(t, body, "&lt;script&gt;")
}

func TestCount(t *testing.T) {
	_, url := start(t, testConfig)
	for _, n := range []int{0, 100_000} {
		resp, err := http.Post(url+"/count", "text/plain", strings.NewReader(strings.Repeat("x", n)))
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, fmt.Sprintln(n), string(body))
		require.Equal(t, "example-app@1", resp.Header.Get("X-Instance"))
	}
}

func TestHealthKnob(t *testing.T) {
	_, url := start(t, testConfig)
	for _, ok := range []bool{false, true} {
		status, _ := request(t, "POST", fmt.Sprintf("%s/control/health?ok=%t", url, ok))
		require.Equal(t, 200, status)
		status, _ = request(t, "GET", url+"/healthz")
		require.Equal(t, ok, status == 200)
		status, _ = request(t, "GET", url+"/")
		require.Equal(t, 200, status, "an unhealthy app answers other requests")
	}
}

func TestSlowKnob(t *testing.T) {
	_, url := start(t, testConfig)
	request(t, "POST", url+"/control/slow?delay=100ms")
	begin := time.Now()
	request(t, "GET", url+"/instance")
	require.GreaterOrEqual(t, time.Since(begin), 100*time.Millisecond)
}

func TestHangKnob(t *testing.T) {
	for _, path := range []string{"/", "/healthz"} {
		_, url := start(t, testConfig)
		request(t, "POST", url+"/control/hang")
		answered := make(chan int)
		go func() {
			resp, err := http.Get(url + path)
			if err == nil {
				resp.Body.Close()
				answered <- resp.StatusCode
			}
			close(answered)
		}()
		select {
		case status := <-answered:
			t.Fatalf("%s answered %d while hanging", path, status)
		case <-time.After(50 * time.Millisecond):
		}
		request(t, "POST", url+"/control/hang?on=false")
		require.Equal(t, 200, <-answered, path)
	}
}

func TestExitKnob(t *testing.T) {
	exited := make(chan int, 1)
	a := newApp(testConfig, func(code int) { exited <- code })
	w := httptest.NewRecorder()
	a.handler().ServeHTTP(w, httptest.NewRequest("POST", "/control/exit?code=3", nil))
	require.Equal(t, 200, w.Code)
	require.Equal(t, 3, <-exited)
}

func TestControlCanBeDisabled(t *testing.T) {
	cfg := testConfig
	cfg.control = false
	_, url := start(t, cfg)
	status, _ := request(t, "POST", url+"/control/exit")
	require.Equal(t, 404, status)
}

func TestParse(t *testing.T) {
	env := map[string]string{
		"FLEET_MACHINE_IP": "127.0.0.11", "PORT": "4000", "FLEET_UNIT": "example-app@2.service", "EXAMPLE_VERSION": "v2",
		"EXAMPLE_FAIL_HEALTH": "true", "EXAMPLE_DELAY": "2s",
	}
	var out bytes.Buffer
	getenv := func(k string) string { return env[k] }
	cfg, err := parse(nil, getenv, &out)
	require.NoError(t, err)
	require.Equal(t, config{
		listen: "127.0.0.11:4000", instance: "example-app@2.service", machine: "127.0.0.11", version: "v2",
		control: true, failHealth: true, delay: 2 * time.Second, gracePeriod: 5 * time.Second,
	}, cfg)

	cfg, err = parse([]string{"--listen", "[::1]:1", "--version-label=v3", "--instance", "x", "--fail-health=false"}, getenv, &out)
	require.NoError(t, err)
	require.Equal(t, []any{"[::1]:1", "v3", "x", false}, []any{cfg.listen, cfg.version, cfg.instance, cfg.failHealth})

	env["EXAMPLE_DELAY"] = "2"
	_, err = parse(nil, getenv, &out)
	require.ErrorContains(t, err, `$EXAMPLE_DELAY is "2"`)
	delete(env, "EXAMPLE_DELAY")
	_, err = parse([]string{"stray"}, getenv, &out)
	require.ErrorContains(t, err, `unexpected argument "stray"`)
	_, err = parse([]string{"--none"}, getenv, &out)
	require.Error(t, err)
}

// lineWriter hands over what run prints, line by line.
type lineWriter chan string

func (w lineWriter) Write(p []byte) (int, error) { w <- string(p); return len(p), nil }

func TestStopFinishesRequestsInFlight(t *testing.T) {
	cfg := testConfig
	cfg.delay = 200 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	out := make(lineWriter, 4)
	ended := make(chan error)
	go func() { ended <- run(ctx, cfg, out, nil) }()
	line := <-out
	url := "http://" + strings.TrimSpace(line[strings.Index(line, "http://")+len("http://"):])

	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	fmt.Fprint(conn, "GET /headers HTTP/1.1\r\nHost: x\r\n\r\n")
	ws := dial(t, url)
	stop()
	answer, err := io.ReadAll(conn) // to the end: the connection is closed, not kept alive
	require.NoError(t, err)
	require.Contains(t, string(answer), "200 OK")
	requireClosed(t, ws, closeGoingAway)
	require.NoError(t, <-ended)
	_, err = net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.Error(t, err, "nothing listens any more")
}

func TestStopDuringStartDelay(t *testing.T) {
	cfg := testConfig
	cfg.startDelay = time.Hour
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var said strings.Builder
	require.NoError(t, run(ctx, cfg, &said, nil))
	require.Empty(t, said.String(), "it never listened")
}

func TestListenErrorSaysWhere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	cfg := testConfig
	cfg.listen = l.Addr().String()
	require.ErrorContains(t, run(t.Context(), cfg, io.Discard, nil), "listen on "+cfg.listen)
}
