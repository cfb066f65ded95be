package nginx

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-starter/fleet/internal/routing"
)

// TestTrustedProxies: forwarded headers are passed on from configured proxies, and replaced for all other clients.
func TestTrustedProxies(t *testing.T) {
	seen := make(chan *http.Request, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { seen <- req }))
	t.Cleanup(srv.Close)
	app := routing.Route{App: "app", Upstreams: []routing.Upstream{{Instance: "app@1", Address: strings.TrimPrefix(srv.URL, "http://")}}}
	said := map[string]string{
		"X-Forwarded-For": "198.51.100.1, 203.0.113.5", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "www.example.com", "X-Forwarded-Port": "8443",
		"Forwarded": "for=203.0.113.5;proto=https", "X-Forwarded-Scheme": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-Prefix": "/shop",
		"X-Forwarded-Server": "lb1", "X-Real-Ip": "198.51.100.9",
	}
	replaced := map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "app.localhost:8080", "X-Forwarded-Port": "8080",
	}
	for _, c := range []struct {
		name       string
		proxies    []string
		host       string
		said, want map[string]string
	}{
		{"nothing is said", nil, "app.localhost:8080", nil, replaced},
		{"by a client", nil, "app.localhost:8080", said, replaced},
		{"by a client, another is trusted", []string{"10.0.0.0/8", "fd00::/8"}, "app.localhost:8080", said, replaced},
		{"by a proxy", []string{"10.0.0.0/8", "127.0.0.1"}, "app.localhost:8080", said, map[string]string{
			"X-Forwarded-For": "198.51.100.1, 203.0.113.5, 127.0.0.1", "X-Real-Ip": "203.0.113.5", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "www.example.com",
			"X-Forwarded-Port": "8443", "Forwarded": "for=203.0.113.5;proto=https", "X-Forwarded-Scheme": "https", "X-Forwarded-Ssl": "on", "X-Forwarded-Prefix": "/shop",
			"X-Forwarded-Server": "lb1"}},
		{"by proxies in a row", []string{"127.0.0.0/8", "203.0.113.0/24"}, "app.localhost", map[string]string{"X-Forwarded-For": "198.51.100.1, 203.0.113.5", "X-Forwarded-Proto": "https"},
			map[string]string{"X-Forwarded-For": "198.51.100.1, 203.0.113.5, 127.0.0.1", "X-Real-Ip": "198.51.100.1", "X-Forwarded-Proto": "https",
				"X-Forwarded-Host": "app.localhost", "X-Forwarded-Port": "443"}},
		{"a proxy says nothing", []string{"127.0.0.1"}, "app.localhost", nil, map[string]string{
			"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "app.localhost", "X-Forwarded-Port": "80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRouter(t)
			r.settings.TrustedProxies = c.proxies
			r.apply(app)
			resp, body := r.do("GET", c.host, "/", func(req *http.Request) {
				for name, value := range c.said {
					req.Header.Set(name, value)
				}
			})
			require.Equal(t, 200, resp.StatusCode, body)
			got := map[string]string{}
			for name, values := range (<-seen).Header {
				if name == "X-Real-Ip" || strings.Contains(name, "Forwarded") {
					got[name] = strings.Join(values, " and ")
				}
			}
			require.Equal(t, c.want, got)
		})
	}
}
