package nginx

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

// tally is what was counted for an endpoint.
type tally struct{ requests, errors int64 }

// TestResponsesAreCounted: only while an app asks for it, and anew with each token. A reload keeps the counts.
func TestResponsesAreCounted(t *testing.T) {
	r := newRouter(t)
	upstream := func(name string, status int) routing.Upstream {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		t.Cleanup(server.Close)
		return routing.Upstream{Key: "/services/web/app/" + name, Instance: name, Address: strings.TrimPrefix(server.URL, "http://")}
	}
	good, bad := upstream("app@1", 200), upstream("app@2", 500)
	ask := func(n int) {
		for range n {
			r.get("app.localhost")
		}
	}
	r.apply(app(good, bad))
	ask(4)
	counted := app(good, bad)
	counted.Count = "7"
	counts := func() (out []tally) {
		for i, c := range r.apply(counted).Counts {
			require.Equal(t, []string{[]string{good.Key, bad.Key}[i], counted.Count}, []string{c.Endpoint, c.Token})
			require.Len(t, c.Latency, 18)
			n := tally{errors: c.Errors}
			for _, requests := range c.Latency {
				n.requests += requests
			}
			out = append(out, n)
		}
		return out
	}
	require.Equal(t, []tally{{}, {}}, counts())
	ask(10)
	var got []tally
	// A worker counts when the client has its answer already.
	require.Eventually(t, func() bool { got = counts(); return got[0].requests+got[1].requests == 10 }, 5*time.Second, time.Millisecond)
	require.Zero(t, got[0].errors)
	require.Equal(t, got[1].requests, got[1].errors)
	require.InDelta(t, got[0].requests, got[1].requests, float64(r.settings.Workers), "each worker has turns of its own")
	counted.Hosts = []string{"app.localhost", "other.localhost"} // a reload
	require.Equal(t, got, counts())
	counted.Count = "8"
	require.Equal(t, []tally{{}, {}}, counts())
	require.Empty(t, r.apply(app(good, bad)).Counts)
}
