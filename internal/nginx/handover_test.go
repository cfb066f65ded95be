package nginx

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
	traffic "github.com/fleet-starter/fleet/test/load"
)

// copyOf is a copy of nginx, which upgrade replaces as a package does.
func copyOf(t *testing.T) (binary string, upgrade func()) {
	t.Helper()
	from, err := findBinary("")
	require.NoError(t, err)
	program, err := os.ReadFile(from)
	require.NoError(t, err)
	binary = filepath.Join(t.TempDir(), "nginx")
	require.NoError(t, os.WriteFile(binary, program, 0o755))
	return binary, func() {
		require.NoError(t, os.WriteFile(binary+".new", program, 0o755))
		require.NoError(t, os.Rename(binary+".new", binary))
	}
}

// orphan replaces nginx by one whose parent has ended, as a router's does.
func (r *router) orphan() {
	r.t.Helper()
	require.NoError(r.t, r.Stop(r.t.Context()))
	require.NoError(r.t, r.Close())
	cmd := exec.Command("sh", "-c", "setsid \"$0\" \"$@\" & sleep 0.5", r.program, "-e", "stderr", "-p", r.settings.Dir+"/", "-c", r.settings.Dir+"/nginx.conf", "-g", "daemon off;")
	require.NoError(r.t, cmd.Run())
	require.Eventually(r.t, func() bool {
		pid, _ := masterOf(r.settings.Dir+"/nginx.pid", r.settings.Dir+"/nginx.conf")
		return pid != 0 && len(workers(pid)) > 0
	}, 5*time.Second, time.Millisecond)
	r.open()
	state, err := r.Start(r.t.Context())
	require.NoError(r.t, err)
	require.Equal(r.t, Adopted, state)
}

// underLoad has requests of all kinds, an upload and a websocket under way while something is done to nginx.
func (r *router) underLoad(up routing.Upstream, do func()) {
	r.t.Helper()
	stream := traffic.Options{Senders: 4}.Start(traffic.Target{Name: "router", Address: r.settings.Listen[0], Host: up.Instance[:strings.Index(up.Instance, "@")] + ".localhost"})
	defer stream.Stop()
	ws := r.websocket()
	defer ws.Close()
	body, writer := io.Pipe()
	uploaded := make(chan string, 1)
	go func() {
		resp, text, err := r.tryDo("POST", "example-app.localhost", "/count", func(req *http.Request) { req.Body, req.ContentLength = body, 2000 })
		if err != nil {
			uploaded <- err.Error()
			return
		}
		uploaded <- fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(text))
	}()
	_, err := writer.Write(make([]byte, 1000))
	require.NoError(r.t, err)
	do()
	r.echoes(ws)
	_, err = writer.Write(make([]byte, 1000))
	require.NoError(r.t, err)
	require.NoError(r.t, writer.Close())
	require.Equal(r.t, "200 2000", <-uploaded)
	time.Sleep(300 * time.Millisecond)
	result := stream.Stop()
	require.Empty(r.t, result.Failed)
	for _, kind := range traffic.Kinds {
		require.NotZero(r.t, result.Sent[kind], "%s", kind)
	}
	r.t.Logf("%s", result)
}

// TestUpgrades: the router, and nginx itself, are replaced under load.
func TestUpgrades(t *testing.T) {
	r := newRouter(t)
	var upgrade func()
	require.NoError(t, r.Close())
	r.program, upgrade = copyOf(t)
	r.open()
	up := exampleApp(t)
	up.Key = "/services/web/example-app/example-app@1"
	route := routing.Route{App: "example-app", Upstreams: []routing.Upstream{up}}
	r.apply(route)
	r.orphan()
	next := func() {
		t.Helper()
		r.crash() // the router leaves nginx
		r.open()
		state, err := r.Start(t.Context())
		require.NoError(t, err)
		require.Equal(t, Adopted, state)
	}
	t.Run("of the router", func(t *testing.T) {
		before := r.pid()
		r.underLoad(up, next)
		require.Equal(t, before, r.pid())
		require.False(t, r.apply(route).Changed)
	})
	t.Run("of the router, with another configuration", func(t *testing.T) {
		before := r.pid()
		r.underLoad(up, func() {
			next()
			r.settings.BodySize = 1 << 20
			require.True(t, r.apply(route).Reloaded)
		})
		require.Equal(t, before, r.pid())
	})
	for _, which := range []string{"of nginx", "of nginx, once more"} {
		t.Run(which, func(t *testing.T) {
			before := r.pid()
			r.underLoad(up, func() {
				upgrade()
				require.True(t, isOutdated(before))
				next()
				require.NotEqual(t, before, r.pid())
				require.False(t, isOutdated(r.pid()))
				require.True(t, r.apply(route, limited).Reloaded, "while the old one has a websocket")
				require.False(t, r.apply(route, limited).Changed)
				require.True(t, r.apply(route).Reloaded)
			})
			require.Eventually(t, func() bool { return title(before) == "" }, 5*time.Second, 10*time.Millisecond, "the last websocket has ended")
		})
	}
	t.Run("that was killed", func(t *testing.T) {
		old := r.pid()
		require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
		<-r.Exited()
		r.crash()
		r.open()
		state, err := r.Start(t.Context())
		require.NoError(t, err)
		require.Equal(t, Started, state, "the orphans have their session from the first one")
		r.underLoad(up, func() { require.False(t, r.apply(route).Changed) })
	})
}

// TestUpgradeThatDoesNotStart: the old nginx goes on.
func TestUpgradeThatDoesNotStart(t *testing.T) {
	r := newRouter(t)
	require.NoError(t, r.Close())
	r.program, _ = copyOf(t)
	r.open()
	r.apply(app(instance(t, "app@1")))
	r.orphan()
	before := r.pid()
	r.crash()
	require.NoError(t, os.WriteFile(r.program+".new", []byte("#!/bin/sh\ncase $1 in -V) exec /usr/sbin/nginx -V;; -t) exec /usr/sbin/nginx \"$@\";; esac\nexit 1\n"), 0o755))
	require.NoError(t, os.Rename(r.program+".new", r.program))
	r.open()
	r.effectTimeout = 300 * time.Millisecond
	_, err := r.Start(t.Context())
	require.ErrorContains(t, err, "the new nginx did not take over")
	require.Equal(t, before, r.pid())
	require.Equal(t, "200 app@1", r.get("app.localhost"))
	r.effectTimeout = 5 * time.Second
	require.True(t, r.apply(app(instance(t, "app@2")), limited).Reloaded, "it is not tried again")
	require.Equal(t, "200 app@2", r.get("app.localhost"))
}

// TestClientsAreAskedToClose: a worker that is about to retire says so with each answer; the next one does not.
func TestClientsAreAskedToClose(t *testing.T) {
	r := newRouter(t)
	r.apply(app(instance(t, "app@1")))
	r.bothWorkers()
	asked := func() bool {
		transport := &http.Transport{}
		defer transport.CloseIdleConnections()
		req, err := http.NewRequest("POST", "http://"+r.settings.Listen[0]+"/", strings.NewReader("x"))
		require.NoError(t, err)
		req.Host = "app.localhost"
		resp, err := transport.RoundTrip(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		return resp.Close
	}
	require.False(t, asked())
	r.closeKept(r.workers(), true)
	require.True(t, asked())
	require.True(t, r.apply(app(instance(t, "app@1")), limited).Reloaded)
	require.False(t, asked())
}
