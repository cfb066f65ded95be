package nginx

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/template"
	"github.com/fleet-starter/fleet/test/pages"
)

func TestApplyServesAndReloadsOnlyOnChange(t *testing.T) {
	r := newStaticRouter(t)
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Waiting, state)

	one, two := instance(t, "app@1"), instance(t, "app@2")
	first := r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{one}})
	require.True(t, first.Changed)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	master, workers := r.pid(), r.bothWorkers()

	again := r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{one}})
	require.False(t, again.Changed)
	require.Equal(t, first.Generation, again.Generation)
	require.Equal(t, workers, acceptingWorkers(master), "no worker was replaced")

	c := configured(r.settings, routing.Route{App: "app", Upstreams: []routing.Upstream{one}})
	c.Revision = 99
	again, err = r.Apply(t.Context(), c)
	require.NoError(t, err)
	require.False(t, again.Changed, "a new revision alone is no change")
	_, page := r.do("GET", "unknown", "/-/status.json")
	require.Contains(t, page, `"revision": 99`)

	changed := r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{two}})
	require.True(t, changed.Changed)
	require.NotEqual(t, first.Generation, changed.Generation)
	for range 20 {
		require.Equal(t, "200 app@2", r.get("app.localhost"), "no worker with the old configuration answers after Apply")
	}
	require.Equal(t, master, r.pid())
}

func TestStatusPage(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	result, err := r.tryApplyWith(func(c *Configuration) {
		unresolvable(c)
		c.Refused = []v1.RouteRefusal{{App: "app", Key: "/services/web/app/app@3", Reason: "InvalidAddress", Message: "want ip:port"}}
	}, routing.Route{App: "app", Upstreams: []routing.Upstream{up, {Key: "/services/web/app/app@2", Instance: "app@2", Address: nowhere}}})
	require.NoError(t, err)
	resp, body := r.do("GET", "127.0.0.1", "/-/status.json")
	require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
	var s status
	require.NoError(t, json.Unmarshal([]byte(body), &s))
	require.Equal(t, result.Generation, s.Generation)
	require.Equal(t, []statusApp{{"app", []string{"app.localhost"}, []statusEndpoint{{"app@1", up.Address}}}}, s.Apps)
	require.Equal(t, result.Refused, s.Refused)
	require.Equal(t, []string{"InvalidAddress", ReasonNotAccepted}, []string{s.Refused[0].Reason, s.Refused[1].Reason})
	resp, body = r.do("GET", "127.0.0.1", "/-/status")
	require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	require.Contains(t, body, up.Address)
	resp, _ = r.do("GET", "app.localhost", "/-/status")
	require.Equal(t, 200, resp.StatusCode, "an app's own paths are the app's")
}

// Load balancers ask each machine whether it takes requests, by its address. A drain changes the answer without a reload.
func TestHealthForLoadBalancers(t *testing.T) {
	r := newRouter(t)
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
	health := func(host string) string {
		t.Helper()
		resp, body := r.do("GET", host, "/-/healthz")
		return fmt.Sprintf("%d %s %s", resp.StatusCode, resp.Header.Get("Content-Type"), body)
	}
	workers := acceptingWorkers(r.pid())
	require.NoError(t, r.SetDraining(false), "it is not drained")
	require.Equal(t, "200 text/plain ok\n", health("127.0.0.1"))
	require.NoError(t, r.SetDraining(true))
	require.Equal(t, "503 text/plain this machine is drained\n", health("127.0.0.1"))
	require.Equal(t, "200 text/plain app@1", strings.Replace(health("app.localhost"), "; charset=utf-8", "", 1), "an app's own paths are the app's")
	require.Equal(t, "200 app@1", r.get("app.localhost"), "a drained machine routes")
	r.crash()
	r.open()
	_, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Contains(t, health("127.0.0.1"), "503", "the next router has not asked etcd yet")
	require.NoError(t, r.SetDraining(false))
	require.Equal(t, "200 text/plain ok\n", health("127.0.0.1"))
	require.Equal(t, workers, acceptingWorkers(r.pid()), "no worker was replaced")
}

func TestEndpointThatNginxRefusesIsLeftOutAlone(t *testing.T) {
	r := newStaticRouter(t)
	good := instance(t, "b@1")
	bad := routing.Upstream{Key: "/services/web/b/b@2", Instance: "b@2", Address: nowhere}
	lone := routing.Upstream{Key: "/services/web/d/d@1", Instance: "d@1", Address: nowhere}
	result, err := r.tryApplyWith(unresolvable,
		routing.Route{App: "a", Upstreams: []routing.Upstream{instance(t, "a@1")}}, routing.Route{App: "b", Upstreams: []routing.Upstream{good, bad}},
		routing.Route{App: "c", Upstreams: []routing.Upstream{instance(t, "c@1")}}, routing.Route{App: "d", Upstreams: []routing.Upstream{lone}})
	require.NoError(t, err)
	require.Len(t, result.Refused, 2)
	for i, want := range []v1.RouteRefusal{{App: "b", Key: bad.Key}, {App: "d"}} {
		got := result.Refused[i]
		require.Equal(t, []string{want.App, want.Key, ReasonNotAccepted}, []string{got.App, got.Key, got.Reason})
		require.Contains(t, got.Message, `host not found in upstream "no-such-host.invalid:80"`)
	}
	require.Equal(t, "200 a@1", r.get("a.localhost"))
	require.Equal(t, "200 b@1", r.get("b.localhost"))
	require.Equal(t, "200 c@1", r.get("c.localhost"))
	require.Contains(t, r.get("d.localhost"), "404")
}

// TestThatDoesNotEndIsARefusal: if nginx -t hangs, the configuration counts as refused, and the router continues without it.
func TestThatDoesNotEndIsARefusal(t *testing.T) {
	r := newStaticRouter(t)
	r.apply(routing.Route{App: "a", Upstreams: []routing.Upstream{instance(t, "a@1")}})
	slow := filepath.Join(t.TempDir(), "nginx")
	require.NoError(t, os.WriteFile(slow, []byte("#!/bin/sh\ncase $1 in -t) grep -q 192.0.2.1 "+r.path("nginx.conf.candidate")+" && exec sleep 60;; esac\nexec "+r.binary+" \"$@\"\n"), 0o755))
	r.binary, r.testTimeout = slow, time.Second
	result, err := r.tryApply(routing.Route{App: "a", Upstreams: []routing.Upstream{instance(t, "a@2")}}, routing.Route{App: "b", Upstreams: []routing.Upstream{{Key: "k", Instance: "b@1", Address: nowhere}}})
	require.NoError(t, err)
	require.Equal(t, []v1.RouteRefusal{{App: "b", Reason: ReasonNotAccepted, Message: "nginx -t did not end within 1s: does it wait for a name server?"}}, result.Refused)
	require.Equal(t, "200 a@2", r.get("a.localhost"))
}

// As many apps as in a large cluster, one with a thousand instances and one that nginx refuses.
func TestManyApps(t *testing.T) {
	r := newStaticRouter(t)
	up := instance(t, "app@1")
	routes := []routing.Route{{App: "wide"}, {App: "bad", Upstreams: []routing.Upstream{{Key: "k", Instance: "bad@1", Address: nowhere}}}}
	for i := range 1000 {
		routes[0].Upstreams = append(routes[0].Upstreams, routing.Upstream{Instance: fmt.Sprintf("wide@%d", i), Address: up.Address})
		routes = append(routes, routing.Route{App: fmt.Sprintf("app-%d", i), Upstreams: []routing.Upstream{up}})
	}
	result, err := r.tryApplyWith(unresolvable, routes...)
	require.NoError(t, err)
	require.Len(t, result.Refused, 1)
	require.Equal(t, "bad", result.Refused[0].App)
	routes[500].Hosts = []string{strings.Repeat("a.", 120) + "example"}
	start := time.Now()
	_, err = r.tryApplyWith(unresolvable, routes...)
	require.NoError(t, err)
	t.Logf("a change among %d apps, one of them refused: %s", len(routes), time.Since(start))
	for _, host := range []string{"app-999.localhost", "wide.localhost", routes[500].Hosts[0]} {
		require.Equal(t, "200 app@1", r.get(host))
	}
}

func TestBadCandidateIsRefusedAndTheOldOneServes(t *testing.T) {
	r := newRouter(t)
	up := instance(t, "app@1")
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}})
	before, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	good := r.settings
	r.settings.Listen = append(slices.Clone(good.Listen), taken.Addr().String())
	_, err = r.tryApply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}})
	require.ErrorContains(t, err, "another process uses this address")

	r.settings = good
	r.settings.AccessLog = "/no/such/directory/access.log"
	_, err = r.tryApply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}})
	require.ErrorContains(t, err, `nginx refuses the configuration even without apps: open() "/no/such/directory/access.log" failed`)
	r.settings = good
	after, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	require.False(t, r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}}).Changed)
}

// A configuration that passes nginx -t but never takes effect is reverted.
func TestReloadWithoutEffectIsTakenBack(t *testing.T) {
	r := newStaticRouter(t)
	up := instance(t, "app@1")
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}})
	before, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)
	require.NoError(t, r.proc.signal(syscall.SIGSTOP))
	r.effectTimeout = 200 * time.Millisecond
	_, err = r.tryApply(routing.Route{App: "app"})
	require.ErrorContains(t, err, "is not in effect")
	require.NoError(t, r.proc.signal(syscall.SIGCONT))
	after, err := os.ReadFile(r.path("nginx.conf"))
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
	r.effectTimeout = 10 * time.Second
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{up}}, routing.Route{App: "b"})
	require.Equal(t, "200 app@1", r.get("app.localhost"))
}

// A reload that timed out may have been merely late: nginx is given the previous configuration again, although it is believed
// to have it.
func TestReloadThatIsLateIsTakenBack(t *testing.T) {
	r := newStaticRouter(t)
	one, two := instance(t, "app@1"), instance(t, "app@2")
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{one}})
	hidden := r.path("hidden.sock")
	require.NoError(t, os.Rename(r.path(socketName), hidden)) // what it serves cannot be observed
	r.effectTimeout = time.Second
	_, err := r.tryApply(routing.Route{App: "app", Upstreams: []routing.Upstream{two}})
	require.ErrorContains(t, err, "is not in effect")
	require.Eventually(t, func() bool { return r.get("app.localhost") == "200 app@2" }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, os.Rename(hidden, r.path(socketName)))
	r.effectTimeout = 10 * time.Second
	require.True(t, r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{one}}).Changed)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	require.False(t, r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{one}}).Changed, "it is sure again")
}

// The next router does not know what nginx was told, and the file is again that of what is served. Until nginx has answered once more,
// it may take the other configuration.
func TestReloadThatIsLateIsTakenBackByTheNextRouter(t *testing.T) {
	r := newStaticRouter(t)
	one, two := instance(t, "app@1"), instance(t, "app@2")
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{one}})
	before := workers(r.pid())
	require.NoError(t, r.proc.signal(syscall.SIGSTOP))
	r.effectTimeout = 100 * time.Millisecond
	_, err := r.tryApply(routing.Route{App: "app", Upstreams: []routing.Upstream{two}})
	require.ErrorContains(t, err, "is not in effect")
	pid := r.pid()
	r.crash()
	r.open()
	continued := time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	defer continued.Stop()
	state, err := r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, Adopted, state)
	for _, worker := range before {
		require.False(t, isAccepting(worker), "nginx has read its configuration since")
	}
	require.False(t, r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{one}}).Changed)
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	r.crash()
	before = workers(pid)
	r.open()
	_, err = r.Start(t.Context())
	require.NoError(t, err)
	require.Equal(t, before, workers(pid), "it is sure again, and nothing is reloaded")
}

func TestAccessLog(t *testing.T) {
	r := newRouter(t)
	r.settings.AccessLog = r.path("access.log")
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
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
	r.apply(routing.Route{App: "app", Upstreams: []routing.Upstream{instance(t, "app@1")}})
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
	c := configured(r.settings, routing.Route{App: "a", Upstreams: []routing.Upstream{instance(t, "a@1")}},
		routing.Route{App: "b", Upstreams: []routing.Upstream{instance(t, "b@1")}},
		routing.Route{App: "c", Upstreams: []routing.Upstream{instance(t, "c@1"), {Key: "k", Instance: "c@2", Address: nowhere}}})
	unresolvable(&c)
	c.Keys = map[string]string{"/extra/b": "nonsense"}
	result, err := r.Apply(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, "200 a@1", r.get("a.own"))
	require.Equal(t, "200 c@1", r.get("c.own"), "an app beside a broken one")
	var refused []string
	for _, f := range result.Refused {
		refused = append(refused, f.App+" "+f.Reason)
	}
	require.Equal(t, []string{"b NotAccepted", "c NotAccepted"}, refused)

	delete(c.Keys, "/extra/b")
	result, err = r.Apply(t.Context(), c)
	require.NoError(t, err)
	require.Len(t, result.Refused, 1, "what is good again is taken again")
	require.Equal(t, "200 b@1", r.get("b.own"))
}

// A template has its own default server: docs/routing.md says what it needs for load balancers.
func TestOwnTemplateHealth(t *testing.T) {
	page, err := os.ReadFile("../../docs/routing.md")
	require.NoError(t, err)
	location := ""
	for _, block := range pages.Blocks(pages.Lines(string(page))) {
		if strings.HasPrefix(block.Text(), "location = /-/healthz {") {
			location = block.Text()
		}
	}
	r := newRouter(t)
	require.NoError(t, r.Close())
	text := "server { listen " + r.settings.Listen[0] + " default_server; " + strings.ReplaceAll(location, "/run/fleet/router", r.settings.Dir) + "}"
	r.own, err = template.New("own.tmpl", text)
	require.NoError(t, err)
	r.open()
	r.apply()
	for draining, want := range map[bool]int{false: 200, true: 503} {
		require.NoError(t, r.SetDraining(draining))
		resp, _ := r.do("GET", "127.0.0.1", "/-/healthz")
		require.Equal(t, want, resp.StatusCode)
	}
}

// The template in manifests/router is the seed's.
func TestManifestTemplatePassesNginx(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("the seed's template listens on port 80 and logs to /var/log: only root may")
	}
	text, err := os.ReadFile("../../manifests/router/apps.tmpl")
	require.NoError(t, err)
	own, err := template.New("apps.tmpl", string(text))
	require.NoError(t, err)
	r := newRouter(t)
	c := configured(r.settings, routing.Route{App: "example-app", Upstreams: []routing.Upstream{instance(t, "example-app@1")}})
	r.template = own
	_, err = r.try(t.Context(), c)
	require.NoError(t, err)
}
