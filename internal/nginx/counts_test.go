package nginx

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

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
	counts := func() (out []string) {
		for _, c := range r.apply(counted).Counts {
			requests := int64(0)
			for _, n := range c.Latency {
				requests += n
			}
			require.Len(t, c.Latency, 18)
			out = append(out, fmt.Sprint(c.Endpoint, " ", c.Token, " ", requests, " ", c.Errors))
		}
		return out
	}
	require.Equal(t, []string{"/services/web/app/app@1 7 0 0", "/services/web/app/app@2 7 0 0"}, counts())
	ask(10)
	want := []string{"/services/web/app/app@1 7 5 0", "/services/web/app/app@2 7 5 5"}
	require.Equal(t, want, counts())
	counted.Hosts = []string{"app.localhost", "other.localhost"} // a reload
	require.Equal(t, want, counts())
	counted.Count = "8"
	require.Equal(t, []string{"/services/web/app/app@1 8 0 0", "/services/web/app/app@2 8 0 0"}, counts())
	require.Empty(t, r.apply(app(good, bad)).Counts)
}
