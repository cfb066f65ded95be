package nginx

import (
	"context"
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
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/template"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// router is a Server with its own directory and address.
type router struct {
	*Server
	t        *testing.T
	settings Settings
	own      *template.Template
	static   bool // without the Lua module
	program  string
}

// withoutModule makes the routers of TestWithoutTheModule.
var withoutModule bool

func newRouter(t *testing.T) *router {
	t.Helper()
	return newRouterIn(t, t.TempDir())
}

// newStaticRouter has endpoints in its configuration, as without the Lua module.
func newStaticRouter(t *testing.T) *router {
	t.Helper()
	before := withoutModule
	withoutModule = true
	defer func() { withoutModule = before }()
	return newRouter(t)
}

func newRouterIn(t *testing.T, dir string) *router {
	t.Helper()
	r := &router{t: t, static: withoutModule, settings: Settings{Dir: dir, Listen: []string{freeAddress(t)}, Domain: "localhost", Workers: 2, ErrorLog: filepath.Join(dir, "error.log")}}
	r.open()
	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(r.settings.ErrorLog)
			t.Logf("nginx's error log:\n%s", log)
		}
	})
	return r
}

// open creates the Server, like a starting router.
func (r *router) open() {
	r.t.Helper()
	// nginx outlives a test that panics: it must not hold the pipe that go test reads.
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { null.Close() })
	s, err := New(Options{Dir: r.settings.Dir, Binary: r.program, Template: r.own, Static: r.static, Stdout: null, Stderr: null})
	require.NoError(r.t, err)
	r.Server = s
	r.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		require.NoError(r.t, s.Stop(ctx))
		require.NoError(r.t, s.Close())
	})
}

// crash simulates kill -9: nginx runs, the lock is free.
func (r *router) crash() {
	r.t.Helper()
	require.NoError(r.t, r.Server.Close())
}

func (r *router) apply(routes ...routing.Route) Result {
	r.t.Helper()
	result, err := r.tryApply(routes...)
	require.NoError(r.t, err)
	require.Empty(r.t, result.Refused)
	return result
}

func (r *router) tryApply(routes ...routing.Route) (Result, error) {
	r.t.Helper()
	return r.tryApplyWith(func(*Configuration) {}, routes...)
}

// configured is a configuration of routes, as planned.
func configured(settings Settings, routes ...routing.Route) Configuration {
	c := Configuration{Settings: settings, Table: routing.Table{Routes: sorted(slices.Clone(routes))}}
	for i := range c.Routes {
		r := &c.Routes[i]
		r.Prefix, r.Upstreams = v1.DefaultAnnouncePrefix, slices.Clone(r.Upstreams)
		if r.Hosts == nil {
			r.Hosts = []string{r.App + "." + settings.Domain}
		}
	}
	return c
}

// tryApplyWith changes the rendered text, so that nginx itself can refuse something.
func (r *router) tryApplyWith(change func(*Configuration), routes ...routing.Route) (Result, error) {
	r.t.Helper()
	c := configured(r.settings, routes...)
	change(&c)
	return r.Apply(r.t.Context(), c)
}

// unresolvable replaces the addresses of the given endpoints by host names: nginx -t refuses those.
func unresolvable(c *Configuration) {
	for _, route := range c.Routes {
		for i := range route.Upstreams {
			if route.Upstreams[i].Address == nowhere {
				route.Upstreams[i].Address = "no-such-host.invalid:80"
			}
		}
	}
}

const nowhere = "192.0.2.1:80"

func (r *router) pid() int {
	r.t.Helper()
	pid, _ := masterOf(r.path("nginx.pid"), r.path("nginx.conf"))
	require.NotZero(r.t, pid, "nginx runs")
	return pid
}

// bothWorkers waits until nginx has forked both: one alone answers already.
func (r *router) bothWorkers() []int {
	r.t.Helper()
	require.Eventually(r.t, func() bool { return len(acceptingWorkers(r.pid())) == 2 }, 5*time.Second, time.Millisecond)
	return acceptingWorkers(r.pid())
}

// do sends one request on its own connection.
func (r *router) do(method, host, path string, change ...func(*http.Request)) (*http.Response, string) {
	r.t.Helper()
	resp, body, err := r.tryDo(method, host, path, change...)
	require.NoError(r.t, err)
	return resp, body
}

func (r *router) tryDo(method, host, path string, change ...func(*http.Request)) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.settings.Listen[0]+path, nil)
	if err != nil {
		return nil, "", err
	}
	req.Host = host
	for _, c := range change {
		c(req)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func (r *router) get(host string) string {
	r.t.Helper()
	resp, body := r.do("GET", host, "/")
	return fmt.Sprintf("%d %s", resp.StatusCode, body)
}

// instance serves its own name and returns itself as an upstream.
func instance(t *testing.T, name string) routing.Upstream {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, name)
	}))
	t.Cleanup(srv.Close)
	return routing.Upstream{Key: "/services/web/app/" + name, Instance: name, Address: strings.TrimPrefix(srv.URL, "http://")}
}

// openDir is a directory accessible to all users, which those of t.TempDir are not.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet-nginx-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// freeAddress is an address on which nothing listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// exampleApp builds and starts the example app and returns it as an upstream.
func exampleApp(t *testing.T) routing.Upstream {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "example-app")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/example-app").CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := exec.Command(binary, "--listen", "127.0.0.1:0", "--instance", "example-app@1")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		_, _ = io.Copy(io.Discard, stdout)
		require.NoError(t, cmd.Wait())
	})
	line := make([]byte, 256)
	n, err := stdout.Read(line) // its first line says where it listens
	require.NoError(t, err)
	_, address, _ := strings.Cut(strings.TrimSpace(string(line[:n])), "http://")
	return routing.Upstream{Instance: "example-app@1", Address: address}
}
