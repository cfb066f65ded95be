package nginx

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

func TestSeparate(t *testing.T) {
	route := func(app string, hosts ...string) routing.Route { return routing.Route{App: app, Hosts: hosts} }
	own := func(app string, hosts ...string) routing.Route {
		return routing.Route{App: app, Hosts: hosts, BodySize: 1}
	}
	for _, c := range []struct {
		name   string
		routes []routing.Route
		want   string // of those with servers of their own
	}{
		{"none", []routing.Route{route("a", "a.example"), route("b", "*.b.example")}, ""},
		{"limits", []routing.Route{route("a", "a.example"), own("b", "b.example"), {App: "c", Timeout: time.Second}}, "b c"},
		{"below the domain of one", []routing.Route{route("a", "x.b.example"), own("b", "*.b.example"), route("c", "b.example", "xb.example")}, "a b"},
		{"far below", []routing.Route{route("a", "x.y.b.example"), own("b", "*.b.example")}, "a b"},
		{"a domain below", []routing.Route{route("a", "*.y.b.example"), own("b", "*.b.example")}, "a b"},
		{"by way of another", []routing.Route{route("a", "x.c.example"), route("b", "x.d.example", "*.c.example"), own("d", "*.d.example"), route("e", "x.e.example")}, "a b d"},
	} {
		shared, own := separate(c.routes)
		var apps []string
		for _, r := range own {
			apps = append(apps, r.App)
		}
		require.Equal(t, c.want, strings.Join(apps, " "), c.name)
		require.ElementsMatch(t, c.routes, append(shared, own...), c.name)
	}
}

// TestHostsChangeWithoutAReload: a new host is answered with nothing but 404 before and 200 after, and one that went with 404.
func TestHostsChangeWithoutAReload(t *testing.T) {
	r := newRouter(t)
	one := instance(t, "app@1")
	first := r.apply(app(one))
	before := r.bothWorkers()
	for i := range 30 {
		host := fmt.Sprintf("new-%d.localhost", i)
		done := make(chan struct{})
		answers := make(chan []string)
		go func() {
			var got []string
			for {
				select {
				case <-done:
					answers <- got
					return
				default:
					resp, _, err := r.tryDo("GET", host, "/")
					if err != nil {
						got = append(got, err.Error())
					} else {
						got = append(got, fmt.Sprint(resp.StatusCode))
					}
				}
			}
		}()
		result := r.apply(app(one), routing.Route{App: "new", Hosts: []string{host}, Upstreams: []routing.Upstream{one}})
		require.True(t, result.Changed && result.Endpoints)
		require.False(t, result.Reloaded)
		require.Equal(t, first.Generation, result.Generation)
		for range 4 {
			require.Equal(t, "200 app@1", r.get(host), "each worker serves it")
		}
		close(done)
		got := slices.Compact(<-answers)
		require.Contains(t, []string{"404", "404 200", "200", ""}, strings.Join(got, " "))
		r.apply(app(one))
		for range 4 {
			require.Contains(t, r.get(host), "404 ")
		}
	}
	require.Equal(t, before, acceptingWorkers(r.pid()))
	people, err := os.ReadFile(r.path(appsName))
	require.NoError(t, err)
	require.Contains(t, string(people), "server_name app.localhost;")
}

// TestWhichAppHasAHost: as nginx's own servers do, whether a host is data or not.
func TestWhichAppHasAHost(t *testing.T) {
	for name, limit := range map[string]int64{"data": 0, "some have a server": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			r := newRouter(t)
			r.apply(
				routing.Route{App: "exact", Hosts: []string{"a.wild.example", "exact.example"}, Upstreams: []routing.Upstream{instance(t, "exact")}},
				routing.Route{App: "wide", BodySize: limit, Hosts: []string{"*.wild.example"}, Upstreams: []routing.Upstream{instance(t, "wide")}},
				routing.Route{App: "wider", Hosts: []string{"*.b.wild.example"}, Upstreams: []routing.Upstream{instance(t, "wider")}},
				routing.Route{App: "none", Hosts: []string{"none.example"}})
			for host, want := range map[string]string{
				"exact.example": "200 exact", "EXACT.Example": "200 exact", "exact.example.": "200 exact", "exact.example:8080": "200 exact",
				"a.wild.example": "200 exact", "c.wild.example": "200 wide", "b.wild.example": "200 wide", "x.a.wild.example": "200 wide",
				"c.b.wild.example": "200 wider", "d.c.b.wild.example": "200 wider",
				"wild.example": "404", "xwild.example": "404", "example": "404", "127.0.0.1": "404",
				strings.Repeat("a.", 2000) + "wild.example": "404", "none.example": "503",
			} {
				if limit != 0 && len(host) > 1000 {
					continue // nginx itself has no limit
				}
				got := r.get(host)
				require.True(t, strings.HasPrefix(got, want), "%.40s: %.40s, want %s", host, got, want)
			}
		})
	}
}

// TestPathsOfTheRouter: on its own hosts an app has them.
func TestPathsOfTheRouter(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{upstream(t, func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		fmt.Fprint(w, "app ", req.RequestURI, " ", len(body))
	})}})
	for _, path := range []string{"/", "/-/healthz", "/-/status", "/-/status.json", "/-/status.json?a=%20", "/-/other", "/-/%2F..%2f"} {
		resp, body := r.do("POST", "app.localhost", path, func(req *http.Request) {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader("123")), 3
		})
		require.Equal(t, "200 app "+path+" 3", fmt.Sprint(resp.StatusCode, " ", body))
	}
	resp, _ := r.do("GET", "unknown", "/-/status")
	require.Equal(t, 200, resp.StatusCode)
	resp, _ = r.do("GET", "unknown", "/-/other")
	require.Equal(t, 404, resp.StatusCode)
}

// TestLimitsComeAndGo: no request for an app is refused while it gets limits, and a server with them, or loses them.
func TestLimitsComeAndGo(t *testing.T) {
	r := newRouter(t)
	route := app(instance(t, "app@1"))
	other := routing.Route{App: "other", Upstreams: []routing.Upstream{instance(t, "other@1")}}
	r.apply(route)
	stop, failed := make(chan struct{}), make(chan string, 1)
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				failed <- ""
				return
			default:
			}
			resp, _, err := r.tryDo("GET", "app.localhost", "/")
			if err != nil || resp.StatusCode != 200 {
				failed <- fmt.Sprint(n, " requests: ", resp, err)
				return
			}
		}
	}()
	for i := range 3 {
		route.BodySize = int64(1000 + i)
		require.True(t, r.apply(route).Reloaded)
		large := func(req *http.Request) {
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 2000))), 2000
		}
		resp, _ := r.do("POST", "app.localhost", "/", large)
		require.Equal(t, 413, resp.StatusCode)
		// Its host goes to another app, which has no limits, and back.
		moved := other
		moved.Hosts = []string{"app.localhost", "other.localhost"}
		none := route
		none.Hosts = []string{"elsewhere.localhost"}
		r.apply(none, moved)
		require.Equal(t, "200 other@1", r.get("app.localhost"))
		r.apply(route, other)
		require.Equal(t, "200 app@1", r.get("app.localhost"))
		route.BodySize = 0
		require.True(t, r.apply(route).Reloaded)
		resp, _ = r.do("POST", "app.localhost", "/", large)
		require.Equal(t, 200, resp.StatusCode)
	}
	close(stop)
	require.Empty(t, <-failed)
}

// TestHostsAreFoundAgain: by an nginx that starts, a reload, and the next router, without anything being applied.
func TestHostsAreFoundAgain(t *testing.T) {
	r := newRouter(t)
	r.apply(app(instance(t, "app@1")))
	r.settings.BodySize = 1 << 20
	require.True(t, r.apply(app(instance(t, "app@1"))).Reloaded)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	require.NoError(t, syscall.Kill(r.pid(), syscall.SIGKILL))
	<-r.Exited()
	r.crash()
	r.open()
	_, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	require.Equal(t, map[string]string{"app.localhost": "app"}, r.dictionary.hosts)
}

// TestTableOfTheVersionBefore: it has no hosts, which stay until its router has written a configuration with them.
func TestTableOfTheVersionBefore(t *testing.T) {
	r := newRouter(t)
	r.apply(app(instance(t, "app@1")))
	two := instance(t, "app@2")
	d := r.dictionary
	d.set([]routing.Route{app(two)}, time.Now())
	text := d.text()
	text = append(text[:strings.Index(string(text), "hosts\n")], tableEnd...)
	has, board, err := r.tell(t.Context(), text)
	require.NoError(t, err)
	require.Equal(t, []uint64{2, 2}, []uint64{has, board})
	require.Equal(t, "200 app@2", r.get("app.localhost"))
}

// TestHostsOfAnOldNginx: the workers of an nginx that was replaced have a dictionary that is not fed any more. They read the file.
func TestHostsOfAnOldNginx(t *testing.T) {
	r := newRouter(t)
	r.settings.Workers = 1
	one := instance(t, "app@1")
	r.apply(app(one))
	r.dictionary.set(configured(r.settings, routing.Route{App: "new", Upstreams: []routing.Upstream{one}}).Routes, time.Now())
	require.NoError(t, os.WriteFile(r.path(tableName), r.dictionary.text(), 0o644))
	r.dictionary.board.begin(r.dictionary.epoch) // the new one's dictionary has it
	require.Equal(t, "200 app@1", r.get("new.localhost"))
	require.Contains(t, r.get("app.localhost"), "404 ")

	require.NoError(t, os.Remove(r.path(tableName)))
	r.dictionary.board.begin(r.dictionary.epoch + 1)
	require.Contains(t, r.get("new.localhost"), "500 ", "it is not known whether there is such an app")
	require.ErrorContains(t, r.confirmWorkers(time.Now()), "cannot read the table")
}

// TestUnknownHostBeforeTheBody: a host that no app has is answered before the body of its request has come.
func TestUnknownHostBeforeTheBody(t *testing.T) {
	r := newRouter(t)
	r.apply(app(instance(t, "app@1")))
	for name, length := range map[string]int64{"small": 2000, "large": 20_000_000, "chunked": -1} {
		change, rest := upload()
		resp, body := r.do("POST", "unknown", "/", func(req *http.Request) {
			change(req)
			req.ContentLength = length
			req.Header.Set("Expect", "100-continue")
		})
		require.Equal(t, 404, resp.StatusCode, name)
		require.Contains(t, body, "No such app")
		rest()
	}
}

// TestAppWithoutAnInstance: the answer is the same for all kinds of requests, whether the app has a server of its own or not.
func TestAppWithoutAnInstance(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "shared"}, limited)
	for _, host := range []string{"shared.localhost", "limited.localhost"} {
		for name, change := range map[string]func(*http.Request){
			"nothing": func(*http.Request) {},
			"body":    func(req *http.Request) { req.Body, req.ContentLength = io.NopCloser(strings.NewReader("123")), 3 },
			"large": func(req *http.Request) {
				req.Header.Set("Expect", "100-continue")
				req.ContentLength = 1 << 19
				req.Body = io.NopCloser(strings.NewReader(strings.Repeat("x", 1<<19)))
			},
			"events": func(req *http.Request) { req.Header.Set("Accept", "text/event-stream") },
			"websocket": func(req *http.Request) {
				req.Header.Set("Upgrade", "websocket")
				req.Header.Set("Connection", "upgrade")
			},
		} {
			resp, body := r.do("POST", host, "/", change)
			require.Equal(t, 503, resp.StatusCode, "%s: %s", host, name)
			require.Contains(t, body, strings.TrimSuffix(host, ".localhost")+" is not available")
		}
	}
}
