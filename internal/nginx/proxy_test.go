package nginx

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

func TestBothInstancesInTurn(t *testing.T) {
	r := newRouter(t)
	r.settings.Workers = 1 // each worker has turns of its own
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1"), instance(t, "app@2")}})
	var got []string
	for range 6 {
		got = append(got, r.get("app.localhost"))
	}
	require.NotEqual(t, got[0], got[1])
	require.Equal(t, got[:2], got[2:4])
	require.Equal(t, got[:2], got[4:])
}

func TestPagesWithoutAnInstance(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Hosts: []string{"www.example.com", "*.wild.example.com"}, Upstreams: []routing.Upstream{instance(t, "app@1")}}, routing.Route{App: "empty"})
	require.Equal(t, "200 app@1", r.get("www.example.com"))
	require.Equal(t, "200 app@1", r.get("a.b.wild.example.com"))
	require.Contains(t, r.get("app.localhost"), "404 <!DOCTYPE html>")
	resp, body := r.do("GET", "empty.localhost:8080", "/any")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "5", resp.Header.Get("Retry-After"))
	require.Contains(t, body, "empty is not available")
}

func TestForwardedHeaders(t *testing.T) {
	r := newRouter(t)
	seen := make(chan *http.Request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { seen <- req }))
	t.Cleanup(srv.Close)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}})

	resp, body := r.do("GET", "app.localhost:8080", "/a%20b?c=%2F")
	require.Equal(t, 200, resp.StatusCode, body)
	got := <-seen
	require.Equal(t, "app.localhost:8080", got.Host)
	require.Equal(t, "/a%20b?c=%2F", got.RequestURI)
	require.Equal(t, "127.0.0.1", got.Header.Get("X-Real-IP"))
	require.Equal(t, "127.0.0.1", got.Header.Get("X-Forwarded-For"))
	require.Equal(t, "http", got.Header.Get("X-Forwarded-Proto"))
	require.Equal(t, "app.localhost:8080", got.Header.Get("X-Forwarded-Host"))
	require.Regexp(t, `^[0-9a-f]{32}$`, got.Header.Get("X-Request-ID"))
	require.Equal(t, []string{got.Header.Get("X-Request-ID")}, resp.Header.Values("X-Request-ID"))
	require.Empty(t, got.Header.Get("Connection"))

	resp, _ = r.do("GET", "app.localhost", "/", func(req *http.Request) {
		req.Header.Set("X-Request-ID", "from-the-client:1")
		req.Header.Set("X-Forwarded-For", "10.9.8.7")
		req.Header.Set("Proxy", "http://evil")
		req.Header.Set("Upgrade", "h2c")
	})
	got = <-seen
	require.Equal(t, "from-the-client:1", got.Header.Get("X-Request-ID"))
	require.Equal(t, "from-the-client:1", resp.Header.Get("X-Request-ID"))
	require.Equal(t, "127.0.0.1", got.Header.Get("X-Forwarded-For"), "what a client says is replaced")
	require.Empty(t, got.Header.Get("Proxy"))
	require.Empty(t, got.Header.Get("Upgrade"))

	r.do("GET", "app.localhost", "/", func(req *http.Request) { req.Header.Set("X-Request-ID", "<script>") })
	require.Regexp(t, `^[0-9a-f]{32}$`, (<-seen).Header.Get("X-Request-ID"))
}

func TestWebsocketPasses(t *testing.T) {
	r := newRouter(t)
	app := exampleApp(t)
	r.apply(routing.Route{App: "example-app", Upstreams: []routing.Upstream{app}})
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var nd net.Dialer
		return nd.DialContext(ctx, "tcp", r.settings.Listen[0])
	}}
	ws, resp, err := d.DialContext(t.Context(), "ws://example-app.localhost/echo", nil)
	require.NoError(t, err)
	defer ws.Close()
	require.Equal(t, "example-app@1", resp.Header.Get("X-Instance"))
	require.NoError(t, ws.SetReadDeadline(time.Now().Add(10*time.Second)))
	echo := func(text string) {
		t.Helper()
		require.NoError(t, ws.WriteMessage(websocket.TextMessage, []byte(text)))
		_, got, err := ws.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, text, string(got))
	}
	echo("before")
	require.True(t, r.apply(routing.Route{App: "example-app", Upstreams: []routing.Upstream{app}}, limited).Reloaded)
	echo("an open websocket outlives a reload")
	require.Equal(t, 200, func() int { resp, _ := r.do("GET", "example-app.localhost", "/"); return resp.StatusCode }())
}

func TestFailoverIsNotNoticed(t *testing.T) {
	r := newRouter(t)
	dead := routing.Upstream{Instance: "app@2", Address: freeAddress(t)}
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1"), dead, instance(t, "app@3")}})
	for i := range 60 {
		require.Contains(t, []string{"200 app@1", "200 app@3"}, r.get("app.localhost"), "request %d", i)
	}
	resp, body := r.do("POST", "app.localhost", "/", func(req *http.Request) {
		req.Body = io.NopCloser(strings.NewReader("x"))
		req.ContentLength = 1
	})
	require.Equal(t, 200, resp.StatusCode, body)
}

func TestInstanceThatDiesUnderLoadIsNotNoticed(t *testing.T) {
	r := newRouter(t)
	dying := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "dying") }))
	defer dying.Close()
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1"), {Instance: "app@2", Address: strings.TrimPrefix(dying.URL, "http://")}}})
	var wg sync.WaitGroup
	failed := make(chan string, 400)
	half := make(chan struct{}, 4)
	for range 4 {
		wg.Go(func() {
			for i := range 100 {
				if i == 50 {
					half <- struct{}{}
				}
				if resp, _, err := r.tryDo("GET", "app.localhost", "/"); err != nil || resp.StatusCode != 200 {
					failed <- fmt.Sprint(resp, err)
				}
			}
		})
	}
	<-half
	dying.CloseClientConnections() // resets what is in flight
	dying.Listener.Close()
	wg.Wait()
	close(failed)
	for f := range failed {
		t.Error(f)
	}
}

// A request that has reached an app may have taken effect: it is not sent to another instance.
func TestPostIsNeverSentTwice(t *testing.T) {
	r := newRouter(t)
	var received atomic.Int32
	breaking := func() routing.Upstream {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.ReadAll(req.Body)
			received.Add(1)
			panic(http.ErrAbortHandler)
		}))
		t.Cleanup(srv.Close)
		return routing.Upstream{Instance: "app@" + srv.URL[len(srv.URL)-5:], Address: strings.TrimPrefix(srv.URL, "http://")}
	}
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{breaking(), breaking()}})
	resp, _ := r.do("POST", "app.localhost", "/", func(req *http.Request) {
		req.Body = io.NopCloser(strings.NewReader("x"))
		req.ContentLength = 1
	})
	require.Equal(t, 502, resp.StatusCode)
	require.EqualValues(t, 1, received.Load())
}

// Bodies that do not fit into memory go through files in the directory, which the workers must be able to reach, whichever
// user they run as.
func TestLargeBodies(t *testing.T) {
	for name, dir := range map[string]string{"open directory": openDir(t), "closed directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			r := newRouterIn(t, dir)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				_, _ = w.Write(body)
			}))
			t.Cleanup(srv.Close)
			r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}})
			want := make([]byte, 8<<20)
			_, _ = rand.Read(want)
			resp, got := r.do("POST", "app.localhost", "/", func(req *http.Request) {
				req.Body = io.NopCloser(bytes.NewReader(want))
				req.ContentLength = int64(len(want))
			})
			require.Equal(t, 200, resp.StatusCode)
			require.True(t, got == string(want))
			resp, _ = r.do("GET", "127.0.0.1", "/-/status")
			require.Equal(t, 200, resp.StatusCode)
		})
	}
}

// Idle connections to instances are reused: opening one per request would cost more than half of the throughput.
func TestConnectionsToInstancesAreKept(t *testing.T) {
	r := newRouter(t)
	r.settings.Workers = 1 // each worker keeps its own
	var opened atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	t.Cleanup(srv.Close)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}})
	for range 50 {
		r.get("app.localhost")
	}
	require.EqualValues(t, 1, opened.Load())
}
