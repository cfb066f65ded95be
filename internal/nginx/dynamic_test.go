package nginx

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

// TestWithoutTheModule: what clients see is the same where nginx has no Lua module.
func TestWithoutTheModule(t *testing.T) {
	withoutModule = true
	defer func() { withoutModule = false }()
	for name, test := range map[string]func(*testing.T){
		"turns": TestBothInstancesInTurn, "pages": TestPagesWithoutAnInstance, "websockets": TestWebsocketPasses, "failover": TestFailoverIsNotNoticed,
		"never twice": TestPostIsNeverSentTwice, "kept": TestConnectionsToInstancesAreKept, "limits": TestLimitsOfAnApp,
		"adoption": TestAdoptionAfterTheSupervisorDied, "master killed": TestMasterKilled,
	} {
		t.Run(name, test)
	}
	r := newRouter(t)
	require.Nil(t, r.dictionary)
	r.reloads = "why"
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
	_, page := r.do("GET", "unknown", "/-/status.json")
	require.Contains(t, page, `"reloads": "why"`)
}

func TestModuleThatIsNotThere(t *testing.T) {
	fake := t.TempDir() + "/nginx"
	require.NoError(t, os.WriteFile(fake, []byte("#!/bin/sh\necho configure arguments: --modules-path=/no/modules --x >&2\n"), 0o755))
	m, why := findModule(t.Context(), fake, t.TempDir())
	require.Nil(t, m)
	require.Equal(t, "nginx has no Lua module, /no/modules/ndk_http_module.so is missing: on Debian, apt-get install libnginx-mod-http-lua, and restart the router", why)
}

// app is app with the given instances.
func app(upstreams ...routing.Upstream) routing.Route {
	return routing.Route{App: "app", Upstreams: upstreams}
}

// limited is an app that has a server of its own: it comes and goes with a reload.
var limited = routing.Route{App: "limited", BodySize: 1 << 20}

func TestEndpointsChangeWithoutAReload(t *testing.T) {
	r := newRouter(t)
	one, two := instance(t, "app@1"), instance(t, "app@2")
	first := r.apply(app())
	require.Contains(t, r.get("app.localhost"), "503")
	before, master := r.bothWorkers(), r.pid()
	for i := range 200 {
		up := []routing.Upstream{one, two}[i%2]
		result := r.apply(app(up))
		require.True(t, result.Changed)
		require.False(t, result.Reloaded)
		require.True(t, result.Endpoints)
		require.Equal(t, first.Generation, result.Generation)
		require.Equal(t, "200 "+up.Instance, r.get("app.localhost"))
	}
	require.Equal(t, before, acceptingWorkers(master))
	require.False(t, r.apply(app(two)).Changed)
	people, err := os.ReadFile(r.path(appsName))
	require.NoError(t, err)
	require.Contains(t, string(people), "    upstream app {\n        zone app 66k;\n        server "+two.Address+" max_fails=2 fail_timeout=5s;\n")
	_, page := r.do("GET", "unknown", "/-/status.json")
	require.Contains(t, page, two.Address)
	r.apply(app())
	require.Contains(t, r.get("app.localhost"), "503")
	require.True(t, r.apply(app(one), routing.Route{App: "new", BodySize: 1 << 20, Upstreams: []routing.Upstream{two}}).Reloaded)
	require.Equal(t, "200 app@2", r.get("new.localhost"))
}

// A table of many endpoints, and one of many apps.
func TestManyEndpoints(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	var routes []routing.Route
	for i := range 1000 {
		route := routing.Route{App: fmt.Sprintf("app-%d", i)}
		for j := range 10 {
			route.Upstreams = append(route.Upstreams, routing.Upstream{Key: fmt.Sprintf("/services/web/%s/%s@%d", route.App, route.App, j), Address: up.Address})
		}
		routes = append(routes, route)
	}
	r.apply(routes...)
	start := time.Now()
	routes[500].Upstreams = nil
	r.apply(routes...)
	t.Logf("a change among 10,000 endpoints: %s", time.Since(start))
	require.Contains(t, r.get("app-500.localhost"), "503")
	require.Equal(t, "200 app@1", r.get("app-999.localhost"))
}

func TestSharesOfRequests(t *testing.T) {
	r := newRouter(t)
	r.settings.Workers = 1
	a, b, c := instance(t, "a"), instance(t, "b"), instance(t, "c")
	count := func(n int) map[string]int {
		got := map[string]int{}
		for range n {
			got[r.get("app.localhost")]++
		}
		return got
	}
	r.apply(app(a, b, c))
	require.Equal(t, map[string]int{"200 a": 20, "200 b": 20, "200 c": 20}, count(60))
	a.Weight, b.Weight = 4, 1
	r.apply(app(a, b))
	require.Equal(t, map[string]int{"200 a": 40, "200 b": 10}, count(50))
}

// TestShareOfACanary: 5 % of 2,000 requests of several clients go to it, whatever worker takes them, with the module and without; and
// a third, when all are equal again.
func TestShareOfACanary(t *testing.T) {
	for name, newRouter := range map[string]func(*testing.T) *router{"with the module": newRouter, "without": newStaticRouter} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			canary, fresh, other := instance(t, "app@3"), instance(t, "app@4"), instance(t, "app@1")
			share := func() float64 {
				const clients, each = 8, 250
				got := make([]int, clients)
				var all sync.WaitGroup
				for c := range clients {
					all.Go(func() {
						for range each {
							if _, body, err := r.tryDo("GET", "app.localhost", "/"); err == nil && body == "app@3" {
								got[c]++
							}
						}
					})
				}
				all.Wait()
				sum := 0
				for _, n := range got {
					sum += n
				}
				return float64(sum) / (clients * each)
			}
			canary.Weight, fresh.Weight, other.Weight = 1, 1, 18
			r.apply(app(other, canary, fresh))
			require.InDelta(t, 0.05, share(), 0.01)
			people, err := os.ReadFile(r.path(appsName))
			require.NoError(t, err)
			require.Contains(t, string(people), "server "+canary.Address+" weight=1 max_fails=2 fail_timeout=5s;\n")
			require.Contains(t, string(people), "server "+other.Address+" weight=18 max_fails=2 fail_timeout=5s;\n")
			canary.Weight, fresh.Weight, other.Weight = 0, 0, 0
			r.apply(app(other, canary, fresh))
			require.InDelta(t, 1.0/3, share(), 0.01)
		})
	}
}

// TestFailedInstanceIsLeftAlone: after two failures it gets one request in five seconds.
func TestFailedInstanceIsLeftAlone(t *testing.T) {
	r := newRouter(t)
	r.settings.Workers = 1
	address := freeAddress(t)
	r.apply(app(instance(t, "app@1"), routing.Upstream{Instance: "app@2", Address: address}))
	for range 6 {
		require.Equal(t, "200 app@1", r.get("app.localhost"))
	}
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "app@2") })}
	t.Cleanup(func() { srv.Close() })
	go func() { _ = srv.Serve(l) }()
	for range 6 {
		require.Equal(t, "200 app@1", r.get("app.localhost"), "it had failed twice")
	}
	require.Eventually(t, func() bool { return r.get("app.localhost") == "200 app@2" }, 10*time.Second, 100*time.Millisecond)
	require.ElementsMatch(t, []string{"200 app@1", "200 app@2"}, []string{r.get("app.localhost"), r.get("app.localhost")}, "it is back")
}

// slow is an instance whose requests wait until they are let go.
type slow struct {
	routing.Upstream
	arrived chan struct{}
	letGo   chan struct{}
}

func slowInstance(t *testing.T, name string) slow {
	s := slow{arrived: make(chan struct{}, 10), letGo: make(chan struct{})}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		s.arrived <- struct{}{}
		select {
		case <-s.letGo:
		case <-t.Context().Done(): // the test has failed
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(srv.Close)
	s.Upstream = routing.Upstream{Key: "/services/web/app/" + name, Instance: name, Address: strings.TrimPrefix(srv.URL, "http://")}
	return s
}

// begin sends a request and returns its answer when there is one.
func (r *router) begin(change ...func(*http.Request)) <-chan string {
	answer := make(chan string, 1)
	go func() {
		resp, body, err := r.tryDo("POST", "app.localhost", "/", change...)
		if err != nil {
			answer <- err.Error()
			return
		}
		answer <- fmt.Sprint(resp.StatusCode, " ", body)
	}()
	return answer
}

// upload is the body of a request of which the second half is still to come.
func upload() (change func(*http.Request), rest func()) {
	reader, writer := io.Pipe()
	go func() { _, _ = writer.Write(make([]byte, 1000)) }()
	return func(req *http.Request) { req.Body, req.ContentLength = reader, 2000 }, func() {
		_, _ = writer.Write(make([]byte, 1000))
		writer.Close()
	}
}

// TestUploadGoesToAnInstanceThatIsThere: its body comes while its instances change, and the worker that takes it retires.
func TestUploadGoesToAnInstanceThatIsThere(t *testing.T) {
	for name, reload := range map[string]bool{"same worker": false, "retiring worker": true} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			r.apply(app(routing.Upstream{Key: "/services/web/app/app@1", Instance: "app@1", Address: freeAddress(t)}))
			change, rest := upload()
			answer := r.begin(change)
			require.Eventually(t, func() bool { return r.connections() > 0 }, 5*time.Second, time.Millisecond)
			time.Sleep(50 * time.Millisecond)
			two := instance(t, "app@2")
			if reload {
				require.True(t, r.apply(app(), limited).Reloaded)
				r.apply(app(two), limited)
			} else {
				r.apply(app(two))
			}
			require.Empty(t, r.Draining(), "it is not sent yet")
			rest()
			require.Equal(t, "200 app@2", <-answer)
		})
	}
}

// connections is the number of connections of clients to the listen address.
func (r *router) connections() int {
	_, port, _ := net.SplitHostPort(r.settings.Listen[0])
	data, _ := os.ReadFile("/proc/net/tcp")
	n := 0
	var number int
	_, _ = fmt.Sscan(port, &number)
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) && f[3] == "01" {
			n++
		}
	}
	return n
}

// TestRequestsUnderWayAreWaitedFor: in a worker that retires, too, and by the next router.
func TestRequestsUnderWayAreWaitedFor(t *testing.T) {
	r := newRouter(t)
	one, two := slowInstance(t, "app@1"), instance(t, "app@2")
	r.apply(app(one.Upstream))
	answer := r.begin()
	<-one.arrived
	require.Empty(t, r.Draining(), "it is served")
	r.apply(app(two))
	draining := r.Draining()
	require.Len(t, draining, 1)
	require.Equal(t, []any{one.Key, one.Address, 1, 0}, []any{draining[0].Endpoint, draining[0].Address, draining[0].Requests, draining[0].Streams})
	require.Equal(t, "200 app@2", r.get("app.localhost"))

	require.True(t, r.apply(app(two), limited).Reloaded)
	require.Len(t, r.Draining(), 1, "a retiring worker has it")
	r.crash()
	r.open()
	_, err := r.Start(t.Context())
	require.NoError(t, err)
	require.False(t, r.apply(app(two), limited).Changed)
	require.Len(t, r.Draining(), 1, "the next router waits, too")
	close(one.letGo)
	require.Equal(t, "200 app@1", <-answer)
	require.Eventually(t, func() bool { return len(r.Draining()) == 0 }, 5*time.Second, time.Millisecond)
}

// TestWithdrawnWhileTheRouterIsAway: the next router finds what the last table had.
func TestWithdrawnWhileTheRouterIsAway(t *testing.T) {
	r := newRouter(t)
	one := slowInstance(t, "app@1")
	defer close(one.letGo)
	r.apply(app(one.Upstream))
	r.begin()
	<-one.arrived
	r.crash()
	r.open()
	_, err := r.Start(t.Context())
	require.NoError(t, err)
	r.apply(app(instance(t, "app@2")))
	require.Len(t, r.Draining(), 1)
	require.Equal(t, one.Key, r.Draining()[0].Endpoint)
	r.apply(app(one.Upstream))
	require.Empty(t, r.Draining(), "it is back")
}

func TestWhatIsNotWaitedFor(t *testing.T) {
	t.Run("longer than the time to drain", func(t *testing.T) {
		r := newRouter(t)
		one := slowInstance(t, "app@1")
		defer close(one.letGo)
		route := app(one.Upstream)
		route.DrainTimeout = 300 * time.Millisecond
		r.apply(route)
		r.begin()
		<-one.arrived
		r.apply(app())
		require.Len(t, r.Draining(), 1)
		require.Eventually(t, func() bool { return len(r.Draining()) == 0 }, 5*time.Second, 10*time.Millisecond)
	})
	t.Run("of a worker that was killed", func(t *testing.T) {
		r := newRouter(t)
		one := slowInstance(t, "app@1")
		defer close(one.letGo)
		r.apply(app(one.Upstream))
		r.begin()
		<-one.arrived
		r.apply(app())
		require.Len(t, r.Draining(), 1)
		for _, pid := range workers(r.pid()) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		}
		require.Eventually(t, func() bool { return len(r.Draining()) == 0 }, 5*time.Second, 10*time.Millisecond)
		r.apply(app(instance(t, "app@2")))
		require.Equal(t, "200 app@2", r.get("app.localhost"))
	})
	t.Run("a client that left", func(t *testing.T) {
		r := newRouter(t)
		one := slowInstance(t, "app@1")
		defer close(one.letGo)
		r.apply(app(one.Upstream))
		ctx, leave := context.WithCancel(t.Context())
		r.begin(func(req *http.Request) { *req = *req.WithContext(ctx) })
		<-one.arrived
		r.apply(app())
		require.Len(t, r.Draining(), 1)
		leave()
		require.Eventually(t, func() bool { return len(r.Draining()) == 0 }, 5*time.Second, 10*time.Millisecond)
	})
}

// TestStreamsAreCountedApart: websockets and events end with their instance, and are not waited for.
func TestStreamsAreCountedApart(t *testing.T) {
	r := newRouter(t)
	up := exampleApp(t)
	up.Key = "/services/web/example-app/example-app@1"
	r.apply(routing.Route{App: "example-app", Upstreams: []routing.Upstream{up}})
	ws := r.websocket()
	defer ws.Close()
	id := endpointID("example-app", up.Key, up.Address)
	require.Equal(t, underway{0, 1}, r.underway(id))
	r.apply(routing.Route{App: "example-app"})
	require.Empty(t, r.Draining())
	r.echoes(ws) // the router ends none
	require.NoError(t, ws.Close())
	require.Eventually(t, func() bool { return r.underway(id) == underway{} }, 5*time.Second, time.Millisecond)

	one := slowInstance(t, "app@1")
	r.apply(app(one.Upstream))
	answer := r.begin(func(req *http.Request) { req.Method = "GET"; req.Header.Set("Accept", "text/event-stream") })
	<-one.arrived
	require.Equal(t, underway{0, 1}, r.underway(endpointID("app", one.Key, one.Address)))
	close(one.letGo)
	require.Equal(t, "200 app@1", <-answer)
}

// websocket opens one to the example app.
func (r *router) websocket() *websocket.Conn {
	r.t.Helper()
	d := websocket.Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var nd net.Dialer
		return nd.DialContext(ctx, "tcp", r.settings.Listen[0])
	}}
	ws, _, err := d.DialContext(r.t.Context(), "ws://example-app.localhost/echo", nil)
	require.NoError(r.t, err)
	return ws
}

func (r *router) echoes(ws *websocket.Conn) {
	r.t.Helper()
	require.NoError(r.t, ws.WriteMessage(websocket.TextMessage, []byte("hello")))
	_, got, err := ws.ReadMessage()
	require.NoError(r.t, err)
	require.Equal(r.t, "hello", string(got))
}

// underway is what the workers have under way to an endpoint.
func (r *router) underway(id uint64) underway {
	counts := map[uint64]underway{id: {}}
	for i := range r.dictionary.board.data.slots {
		r.dictionary.board.data.slots[i].add(counts)
	}
	return counts[id]
}

// TestNothingIsLeftCounted: whatever becomes of requests, none stays counted.
func TestNothingIsLeftCounted(t *testing.T) {
	r := newRouter(t)
	ok, dead := instance(t, "app@1"), routing.Upstream{Key: "/services/web/app/app@2", Instance: "app@2", Address: freeAddress(t)}
	breaks := upstream(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	breaks.Key = "/services/web/app/app@3"
	var clients sync.WaitGroup
	for i := range 20 {
		r.apply(app([]routing.Upstream{ok, dead, breaks}[:1+i%3]...))
		for range 5 {
			clients.Go(func() { _, _, _ = r.tryDo("POST", "app.localhost", "/") })
			clients.Go(func() { _, _, _ = r.tryDo("GET", "app.localhost", "/") })
		}
	}
	clients.Wait()
	for _, u := range []routing.Upstream{ok, dead, breaks} {
		id := endpointID("app", u.Key, u.Address)
		require.Eventually(t, func() bool { return r.underway(id) == underway{} }, 5*time.Second, time.Millisecond, "%s: %v", u.Key, r.underway(id))
	}
}

func TestAcknowledgedByNginxItself(t *testing.T) {
	one, two := instance(t, "app@1"), instance(t, "app@2")
	t.Run("a reload is refused", func(t *testing.T) {
		r := newRouter(t)
		r.apply(app(one))
		r.settings.AccessLog = "/no/such/directory/access.log"
		result, err := r.tryApply(app(two))
		require.ErrorContains(t, err, "nginx refuses the configuration")
		require.True(t, result.Endpoints, "they need none")
		require.Equal(t, "200 app@2", r.get("app.localhost"))
	})
	t.Run("it does not answer", func(t *testing.T) {
		r := newRouter(t)
		r.apply(app(one))
		r.effectTimeout = 300 * time.Millisecond
		for _, pid := range workers(r.pid()) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
		}
		result, err := r.tryApply(app(two))
		for _, pid := range workers(r.pid()) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
		}
		require.ErrorContains(t, err, "nginx has not acknowledged table 2: ")
		require.False(t, result.Endpoints)
		r.effectTimeout = 10 * time.Second
		r.apply(app(two))
		require.Equal(t, "200 app@2", r.get("app.localhost"))
	})
	t.Run("it was killed", func(t *testing.T) {
		r := newRouter(t)
		r.apply(app(one))
		old := r.pid()
		require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
		<-r.Exited()
		for _, pid := range workers(old) {
			require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
			require.Eventually(t, func() bool { return title(pid) == "" }, 5*time.Second, time.Millisecond)
		}
		result := r.apply(app(two))
		require.True(t, result.Endpoints && result.Reloaded)
		require.NotEqual(t, old, r.pid())
		require.Equal(t, "200 app@2", r.get("app.localhost"))
	})
	t.Run("its master was killed, and workers hold requests", func(t *testing.T) {
		r := newRouter(t)
		slow := slowInstance(t, "app@1")
		r.apply(app(slow.Upstream))
		answer := r.begin()
		<-slow.arrived
		old := r.pid()
		require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
		<-r.Exited()
		require.True(t, r.apply(app(two)).Endpoints)
		require.Empty(t, acceptingWorkers(old))
		require.Len(t, r.Draining(), 1, "the old worker has it")
		require.Equal(t, "200 app@2", r.get("app.localhost"))
		close(slow.letGo)
		require.Equal(t, "200 app@1", <-answer)
		require.Eventually(t, func() bool { return len(r.Draining()) == 0 }, 5*time.Second, time.Millisecond)
	})
	t.Run("an old worker has endpoints of its own", func(t *testing.T) {
		r := newStaticRouter(t)
		slow := slowInstance(t, "app@0")
		r.apply(app(slow.Upstream))
		answer := r.begin()
		<-slow.arrived
		r.crash()
		r.static = false
		r.open()
		_, err := r.Start(t.Context())
		require.NoError(t, err)
		r.effectTimeout = 3 * time.Second // also for the reload
		result, err := r.tryApply(app(two))
		require.ErrorContains(t, err, "still has a configuration with endpoints of its own")
		require.False(t, result.Endpoints)
		require.Equal(t, "200 app@2", r.get("app.localhost"))
		close(slow.letGo)
		require.Equal(t, "200 app@0", <-answer)
		require.Eventually(t, func() bool { _, err := r.tryApply(app(two)); return err == nil }, 10*time.Second, 10*time.Millisecond)
	})
	t.Run("the table was removed", func(t *testing.T) {
		r := newRouter(t)
		r.apply(app(one))
		require.NoError(t, os.Remove(r.path(tableName)))
		r.crash()
		r.open()
		_, err := r.Start(t.Context())
		require.NoError(t, err)
		r.apply(app(two))
		require.Equal(t, "200 app@2", r.get("app.localhost"))
	})
}

// TestNothingIsLostOverChanges: POSTs on kept and new connections, while endpoints of the app and of another come and go.
func TestNothingIsLostOverChanges(t *testing.T) {
	r := newRouter(t)
	ups := []routing.Upstream{instance(t, "app@1"), instance(t, "app@2"), instance(t, "app@3")}
	r.apply(app(ups...), routing.Route{App: "other"})
	ctx, stop := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	var mu sync.Mutex
	sent, lost := 0, map[string]int{}
	for i := range 4 {
		clients.Go(func() {
			transport := &http.Transport{DisableKeepAlives: i%2 == 0}
			defer transport.CloseIdleConnections()
			for ctx.Err() == nil {
				req, _ := http.NewRequest("POST", "http://"+r.settings.Listen[0]+"/", io.NopCloser(strings.NewReader("x"))) // never sent again
				req.Host, req.ContentLength = "app.localhost", 1
				resp, err := transport.RoundTrip(req)
				mu.Lock()
				sent++
				if err != nil {
					lost[err.Error()]++
				} else if resp.StatusCode != 200 {
					lost[resp.Status]++
				}
				mu.Unlock()
				if err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		})
	}
	for i := range 100 {
		r.apply(app(ups[i%3], ups[(i+1)%3]), routing.Route{App: "other", Upstreams: ups[:i%2]})
	}
	stop()
	clients.Wait()
	require.Empty(t, lost)
	require.Greater(t, sent, 500)
}
