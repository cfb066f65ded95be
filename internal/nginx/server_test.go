package nginx

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/template"
)

func TestApplyServesAndReloadsOnlyOnChange(t *testing.T) {
	r := newRouter(t)
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Waiting, state)

	one, two := instance(t, "app@1"), instance(t, "app@2")
	first := r.apply(Route{App: "app", Upstreams: []Upstream{one}})
	require.True(t, first.Changed)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	master, workers := r.pid(), workers(r.pid())
	require.Len(t, workers, 2)

	again := r.apply(Route{App: "app", Upstreams: []Upstream{one}})
	require.False(t, again.Changed)
	require.Equal(t, first.Generation, again.Generation)
	require.Equal(t, workers, acceptingWorkers(master), "no worker was replaced")

	c, err := Plan(Input{Settings: r.settings, Routes: []Route{{App: "app", Upstreams: []Upstream{one}}}, Revision: 99})
	require.NoError(t, err)
	again, err = r.Apply(t.Context(), c)
	require.NoError(t, err)
	require.False(t, again.Changed, "a new revision alone is no change")
	_, page := r.do("GET", "unknown", "/-/status.json")
	require.Contains(t, page, `"revision": 99`)

	changed := r.apply(Route{App: "app", Upstreams: []Upstream{two}})
	require.True(t, changed.Changed)
	require.NotEqual(t, first.Generation, changed.Generation)
	for range 20 {
		require.Equal(t, "200 app@2", r.get("app.localhost"), "no worker with the old configuration answers after Apply")
	}
	require.Equal(t, master, r.pid())
}

func TestBothInstancesInTurn(t *testing.T) {
	r := newRouter(t)
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1"), instance(t, "app@2")}})
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
	r.apply(Route{App: "app", Hosts: []string{"www.example.com", "*.wild.example.com"}, Upstreams: []Upstream{instance(t, "app@1")}}, Route{App: "empty"})
	require.Equal(t, "200 app@1", r.get("www.example.com"))
	require.Equal(t, "200 app@1", r.get("a.b.wild.example.com"))
	require.Contains(t, r.get("app.localhost"), "404 <!DOCTYPE html>")
	resp, body := r.do("GET", "empty.localhost:8080", "/any")
	require.Equal(t, 503, resp.StatusCode)
	require.Equal(t, "5", resp.Header.Get("Retry-After"))
	require.Contains(t, body, "empty is not available")
}

func TestStatusPage(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	result, err := r.tryApply(Route{App: "app", Upstreams: []Upstream{up, {Key: "/services/web/app/app@2", Instance: "app@2", Address: "oops"}}})
	require.NoError(t, err)
	resp, body := r.do("GET", "127.0.0.1", "/-/status.json")
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	var s status
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.Equal(t, result.Generation, s.Generation)
	require.Equal(t, []statusApp{{"app", []string{"app.localhost"}, []statusEndpoint{{"app@1", up.Address}}}}, s.Apps)
	require.Equal(t, result.Refused, s.Refused)
	require.Equal(t, ReasonInvalidAddress, s.Refused[0].Reason)
	resp, body = r.do("GET", "127.0.0.1", "/-/status")
	require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	require.Contains(t, body, up.Address)
	resp, _ = r.do("GET", "app.localhost", "/-/status")
	require.Equal(t, 200, resp.StatusCode, "an app's own paths are the app's")
}

func TestForwardedHeaders(t *testing.T) {
	r := newRouter(t)
	seen := make(chan *http.Request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { seen <- req }))
	t.Cleanup(srv.Close)
	r.apply(Route{App: "app", Upstreams: []Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}})

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
	require.Equal(t, "10.9.8.7, 127.0.0.1", got.Header.Get("X-Forwarded-For"))
	require.Empty(t, got.Header.Get("Proxy"))
	require.Empty(t, got.Header.Get("Upgrade"))

	r.do("GET", "app.localhost", "/", func(req *http.Request) { req.Header.Set("X-Request-ID", "<script>") })
	require.Regexp(t, `^[0-9a-f]{32}$`, (<-seen).Header.Get("X-Request-ID"))
}

func TestWebsocketPasses(t *testing.T) {
	r := newRouter(t)
	app := exampleApp(t)
	r.apply(Route{App: "example-app", Upstreams: []Upstream{app}})
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
	require.True(t, r.apply(Route{App: "example-app", Upstreams: []Upstream{app}}, Route{App: "new"}).Changed)
	echo("an open websocket outlives a reload")
	require.Equal(t, 200, func() int { resp, _ := r.do("GET", "example-app.localhost", "/"); return resp.StatusCode }())
}

func TestFailoverIsNotNoticed(t *testing.T) {
	r := newRouter(t)
	dead := Upstream{Instance: "app@2", Address: freeAddress(t)}
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1"), dead, instance(t, "app@3")}})
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
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1"), {Instance: "app@2", Address: strings.TrimPrefix(dying.URL, "http://")}}})
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

// A request that has reached an app may have had its effect: it is not sent to another one.
func TestPostIsNeverSentTwice(t *testing.T) {
	r := newRouter(t)
	var received atomic.Int32
	breaking := func() Upstream {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			_, _ = io.ReadAll(req.Body)
			received.Add(1)
			panic(http.ErrAbortHandler)
		}))
		t.Cleanup(srv.Close)
		return Upstream{Instance: "app@" + srv.URL[len(srv.URL)-5:], Address: strings.TrimPrefix(srv.URL, "http://")}
	}
	r.apply(Route{App: "app", Upstreams: []Upstream{breaking(), breaking()}})
	resp, _ := r.do("POST", "app.localhost", "/", func(req *http.Request) {
		req.Body = io.NopCloser(strings.NewReader("x"))
		req.ContentLength = 1
	})
	require.Equal(t, 502, resp.StatusCode)
	require.EqualValues(t, 1, received.Load())
}

// Bodies that do not fit into memory go through files in the directory, which
// the workers must reach whoever they run as.
func TestLargeBodies(t *testing.T) {
	for name, dir := range map[string]string{"open directory": openDir(t), "closed directory": t.TempDir()} {
		t.Run(name, func(t *testing.T) {
			r := newRouterIn(t, dir)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				body, _ := io.ReadAll(req.Body)
				_, _ = w.Write(body)
			}))
			t.Cleanup(srv.Close)
			r.apply(Route{App: "app", Upstreams: []Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}})
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

func TestUnresolvableEndpointIsLeftOutAlone(t *testing.T) {
	r := newRouter(t)
	good := instance(t, "b@1")
	bad := Upstream{Key: "/services/web/b/b@2", Instance: "b@2", Address: "no-such-host.invalid:80"}
	lone := Upstream{Key: "/services/web/d/d@1", Instance: "d@1", Address: "no-such-host.invalid:80"}
	result, err := r.tryApply(
		Route{App: "a", Upstreams: []Upstream{instance(t, "a@1")}}, Route{App: "b", Upstreams: []Upstream{good, bad}},
		Route{App: "c", Upstreams: []Upstream{instance(t, "c@1")}}, Route{App: "d", Upstreams: []Upstream{lone}})
	require.NoError(t, err)
	require.Len(t, result.Refused, 2)
	for i, want := range []Refused{{App: "b", Key: bad.Key}, {App: "d"}} {
		got := result.Refused[i]
		require.Equal(t, []string{want.App, want.Key, ReasonNotAccepted}, []string{got.App, got.Key, got.Reason})
		require.Contains(t, got.Message, `host not found in upstream "no-such-host.invalid:80"`)
	}
	require.Equal(t, "200 a@1", r.get("a.localhost"))
	require.Equal(t, "200 b@1", r.get("b.localhost"))
	require.Equal(t, "200 c@1", r.get("c.localhost"))
	require.Contains(t, r.get("d.localhost"), "404")
}

// As many apps as a large cluster has, one of them with a thousand instances and
// one that nginx refuses.
func TestManyApps(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	routes := []Route{{App: "wide"}, {App: "bad", Upstreams: []Upstream{{Key: "k", Instance: "bad@1", Address: "no-such-host.invalid:80"}}}}
	for i := range 1000 {
		routes[0].Upstreams = append(routes[0].Upstreams, Upstream{Instance: fmt.Sprintf("wide@%d", i), Address: up.Address})
		routes = append(routes, Route{App: fmt.Sprintf("app-%d", i), Upstreams: []Upstream{up}})
	}
	result, err := r.tryApply(routes...)
	require.NoError(t, err)
	require.Len(t, result.Refused, 1)
	require.Equal(t, "bad", result.Refused[0].App)
	routes[500].Hosts = []string{strings.Repeat("a.", 120) + "example"}
	start := time.Now()
	_, err = r.tryApply(routes...)
	require.NoError(t, err)
	t.Logf("a change among %d apps, one of them refused: %s", len(routes), time.Since(start))
	for _, host := range []string{"app-999.localhost", "wide.localhost", routes[500].Hosts[0]} {
		require.Equal(t, "200 app@1", r.get(host))
	}
}

func TestBadCandidateIsRefusedAndTheOldOneServes(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	r.apply(Route{App: "app", Upstreams: []Upstream{up}})
	before, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	good := r.settings
	r.settings.Listen = append(slices.Clone(good.Listen), taken.Addr().String())
	_, err = r.tryApply(Route{App: "app", Upstreams: []Upstream{up}})
	require.ErrorContains(t, err, "another process uses this address")

	r.settings = good
	r.settings.AccessLog = "/no/such/directory/access.log"
	_, err = r.tryApply(Route{App: "app", Upstreams: []Upstream{up}})
	require.ErrorContains(t, err, `nginx refuses the configuration even without apps: open() "/no/such/directory/access.log" failed`)
	r.settings = good
	after, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	require.False(t, r.apply(Route{App: "app", Upstreams: []Upstream{up}}).Changed)
}

// A configuration that passes nginx -t and yet never takes effect is taken back.
func TestReloadWithoutEffectIsTakenBack(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	r.apply(Route{App: "app", Upstreams: []Upstream{up}})
	before, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)
	require.NoError(t, r.proc.signal(syscall.SIGSTOP))
	r.effectTimeout = 200 * time.Millisecond
	_, err = r.tryApply(Route{App: "app"})
	require.ErrorContains(t, err, "is not in effect")
	require.NoError(t, r.proc.signal(syscall.SIGCONT))
	after, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	r.effectTimeout = 10 * time.Second
	r.apply(Route{App: "app", Upstreams: []Upstream{up}}, Route{App: "b"})
	require.Equal(t, "200 app@1", r.get("app.localhost"))
}

func TestAdoptionAfterTheSupervisorDied(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	result := r.apply(Route{App: "app", Upstreams: []Upstream{up}})
	pid := r.pid()
	r.crash()
	require.Equal(t, "200 app@1", r.get("app.localhost"), "nginx goes on alone")

	r.open()
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Adopted, state)
	require.Equal(t, pid, r.pid())
	again := r.apply(Route{App: "app", Upstreams: []Upstream{up}})
	require.False(t, again.Changed, "the router is back, nothing changed, nothing is reloaded")
	require.Equal(t, result.Generation, again.Generation)
	require.True(t, r.apply(Route{App: "app"}).Changed)
	require.Contains(t, r.get("app.localhost"), "503")
	require.Equal(t, pid, r.pid())
}

// The supervisor died between the rename and the signal.
func TestAdoptionMakesUpForACutOffReload(t *testing.T) {
	r := newRouter(t)
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1")}})
	r.crash()
	c, err := Plan(Input{Settings: r.settings, Routes: []Route{{App: "app", Upstreams: []Upstream{instance(t, "app@2")}}}})
	require.NoError(t, err)
	text, err := Render(c, nil)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(r.path("nginx.conf"), text, 0o644))
	r.open()
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Adopted, state)
	require.Equal(t, "200 app@2", r.get("app.localhost"))
}

func TestStartWithTheLastGoodFile(t *testing.T) {
	r := newRouter(t)
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1")}})
	require.NoError(t, r.Stop(t.Context()))
	require.NoError(t, r.Close())
	_, _, err := r.tryDo("GET", "app.localhost", "/")
	require.Error(t, err, "nginx is stopped")

	r.open()
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Started, state)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	state, err = r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Adopted, state, "a second Start changes nothing")
}

func TestPidOfAnotherProcessIsNotAdopted(t *testing.T) {
	r := newRouter(t)
	require.NoError(t, os.WriteFile(r.path("nginx.pid"), fmt.Appendln(nil, os.Getpid()), 0o644))
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Waiting, state)
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1")}})
	require.Equal(t, "200 app@1", r.get("app.localhost"))
}

// kill -9 of the master leaves workers that hold the addresses.
func TestMasterKilled(t *testing.T) {
	r := newRouter(t)
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1")}})
	old := r.pid()
	orphans := workers(old)
	require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
	<-r.Exited()
	require.Equal(t, "200 app@1", r.get("app.localhost"), "the workers go on")
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Started, state)
	require.NotEqual(t, old, r.pid())
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	for _, pid := range orphans {
		require.False(t, isAccepting(pid))
	}
	select {
	case <-r.Exited():
		t.Fatal("the new nginx runs")
	default:
	}
}

func TestStopFinishesRequestsAndGivesUpAtItsDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		deadline time.Duration
		answered bool
	}{"in time": {10 * time.Second, true}, "too slow": {100 * time.Millisecond, false}} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			arrived, answer := make(chan struct{}), make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				close(arrived)
				<-answer
			}))
			t.Cleanup(srv.Close)
			r.apply(Route{App: "app", Upstreams: []Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}})
			result := make(chan error)
			go func() {
				_, _, err := r.tryDo("GET", "app.localhost", "/")
				result <- err
			}()
			<-arrived
			if tc.answered {
				time.AfterFunc(50*time.Millisecond, func() { close(answer) })
			} else {
				defer close(answer)
			}
			ctx, cancel := context.WithTimeout(t.Context(), tc.deadline)
			defer cancel()
			require.NoError(t, r.Stop(ctx))
			require.Equal(t, tc.answered, <-result == nil)
			select {
			case <-r.Exited():
				t.Fatal("an exit that was asked for is no surprise")
			default:
			}
		})
	}
}

func TestOneServerADirectory(t *testing.T) {
	r := newRouter(t)
	_, err := New(Options{Dir: r.settings.Dir})
	require.ErrorIs(t, err, ErrBusy)
	_, err = New(Options{Dir: "relative"})
	require.ErrorContains(t, err, "absolute")
	_, err = New(Options{Dir: r.settings.Dir, Binary: "/no/nginx"})
	require.Error(t, err)
}

func TestAccessLog(t *testing.T) {
	r := newRouter(t)
	r.settings.AccessLog = r.path("access.log")
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1")}})
	r.do("GET", "app.localhost", `/"quoted"`)
	require.NoError(t, r.Stop(t.Context()))
	data, err := os.ReadFile(r.settings.AccessLog)
	require.NoError(t, err)
	var entry struct {
		Status            int
		Host, Request, ID string
	}
	require.NoError(t, json.Unmarshal(data, &entry))
	require.Equal(t, 200, entry.Status)
	require.Equal(t, "app.localhost", entry.Host)
}

func TestStdoutLog(t *testing.T) {
	r := newRouter(t)
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer file.Close()
	require.NoError(t, file.Chmod(0o666))
	r.stdout = file
	r.settings.AccessLog = StdoutLog(file)
	require.Equal(t, "stdout", r.settings.AccessLog)
	r.apply(Route{App: "app", Upstreams: []Upstream{instance(t, "app@1")}})
	r.get("app.localhost")
	require.NoError(t, r.Stop(t.Context()))
	data, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.Contains(t, string(data), `"status":200`)

	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	a, b := os.NewFile(uintptr(pair[0]), "a"), os.NewFile(uintptr(pair[1]), "b")
	defer a.Close()
	defer b.Close()
	require.NotEqual(t, "stdout", StdoutLog(a), "nginx cannot open a socket by name")
}

func TestOwnTemplate(t *testing.T) {
	address := freeAddress(t)
	text := `{{range $app := lsdir "/services/web"}}
upstream {{$app}} { {{range gets (printf "/services/web/%s/*" $app)}} server {{.Value}}; {{end}} }
server { listen ` + address + `; server_name {{$app}}.own; {{getv (printf "/extra/%s" $app) ""}} location / { proxy_pass http://{{$app}}/; } }
{{end}}`
	own, err := template.New("own.tmpl", text)
	require.NoError(t, err)
	r := newRouter(t)
	require.NoError(t, r.Close())
	r.own = own
	r.settings.Listen = []string{address}
	r.open()
	c, err := Plan(Input{Settings: r.settings, Keys: map[string]string{"/extra/b": "nonsense"}, Routes: []Route{
		{App: "a", Upstreams: []Upstream{instance(t, "a@1")}}, {App: "b", Upstreams: []Upstream{instance(t, "b@1")}},
		{App: "c", Upstreams: []Upstream{instance(t, "c@1"), {Key: "k", Instance: "c@2", Address: "x; } server {"}}}}})
	require.NoError(t, err)
	result, err := r.Apply(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "200 a@1", r.get("a.own"))
	require.Equal(t, "200 c@1", r.get("c.own"), "an app beside a broken one")
	var refused []string
	for _, f := range result.Refused {
		refused = append(refused, f.App+" "+f.Reason)
	}
	require.Equal(t, []string{"c InvalidAddress", "b NotAccepted"}, refused)

	delete(c.Keys, "/extra/b")
	result, err = r.Apply(t.Context(), c)
	require.NoError(t, err)
	require.Len(t, result.Refused, 1, "what is good again is taken again")
	require.Equal(t, "200 b@1", r.get("b.own"))
}

// The template that manifests/router offers as a beginning is the seed's.
func TestManifestTemplatePassesNginx(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the seed's template listens on port 80 and logs to /var/log: only root may")
	}
	text, err := os.ReadFile("../../manifests/router/apps.tmpl")
	require.NoError(t, err)
	own, err := template.New("apps.tmpl", string(text))
	require.NoError(t, err)
	r := newRouter(t)
	c, err := Plan(Input{Settings: r.settings, Routes: []Route{{App: "example-app", Upstreams: []Upstream{instance(t, "example-app@1")}}}})
	require.NoError(t, err)
	r.template = own
	_, err = r.try(t.Context(), c)
	require.NoError(t, err)
}

// The same as an ordinary user, when the tests are run by root.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		return // then all the tests here are this test
	}
	const nobody = 65534
	dir := openDir(t)
	require.NoError(t, os.Chown(dir, nobody, nobody))
	self, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	binary := filepath.Join(dir, "nginx.test")
	require.NoError(t, os.WriteFile(binary, self, 0o755))
	cmd := exec.CommandContext(t.Context(), binary, "-test.run", "TestApplyServes|TestAdoption|TestLargeBodies|TestBadCandidate")
	cmd.Dir, cmd.Env = dir, []string{"TMPDIR=" + dir, "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "PASS")
}
