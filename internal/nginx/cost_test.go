package nginx

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	v1 "github.com/fleet-starter/fleet/apis/v1"
	"github.com/fleet-starter/fleet/internal/routing"
	"github.com/fleet-starter/fleet/internal/template"
)

// many are apps with one endpoint each, at which nothing listens.
func many(n int) []routing.Route {
	routes := make([]routing.Route, n)
	for i := range routes {
		routes[i] = routing.Route{App: fmt.Sprintf("app-%03d", i), Upstreams: []routing.Upstream{{Instance: "app@1", Address: fmt.Sprintf("127.0.0.1:%d", 2000+i)}}}
	}
	return routes
}

// cost is the cost of applying routes: bytes rendered, and runs of nginx -t.
func (r *router) cost(routes []routing.Route) (rendered, tests int, refused []v1.RouteRefusal) {
	r.t.Helper()
	rendered, tests = r.renderer.bytes, r.tests
	result, err := r.tryApplyWith(unresolvable, routes...)
	require.NoError(r.t, err)
	return r.renderer.bytes - rendered, r.tests - tests, result.Refused
}

// TestCostOfAChange: the cost of a change depends on what changed, not on the number of apps, served or refused.
func TestCostOfAChange(t *testing.T) {
	r := newStaticRouter(t)
	routes := many(100)
	all, tests, _ := r.cost(routes)
	require.Equal(t, 1, tests)
	one := all / 100

	rendered, tests, _ := r.cost(routes)
	require.Equal(t, []int{0, 0}, []int{rendered, tests}, "nothing has changed")

	routes[50].Upstreams = []routing.Upstream{{Instance: "app@1", Address: "127.0.0.1:3000"}}
	rendered, tests, _ = r.cost(routes)
	require.InDelta(t, one, rendered, 10)
	require.Equal(t, 1, tests)

	// A refused app is found once, and costs nothing in later changes.
	routes = append(routes, routing.Route{App: "bad", Upstreams: []routing.Upstream{{Key: "k", Instance: "bad@1", Address: nowhere}}})
	_, tests, refused := r.cost(routes)
	require.Len(t, refused, 1)
	require.LessOrEqual(t, tests, 4)
	_, tests, again := r.cost(routes)
	require.Zero(t, tests)
	require.Equal(t, refused, again)
	routes[10].Upstreams = nil
	rendered, tests, again = r.cost(routes)
	require.Less(t, rendered, 2*one)
	require.Equal(t, 1, tests)
	require.Equal(t, refused, again)

	// After a change, it is tried again.
	routes[100].Upstreams[0].Address = "127.0.0.1:3001"
	_, tests, again = r.cost(routes)
	require.Equal(t, 1, tests)
	require.Empty(t, again)
}

// TestVerdictEnds: a refused route is tried again eventually: the reason may have been elsewhere.
func TestVerdictEnds(t *testing.T) {
	routes := []routing.Route{{App: "a"}, {App: "b", Upstreams: []routing.Upstream{{Instance: "b@1"}, {Instance: "b@2"}}}}
	kept := routing.Route{App: "b", Upstreams: routes[1].Upstreams[:1]}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var m memory
	refused := v1.RouteRefusal{App: "b", Key: "k", Reason: ReasonNotAccepted}
	remember := func() {
		m.refuse(verdict{routes[1], []routing.Route{kept}, []v1.RouteRefusal{refused}, now.Add(verdictFor)})
	}
	remember()
	c := m.without(Configuration{Table: routing.Table{Routes: routes}}, now)
	require.Equal(t, []routing.Route{routes[0], kept}, c.Routes)
	require.Equal(t, []v1.RouteRefusal{refused}, c.Refused)
	changed := slices.Clone(routes)
	changed[1].Upstreams = changed[1].Upstreams[1:]
	require.Equal(t, changed, m.without(Configuration{Table: routing.Table{Routes: changed}}, now).Routes)
	require.Equal(t, routes, m.without(Configuration{Table: routing.Table{Routes: routes, Keys: map[string]string{"/x": "1"}}}, now).Routes, "the template has other keys")
	m = memory{}
	remember()
	require.Equal(t, routes, m.without(Configuration{Table: routing.Table{Routes: routes}}, now.Add(verdictFor)).Routes)
	require.Empty(t, m.verdicts)
}

// TestSlowMachineBlamesNoApp: if a configuration that nginx accepted before does not finish in time either, nothing is left
// out, and the router reports an error.
func TestSlowMachineBlamesNoApp(t *testing.T) {
	r := newRouter(t)
	a := routing.Route{App: "a", BodySize: 1 << 20, Upstreams: []routing.Upstream{instance(t, "a@1")}}
	r.apply(a)
	slow := filepath.Join(t.TempDir(), "nginx")
	require.NoError(t, os.WriteFile(slow, []byte("#!/bin/sh\ncase $1 in -t) exec sleep 60;; esac\nexec "+r.binary+" \"$@\"\n"), 0o755))
	r.binary, r.testTimeout = slow, 300*time.Millisecond
	_, err := r.tryApply(a, limited)
	require.ErrorContains(t, err, "test of the previously accepted configuration: nginx -t did not end")
	require.Equal(t, "200 a@1", r.get("a.localhost"))
}

// TestErrorOfTheTemplate: an error in the template is not blamed on nginx; an app that it cannot render is left out.
func TestErrorOfTheTemplate(t *testing.T) {
	r := newRouter(t)
	use := func(text string) {
		own, err := template.New("own.tmpl", text)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		r.own = own
		r.open()
	}
	use(`{{getv "/title"}}`)
	_, err := r.tryApply(routing.Route{App: "a", Upstreams: []routing.Upstream{instance(t, "a@1")}})
	require.EqualError(t, err, `the template fails: template: own.tmpl:1:2: executing "own.tmpl" at <getv "/title">: error calling getv: key does not exist: /title`)

	use(`{{range lsdir "/services/web"}}{{if eq . "b"}}{{getv "/missing"}}{{end}}upstream {{.}} { server 127.0.0.1:1; }
{{end}}`)
	result, err := r.tryApply(routing.Route{App: "a", Upstreams: []routing.Upstream{instance(t, "a@1")}}, routing.Route{App: "b", Upstreams: []routing.Upstream{instance(t, "b@1")}})
	require.NoError(t, err)
	require.Len(t, result.Refused, 1)
	require.Equal(t, []string{"b", ReasonTemplateFailed}, []string{result.Refused[0].App, result.Refused[0].Reason})
	require.Contains(t, result.Refused[0].Message, "template: own.tmpl:1:")
}

// BenchmarkChange changes one endpoint among many apps, and reports bytes rendered and runs of nginx -t per change.
func BenchmarkChange(b *testing.B) {
	for _, apps := range []int{10, 100, 1000} {
		b.Run(fmt.Sprintf("apps=%d", apps), func(b *testing.B) {
			var rendering renderer
			routes := many(apps)
			render := func() {
				_, err := rendering.render(configured(testSettings, routes...), nil)
				require.NoError(b, err)
			}
			render()
			rendering.bytes = 0
			n := 0
			for b.Loop() {
				routes[0].Upstreams = []routing.Upstream{{Instance: "app@1", Address: fmt.Sprintf("127.0.0.1:%d", 1000+n%10_000)}}
				render()
				n++
			}
			b.ReportMetric(float64(rendering.bytes)/float64(n), "rendered-B/change")
		})
	}
}
